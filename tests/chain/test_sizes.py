"""Answers are kept short by asking for less, and none is read without end."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.adaptive import TARGET_BODY_BYTES, AdaptiveSize
from keeper.chain.endpoints import Endpoints
from keeper.chain.jsonrpc import MAX_BODY_BYTES, BatchRefused, JsonRpc
from keeper.chain.line import Endpoint
from keeper.chain.logs import read_logs
from keeper.chain.reads import PinnedReads
from keeper.chain.translate import too_large
from keeper.core.block import Call
from keeper.core.errors import ChainError, MalformedResponse, RangeRefused, RpcFailure
from keeper.core.units import Address, to_hex
from tests.chain.bench import CHAIN_ID, ECHO, LOGS, Bench
from tests.faults import FaultProxy, Manners

TALKATIVE = Address(b"\x0a" * 20)
"""Answers every call with 20,000 bytes."""
SMALL = 100_000
"""A cap that a test can exceed cheaply."""


async def test_batches_are_cut_once_their_answers_are_known_to_be_long(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()
    long_call = ("eth_call", [{"to": to_hex(ECHO), "data": "0x" + "11" * 100_000}, hex(head.number)])
    async with bench.endpoints(proxy.url) as rpc:
        for _ in range(3):
            answers = await rpc.batch([long_call] * 30)
            assert not any(isinstance(answer, ChainError) for answer in answers)
    # 30 answers of 200,000 characters each: once in one piece, from then on in pieces.
    bodies = [size for size in proxy.body_bytes if size > 1_000]
    assert bodies[0] > 2 * TARGET_BODY_BYTES
    assert max(bodies[1:]) <= TARGET_BODY_BYTES
    assert sum(bodies[1:]) > 2 * 6_000_000
    assert len(bodies) == 1 + 2 * 3


async def test_aggregates_are_cut_by_the_bytes_that_come_back(bench: Bench, proxy: FaultProxy) -> None:
    await bench.node.request("anvil_setCode", [to_hex(TALKATIVE), "0x614e206000f3"])
    head = await bench.mine()
    calls = [Call(TALKATIVE, b"")] * 80
    async with bench.endpoints(proxy.url) as rpc:
        reads = PinnedReads(rpc)
        for _ in range(4):
            proxy.body_bytes.clear()
            results = await reads.read(calls, head)
            assert [each.returndata for each in results] == [bytes(20_000)] * 80
    assert max(proxy.body_bytes) <= 1.05 * TARGET_BODY_BYTES
    assert sum(proxy.body_bytes) > 2 * 80 * 20_000


# -- the hard cap ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "method, kind",
    [("eth_getLogs", RangeRefused), ("eth_getBlockByNumber", MalformedResponse), ("eth_call", RpcFailure)],
)
async def test_a_body_beyond_the_cap_is_not_read_to_its_end(
    bench: Bench, proxy: FaultProxy, method: str, kind: type[ChainError]
) -> None:
    parameters: dict[str, list[Any]] = {
        "eth_getLogs": [{"fromBlock": "0x0", "toBlock": "0x1"}],
        "eth_getBlockByNumber": ["0x0", False],
        "eth_call": [{"to": to_hex(ECHO)}, "latest"],
    }
    proxy.manners = Manners(longer_by_bytes=50 * SMALL)
    async with JsonRpc(proxy.url, max_body_bytes=SMALL) as rpc:
        with pytest.raises(kind, match=f"longer than {SMALL} bytes") as caught:
            await rpc.request(method, parameters[method])
        assert method != "eth_call" or too_large(caught.value)
        with pytest.raises(BatchRefused, match="longer than"):
            await rpc.batch([("eth_chainId", []), ("eth_chainId", [])])


async def test_the_cap_of_the_pool_is_the_real_one(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    proxy.manners = Manners(longer_by_bytes=MAX_BODY_BYTES + 1)
    async with Endpoints([Endpoint(proxy.url), Endpoint(second.url)], CHAIN_ID, hedged_share=0) as rpc:
        # The first one's chain id cannot be read, so the second one answers.
        assert await rpc.request("eth_blockNumber") == "0x0"
        assert rpc.health()[0].errors == {"MalformedResponse": 1}


async def test_logs_beyond_the_cap_are_asked_for_in_narrower_ranges(bench: Bench, proxy: FaultProxy) -> None:
    for word in range(8):
        await bench.log(word)
    head = await bench.head()

    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.on_answer = _long_for_many_logs
        chunks = [chunk async for chunk in read_logs(rpc, LOGS, 0, head, span=AdaptiveSize(100))]
    assert [int.from_bytes(log.data) for chunk in chunks for log in chunk.logs] == list(range(8))
    assert len(chunks) > 1


def _long_for_many_logs(method: str, _: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
    """More logs than two come in a body that nobody reads to its end."""
    logs = answer.get("result")
    if method == "eth_getLogs" and isinstance(logs, list) and len(logs) > 2:
        return {"result": logs, "filler": "x" * (MAX_BODY_BYTES + 1)}
    return answer


async def test_what_is_under_the_cap_is_read_whole(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(longer_by_bytes=SMALL)
    async with JsonRpc(proxy.url, max_body_bytes=2 * SMALL) as rpc:
        assert await rpc.request("eth_chainId") == hex(CHAIN_ID)
