"""Pinned reads of a real node, with and without Multicall3, EIP-1898 and batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from keeper.chain.blocks import read_header
from keeper.chain.multicall import MULTICALL3
from keeper.chain.reads import PinnedReads
from keeper.core.block import Call, CallResult
from keeper.core.errors import BlockUnavailable, ChainError, MalformedResponse, RpcFailure
from keeper.core.units import to_hex
from tests.chain.bench import ECHO, ENDLESS, HEAVY, INVALID, NOBODY, NUMBER, REVERTER, Bench, echo, running_bench
from tests.faults import FaultProxy, Manners


def _ok(word: int) -> CallResult:
    return CallResult(ok=True, returndata=word.to_bytes(32))


MIXED = [
    echo(7),
    Call(REVERTER, b"\x12\x34"),
    Call(REVERTER, b""),
    Call(INVALID, b""),
    Call(NOBODY, b"\x01"),
    Call(ECHO, b"x" * 33),
]
MIXED_RESULTS = [
    _ok(7),
    CallResult(ok=False, returndata=b"\x12\x34"),
    CallResult(ok=False, returndata=b""),
    CallResult(ok=False, returndata=b""),
    CallResult(ok=True, returndata=b""),
    CallResult(ok=True, returndata=b"x" * 33),
]


async def test_three_hundred_calls_in_one_request(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(3)
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        assert await reads.read([], head) == []
        await reads.read([echo(1)], head)
        proxy.http_requests = 0
        assert await reads.read([echo(word) for word in range(300)], head) == [_ok(word) for word in range(300)]
        assert proxy.http_requests == 1
        proxy.http_requests = 0
        assert await reads.read([echo(word) for word in range(1000)], head) == [_ok(word) for word in range(1000)]
        # Four aggregates, one batch.
        assert proxy.http_requests == 1
    assert proxy.counts["eth_getCode"] == 1


@pytest.mark.parametrize("multicall", [True, False])
@pytest.mark.parametrize("manners", [Manners(), Manners(batches=False), Manners(block_objects=False)])
async def test_results_are_the_same_on_every_way(multicall: bool, manners: Manners) -> None:
    async with running_bench(multicall=multicall) as bench, FaultProxy(bench.url, manners) as proxy:
        await bench.mine(10)
        block = await read_header(bench.node, 4)
        async with bench.endpoints(proxy.url) as rpc:
            reads = PinnedReads(rpc)
            for _ in range(2):
                assert await reads.read(MIXED, block) == MIXED_RESULTS
                [number] = await reads.read([Call(NUMBER, b"")], block)
                assert number == _ok(4)
            assert reads._names_by_number != manners.block_objects


@pytest.mark.parametrize("multicall", [True, False])
@pytest.mark.parametrize("manners", [Manners(), Manners(block_objects=False)])
async def test_a_block_that_was_reorganised_away(multicall: bool, manners: Manners) -> None:
    async with running_bench(multicall=multicall) as bench, FaultProxy(bench.url, manners) as proxy:
        head = await bench.mine(5)
        async with bench.endpoints(proxy.url) as rpc:
            reads = PinnedReads(rpc)
            await reads.read([echo(1)], head)
            await bench.reorg(2)
            with pytest.raises((BlockUnavailable, MalformedResponse)):
                await reads.read([echo(1)], head)


async def test_by_number_a_reorganisation_during_the_read_is_noticed(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    proxy.manners = Manners(block_objects=False)
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        await reads.read([echo(1)], head)
        other = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
        proxy.on_request = lambda method, params: (
            {"result": other | {"number": params[0]}} if method == "eth_getBlockByNumber" else None
        )
        with pytest.raises(BlockUnavailable, match="no longer on the chain"):
            await reads.read([echo(1)], head)


async def test_by_number_the_header_comes_from_whom_the_results_come(bench: Bench, proxy: FaultProxy) -> None:
    """In one exchange, which one endpoint answers: another one may follow another branch."""
    head = await bench.mine(5)
    proxy.manners = Manners(block_objects=False)
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        await reads.read([echo(1)], head)
        proxy.http_requests = 0
        assert await reads.read([echo(2)], head) == [_ok(2)]
        assert proxy.http_requests == 1


async def test_a_node_that_ignores_the_pin_is_caught(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(5)
    block = await read_header(bench.node, 3)
    clock = await bench.node.request("eth_getCode", [to_hex(MULTICALL3), "latest"])
    assert clock != "0x"
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        answer = await _answer_at_latest(bench)
        proxy.on_request = lambda method, _: {"result": answer} if method == "eth_call" else None
        with pytest.raises(MalformedResponse, match="another block"):
            await reads.read([echo(1)], block)


async def _answer_at_latest(bench: Bench) -> str:
    """The bytes of the same aggregate, run on the latest block."""
    recorded: list[str] = []
    async with FaultProxy(bench.url) as proxy, bench.endpoints(proxy.url) as rpc:
        await PinnedReads(rpc).read([echo(1)], await bench.head())
        for method, params in proxy.recent:
            if method == "eth_call":
                recorded.append(await bench.node.request(method, [params[0], "latest"]))
    return recorded[0]


async def test_a_node_without_the_state_says_so(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(200)
    old = await read_header(bench.node, 10)
    proxy.manners = Manners(state_depth=128)
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(BlockUnavailable):
            await PinnedReads(rpc).read([echo(1)], old)


async def test_the_next_endpoint_has_the_state(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    proxy.manners = Manners(head_number=4)
    async with bench.endpoints(proxy.url, bench.url) as rpc:
        assert await PinnedReads(rpc).read([echo(1)], head) == [_ok(1)]


# -- limits ------------------------------------------------------------------------------------------------------------
async def test_heavy_calls_are_split_until_the_node_can_run_them(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()
    # 300 of these need twice the node's gas.
    calls = [Call(HEAVY, index.to_bytes(4)) for index in range(300)]
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        results = await reads.read(calls, head)
        assert all(each.ok and len(each.returndata) == 32 for each in results)
        proxy.http_requests = 0
        assert await reads.read(calls, head) == results
        # What the node can run is remembered.
        assert proxy.http_requests == 1


async def test_a_call_starved_of_gas_by_its_neighbours_is_no_failure(bench: Bench) -> None:
    head = await bench.mine()
    for count in range(120, 170, 7):
        results = await PinnedReads(bench.node).read([Call(HEAVY, b"")] * count, head)
        assert all(each.ok for each in results)


async def test_a_call_that_never_ends_is_unknown_not_failed(bench: Bench) -> None:
    head = await bench.mine()
    with pytest.raises(RpcFailure):
        await PinnedReads(bench.node).read([echo(1), Call(ENDLESS, b""), echo(2)], head)


async def test_large_calldata_is_cut_by_size(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()
    calls = [Call(ECHO, bytes([index]) * 10_000) for index in range(30)]
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc, max_calldata_bytes=50_000)
        results = await reads.read(calls, head)
    assert [each.returndata for each in results] == [call.calldata for call in calls]
    assert proxy.counts["eth_call"] == 6


async def test_a_request_too_large_for_the_node_is_split(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()

    def limited(method: str, params: Sequence[object]) -> dict[str, object] | None:
        if method == "eth_call" and len(str(params[0])) > 30_000:
            return {"error": {"code": -32600, "message": "request body size too large"}}
        return None

    proxy.on_request = limited
    async with bench.endpoints(proxy.url) as rpc:
        results = await PinnedReads(rpc).read([echo(word) for word in range(300)], head)
    assert results == [_ok(word) for word in range(300)]


# -- odd answers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("odd", ["0x12", "0x" + "00" * 64, "0x" + "ff" * 320, None, 5, "latest", [], "0x" + "00" * 31])
async def test_odd_answers_raise(bench: Bench, proxy: FaultProxy, odd: object) -> None:
    head = await bench.mine()
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        await reads.read([echo(1)], head)
        proxy.on_request = lambda method, _: {"result": odd} if method == "eth_call" else None
        with pytest.raises(MalformedResponse):
            await reads.read([echo(1), echo(2)], head)


async def test_an_error_of_the_node_is_never_a_result(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()
    proxy.manners = Manners(errors={"eth_call": {"code": -32603, "message": "Internal error"}})
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(RpcFailure):
            await PinnedReads(rpc).read(MIXED, head)


async def test_before_multicall_was_deployed_calls_go_one_by_one() -> None:
    async with running_bench(multicall=False) as bench:
        early = await bench.mine(2)
        async with running_bench() as donor:
            code = await donor.node.request("eth_getCode", [to_hex(MULTICALL3), "latest"])
        # anvil puts the code into the state of the present block, so that one must not be the early one.
        await bench.mine()
        await bench.node.request("anvil_setCode", [to_hex(MULTICALL3), code])
        late = await bench.mine()
        assert await bench.node.request("eth_getCode", [to_hex(MULTICALL3), hex(early.number)]) == "0x"
        reads = PinnedReads(bench.node)
        assert await reads.read(MIXED, early) == MIXED_RESULTS
        assert await reads.read(MIXED, late) == MIXED_RESULTS


# -- driven reads ------------------------------------------------------------------------------------------------------
def _doubling(rounds: int) -> Generator[Sequence[Call], Sequence[CallResult], int]:
    word = 1
    for _ in range(rounds):
        [result] = yield [echo(2 * word)]
        word = int.from_bytes(result.returndata)
    return word


async def test_a_generator_of_reads_runs_to_its_value(bench: Bench) -> None:
    head = await bench.mine()
    reads = PinnedReads(bench.node)
    assert await reads.drive(_doubling(5), head) == 32
    assert await reads.drive(_doubling(0), head) == 1


async def test_trouble_ends_a_generator_of_reads(bench: Bench) -> None:
    head = await bench.mine(5)
    await bench.reorg(1)
    driven = _doubling(5)
    with pytest.raises(ChainError):
        await PinnedReads(bench.node).drive(driven, head)
    driven.close()
