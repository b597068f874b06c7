"""Fail-over, back-off and pace, in front of a real node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from keeper.chain.endpoints import Endpoints
from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.line import Endpoint, Exchange
from keeper.chain.translate import reverted
from keeper.core.errors import (
    BlockUnavailable,
    ChainError,
    ConfigError,
    Defect,
    MalformedResponse,
    MethodUnavailable,
    RangeRefused,
    RateLimited,
    RpcFailure,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from keeper.core.units import to_hex
from tests.chain.bench import CHAIN_ID, LOGGER, REVERTER, SENDER, Bench
from tests.faults import FaultProxy, Manners


@pytest.fixture
async def second(bench: Bench) -> AsyncIterator[FaultProxy]:
    """Another way to the same node."""
    async with FaultProxy(bench.url) as each:
        yield each


SICK = [
    Manners(html=True),
    Manners(truncated=True),
    Manners(empty=True),
    Manners(wrong_id=True),
    Manners(dropped=True),
    Manners(hung_up=True),
    Manners(delay_s=5.0),
    Manners(status=401),
    Manners(status=429, retry_after="60"),
    Manners(status=500),
    Manners(status=503),
]


@pytest.mark.parametrize("manners", SICK)
async def test_a_sick_endpoint_is_passed_over(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, manners: Manners
) -> None:
    proxy.manners = manners
    async with bench.endpoints(proxy.url, second.url, timeout_s=0.3) as rpc:
        assert await rpc.request("eth_blockNumber") == "0x0"
        # It rests: the next reads go straight to the second.
        begun_s = time.monotonic()
        if manners.retry_after:
            assert await rpc.batch([("eth_blockNumber", []), ("eth_chainId", [])]) == ["0x0", "0x7a69"]
            assert time.monotonic() - begun_s < 0.2
            assert proxy.http_requests == 1


@pytest.mark.parametrize("manners", SICK)
async def test_a_passing_sickness_of_the_only_endpoint_is_waited_out(
    bench: Bench, proxy: FaultProxy, manners: Manners
) -> None:
    manners = Manners(**{**vars(manners), "only_next": 2, "retry_after": None})
    async with bench.endpoints(proxy.url, timeout_s=0.3) as rpc:
        proxy.manners = manners
        assert await rpc.request("eth_blockNumber") == "0x0"


@pytest.mark.parametrize(
    "manners, kind",
    [
        (Manners(html=True), MalformedResponse),
        (Manners(hung_up=True), RpcUnreachable),
        (Manners(status=429), RateLimited),
        (Manners(delay_s=5.0), RpcTimeout),
    ],
)
async def test_attempts_are_bounded(proxy: FaultProxy, manners: Manners, kind: type[ChainError]) -> None:
    proxy.manners = manners
    endpoint = Endpoint(proxy.url, timeout_s=0.1)
    async with Endpoints([endpoint], None, attempts=3, deadline_s=5.0) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.request("eth_blockNumber")
    assert type(caught.value) is kind
    assert proxy.http_requests == 3


async def test_the_deadline_binds_and_names_the_trouble(proxy: FaultProxy) -> None:
    proxy.manners = Manners(delay_s=30)
    begun_s = time.monotonic()
    async with Endpoints([Endpoint(proxy.url, timeout_s=20)], CHAIN_ID, deadline_s=0.3) as rpc:
        with pytest.raises(RpcTimeout, match=r"no answer within 0\.3 s"):
            await rpc.request("eth_blockNumber")
    assert time.monotonic() - begun_s < 2


async def test_a_rest_longer_than_the_deadline_is_not_waited_for(proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=429, retry_after="3600")
    begun_s = time.monotonic()
    async with Endpoints([Endpoint(proxy.url)], CHAIN_ID, deadline_s=10) as rpc:
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await rpc.request("eth_blockNumber")
            assert caught.value.retry_after_s is not None
            assert caught.value.retry_after_s > 3000
    assert time.monotonic() - begun_s < 2
    assert proxy.http_requests == 1


async def test_retry_after_is_respected(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.manners = Manners(status=429, retry_after="1", only_next=1)
        begun_s = time.monotonic()
        assert await rpc.request("eth_blockNumber") == "0x0"
    assert 1.0 <= time.monotonic() - begun_s < 2.0


async def test_the_first_endpoint_is_used_again_once_it_is_well(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    proxy.manners = Manners(status=500, only_next=1)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.request("eth_blockNumber")
        assert second.counts["eth_blockNumber"] == 1
        await asyncio.sleep(0.15)
        await rpc.request("eth_blockNumber")
    assert second.counts["eth_blockNumber"] == 1
    assert proxy.counts["eth_blockNumber"] == 1


async def test_final_answers_are_not_asked_again(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, second.url) as rpc:
        with pytest.raises(RpcFailure) as caught:
            await rpc.request("eth_call", [{"to": to_hex(REVERTER), "data": "0x1234"}, "latest"])
        assert reverted(caught.value) == b"\x12\x34"
        proxy.manners = Manners(max_log_range=10)
        with pytest.raises(RangeRefused):
            await rpc.request("eth_getLogs", [{"address": to_hex(LOGGER), "fromBlock": "0x0", "toBlock": "0xff"}])
    assert proxy.seen("eth_call") == {"eth_call": 1}
    assert proxy.counts["eth_getLogs"] == 1
    assert second.http_requests == 0


async def test_a_slow_log_query_comes_back_to_be_narrowed(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, timeout_s=0.1) as rpc:
        await rpc.check()
        proxy.manners = Manners(delay_s=5)
        with pytest.raises(RpcTimeout):
            await rpc.request("eth_getLogs", [{"address": to_hex(LOGGER), "fromBlock": "0x0", "toBlock": "0x9"}])
    assert proxy.counts["eth_getLogs"] == 1


async def test_the_logs_of_one_block_are_asked_of_the_next(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()
    proxy.manners = Manners(delay_s=5)
    async with bench.endpoints(proxy.url, bench.url, timeout_s=0.2) as rpc:
        by_hash = {"address": to_hex(LOGGER), "blockHash": to_hex(head.hash)}
        assert await rpc.request("eth_getLogs", [by_hash]) == []


async def test_a_block_that_one_lacks_another_may_have(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    head = await bench.mine(5)
    proxy.manners = Manners(head_number=3)
    call = [{"to": to_hex(LOGGER)}, {"blockHash": to_hex(head.hash), "requireCanonical": True}]
    async with bench.endpoints(proxy.url, second.url) as rpc:
        assert await rpc.request("eth_call", call) == "0x"
        assert (proxy.counts["eth_call"], second.counts["eth_call"]) == (1, 1)
        # The first is well otherwise, and stays the first.
        await rpc.request("eth_blockNumber")
    assert proxy.counts["eth_blockNumber"] == 1


async def test_a_block_that_comes_a_moment_later(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.manners = Manners(head_number=3, only_next=2)
        call = [{"to": to_hex(LOGGER)}, {"blockHash": to_hex(head.hash), "requireCanonical": True}]
        assert await rpc.request("eth_call", call) == "0x"
        with pytest.raises(BlockUnavailable):
            await rpc.request("eth_call", [{"to": to_hex(LOGGER)}, {"blockHash": "0x" + "11" * 32}])


async def test_a_well_endpoint_that_lags_is_asked_again_before_one_that_rests(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    head = await bench.mine(5)
    proxy.manners = Manners(status=429, retry_after="60")
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.request("eth_blockNumber")
        second.manners = Manners(head_number=3, only_next=1)
        call = [{"to": to_hex(LOGGER)}, {"blockHash": to_hex(head.hash), "requireCanonical": True}]
        assert await rpc.request("eth_call", call) == "0x"
    proxy.assert_none("eth_call")


async def test_a_method_that_one_lacks_another_may_have(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    proxy.manners = Manners(errors={"eth_feeHistory": {"code": -32601, "message": "Method not found"}})
    async with bench.endpoints(proxy.url, second.url) as rpc:
        assert await rpc.request("eth_feeHistory", ["0x1", "latest", []])
        with pytest.raises(MethodUnavailable):
            await rpc.request("eth_foo")
    assert proxy.counts["eth_foo"] == second.counts["eth_foo"] == 1


# -- chain id ----------------------------------------------------------------------------------------------------------
async def test_the_wrong_chain_names_both(bench: Bench) -> None:
    async with Endpoints([Endpoint(bench.url)], 1) as rpc:
        for ask in (rpc.check(), rpc.request("eth_blockNumber"), rpc.request("eth_sendRawTransaction", ["0x"])):
            with pytest.raises(WrongChain, match="answers for chain 31337; configured is chain 1"):
                await ask


async def test_one_endpoint_of_another_chain_fails_the_start_but_not_a_running_keeper(
    bench: Bench, proxy: FaultProxy
) -> None:
    proxy.on_request = lambda method, _: {"result": "0x1"} if method == "eth_chainId" else None
    async with bench.endpoints(proxy.url, bench.url) as rpc:
        assert await rpc.request("eth_blockNumber") == "0x0"
        assert await rpc.request("eth_blockNumber") == "0x0"
        assert proxy.counts["eth_blockNumber"] == 0
    async with bench.endpoints(bench.url, proxy.url) as rpc:
        with pytest.raises(WrongChain):
            await rpc.check()


async def test_the_chain_is_asked_once_for_each_endpoint(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        for _ in range(3):
            await rpc.request("eth_blockNumber")
        assert await rpc.check() == CHAIN_ID
    assert proxy.counts["eth_chainId"] == 1


async def test_without_a_configured_chain_the_first_word_is_taken(bench: Bench) -> None:
    async with Endpoints([Endpoint(bench.url)], None) as rpc:
        assert await rpc.check() == CHAIN_ID
        assert rpc.chain_id == CHAIN_ID


async def test_the_start_forgives_a_back_up_that_is_down(bench: Bench) -> None:
    async with bench.endpoints("http://127.0.0.1:1", bench.url) as rpc:
        assert await rpc.check() == CHAIN_ID
    async with bench.endpoints("http://127.0.0.1:1") as rpc:
        with pytest.raises(RpcUnreachable):
            await rpc.check()


def test_no_endpoint_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        Endpoints([], 1)


# -- writes ------------------------------------------------------------------------------------------------------------
WRITE = [{"from": to_hex(SENDER), "to": to_hex(SENDER), "value": "0x1"}]


@pytest.mark.parametrize("manners", SICK)
@pytest.mark.parametrize("method", ["eth_sendTransaction", "eth_sendRawTransaction", "evm_mine"])
async def test_a_write_goes_once_to_one_endpoint(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, manners: Manners, method: str
) -> None:
    async with bench.endpoints(proxy.url, second.url, timeout_s=0.3) as rpc:
        await rpc.check()
        proxy.manners = manners
        with pytest.raises(ChainError):
            await rpc.request(method, WRITE if method == "eth_sendTransaction" else [])
    assert proxy.counts[method] == 1
    second.assert_none(method)


async def test_a_write_passes_over_an_endpoint_that_rests(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    proxy.manners = Manners(status=429, retry_after="60")
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.request("eth_blockNumber")
        await rpc.request("eth_sendTransaction", WRITE)
    proxy.assert_none("eth_send")
    assert second.counts["eth_sendTransaction"] == 1


async def test_a_write_in_a_batch_is_our_own_mistake(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(Defect):
            await rpc.batch([("eth_blockNumber", []), ("eth_sendTransaction", WRITE)])
    proxy.assert_none("eth_send")


async def test_a_refusal_by_the_node_is_raised_as_it_is(bench: Bench) -> None:
    async with bench.endpoints() as rpc:
        with pytest.raises(RpcFailure):
            await rpc.request("eth_sendRawTransaction", ["0x1234"])


# -- batches -----------------------------------------------------------------------------------------------------------
NUMBERS = [("eth_getBlockByNumber", ["0x0", False]), ("eth_blockNumber", [])] * 10


@pytest.mark.parametrize(
    "manners, requests",
    [(Manners(), 1), (Manners(batches=False), 1 + 20), (Manners(max_batch=6), 2 + 4), (Manners(status=413), None)],
)
async def test_batches_fit_what_the_endpoint_takes(
    bench: Bench, proxy: FaultProxy, manners: Manners, requests: int | None
) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests = 0
        proxy.manners = manners
        if requests is None:
            manners.only_next = 1
        answers = await rpc.batch(NUMBERS)
        assert [isinstance(each, dict) for each in answers] == [True, False] * 10
        assert proxy.http_requests == (requests or 3)
        proxy.http_requests = 0
        await rpc.batch(NUMBERS)
        # What it takes is remembered.
        assert proxy.http_requests == {1: 1, 21: 20, 6: 4, None: 2}[requests]


async def test_a_batch_size_of_one_never_batches(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(batches=False)
    async with bench.endpoints(proxy.url, batch_size=1) as rpc:
        assert len(await rpc.batch(NUMBERS)) == 20
    assert proxy.http_requests == 21


async def test_members_that_fail_stand_in_their_place(bench: Bench, proxy: FaultProxy) -> None:
    for batch_size in (100, 1):
        async with bench.endpoints(proxy.url, batch_size=batch_size) as rpc:
            answers = await rpc.batch(
                [("eth_blockNumber", []), ("eth_call", [{"to": to_hex(REVERTER)}, "latest"]), ("eth_foo", [])]
            )
        assert [type(each) for each in answers] == [str, RpcFailure, MethodUnavailable]


async def test_one_batch_is_answered_by_one_endpoint(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    def fails_late(method: str, _: object) -> dict[str, object] | None:
        return {"error": {"code": 429, "message": "slow down"}} if proxy.counts["eth_blockNumber"] >= 5 else None

    proxy.on_request = fails_late
    async with bench.endpoints(proxy.url, second.url, batch_size=1) as rpc:
        assert len(await rpc.batch(NUMBERS)) == 20
    assert second.counts["eth_blockNumber"] == second.counts["eth_getBlockByNumber"] == 10


async def test_a_limited_batch_goes_on_where_it_stopped(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(calls_per_s=8)
    async with bench.endpoints(proxy.url, batch_size=1) as rpc:
        answers = await rpc.batch(NUMBERS)
    assert len(answers) == 20
    assert not any(isinstance(each, ChainError) for each in answers)
    assert proxy.http_requests < 40


# -- pace --------------------------------------------------------------------------------------------------------------
async def test_our_own_pace_keeps_the_nodes_limit_untouched(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(calls_per_s=10)
    seen: list[Exchange] = []
    endpoint = Endpoint(proxy.url, calls_per_s=10, batch_size=4)
    begun_s = time.monotonic()
    async with Endpoints([endpoint], CHAIN_ID, observer=seen.append) as rpc, asyncio.TaskGroup() as group:
        for _ in range(24):
            group.create_task(rpc.request("eth_blockNumber"))
    assert 2.0 < time.monotonic() - begun_s < 5.0
    assert [each.error for each in seen] == [None] * len(seen)


async def test_the_observer_sees_every_exchange(bench: Bench, proxy: FaultProxy) -> None:
    seen: list[Exchange] = []
    async with Endpoints([Endpoint(proxy.url)], CHAIN_ID, observer=seen.append) as rpc:
        await rpc.batch(NUMBERS)
        proxy.manners = Manners(html=True, only_next=1)
        await rpc.request("eth_blockNumber")
    assert [(each.method, each.calls, each.error) for each in seen] == [
        ("eth_chainId", 1, None),
        ("batch", 20, None),
        ("eth_blockNumber", 1, "MalformedResponse"),
        ("eth_blockNumber", 1, None),
    ]
    assert all(each.label == proxy.url and each.elapsed_s > 0 for each in seen)


async def test_a_read_can_be_cancelled_while_it_waits(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=429, retry_after="20")
    async with bench.endpoints(proxy.url) as rpc:
        begun_s = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await rpc.request("eth_blockNumber")
    assert time.monotonic() - begun_s < 2


async def test_the_plain_client_never_repeats(proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=500)
    async with JsonRpc(proxy.url) as rpc:
        with pytest.raises(RpcUnreachable):
            await rpc.request("eth_blockNumber")
    assert proxy.http_requests == 1
