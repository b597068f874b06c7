"""Log ranges of a real node, behind the limits and lies of public ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from keeper.chain.adaptive import AdaptiveSize
from keeper.chain.logs import LogChunk, read_block_logs, read_logs
from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef, Log
from keeper.core.errors import BlockUnavailable, Defect, MalformedResponse, RangeRefused, RpcTimeout
from keeper.core.lending import LogFilter
from keeper.core.units import to_hex
from tests.chain.bench import LOGGER, LOGS, OTHER_LOGGER, TOPIC, Bench
from tests.faults import FaultProxy, Manners


async def _read(rpc: Rpc, first: int, to: BlockRef, wanted: LogFilter = LOGS, **settings: Any) -> list[LogChunk]:
    return [chunk async for chunk in read_logs(rpc, wanted, first, to, **settings)]


def _words(logs: list[Log] | tuple[Log, ...]) -> list[int]:
    return [int.from_bytes(log.data) for log in logs]


async def _scattered(bench: Bench, count: int = 12) -> tuple[BlockRef, list[int]]:
    """Logs with empty blocks between, and several in one block at the end."""
    for word in range(count):
        await bench.log(word)
        await bench.mine(word % 4 + 1)
    head = await bench.log_in_one_block([100, 101, 102])
    return head, [*range(count), 100, 101, 102]


async def test_a_range_in_one_exchange_and_one_look_back(bench: Bench, proxy: FaultProxy) -> None:
    head, words = await _scattered(bench)
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests = 0
        [chunk] = await _read(rpc, 0, head)
    assert (chunk.from_block, chunk.to_block) == (0, head.number)
    assert _words(chunk.logs) == words
    assert [log.log_index for log in chunk.logs[-3:]] == [0, 1, 2]
    assert {log.block_hash for log in chunk.logs[-3:]} == {head.hash}
    assert proxy.http_requests == 2


@pytest.mark.parametrize("span", [1, 2, 3, 7, 1000])
async def test_chunks_join_without_gap_or_overlap(bench: Bench, span: int) -> None:
    head, words = await _scattered(bench)
    told: list[LogChunk] = []
    chunks = await _read(bench.node, 2, head, span=AdaptiveSize(span), on_progress=lambda chunk, to: told.append(chunk))
    assert chunks[0].from_block == 2
    assert chunks[-1].to_block == head.number
    assert all(left.to_block + 1 == right.from_block for left, right in pairwise(chunks))
    assert all(chunk.to_block - chunk.from_block < span for chunk in chunks)
    assert [word for chunk in chunks for word in _words(chunk.logs)] == words[1:]
    assert told == chunks


async def test_nothing_to_read(bench: Bench) -> None:
    head = await bench.mine(3)
    assert await _read(bench.node, head.number + 1, head) == []
    [chunk] = await _read(bench.node, head.number, head)
    assert chunk == LogChunk(head.number, head.number, ())


@pytest.mark.parametrize("limit", [1, 7, 10])
@pytest.mark.parametrize("batches", [True, False])
async def test_a_range_limit_is_found_and_learned(bench: Bench, proxy: FaultProxy, limit: int, batches: bool) -> None:
    head, words = await _scattered(bench)
    proxy.manners = Manners(max_log_range=limit, batches=batches)
    span = AdaptiveSize(10_000)
    async with bench.endpoints(proxy.url) as rpc:
        chunks = await _read(rpc, 0, head, span=span)
        assert [word for chunk in chunks for word in _words(chunk.logs)] == words
        assert max(chunk.to_block - chunk.from_block + 1 for chunk in chunks) <= limit
        proxy.counts.clear()
        again = await _read(rpc, 0, head, span=span)
    assert [word for chunk in again for word in _words(chunk.logs)] == words
    assert proxy.counts["eth_getLogs"] < len(again) + 8


async def test_a_query_that_takes_too_long_is_narrowed(bench: Bench, proxy: FaultProxy) -> None:
    head, words = await _scattered(bench)

    def too_slow(method: str, params: Any) -> dict[str, Any] | None:
        if method != "eth_getLogs" or int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) < 9:
            return None
        return {"error": {"code": -32603, "message": "request timed out"}}

    proxy.on_request = too_slow
    async with bench.endpoints(proxy.url) as rpc:
        chunks = await _read(rpc, 0, head)
    assert [word for chunk in chunks for word in _words(chunk.logs)] == words


async def test_a_single_block_that_is_refused_raises(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(3)
    async with bench.endpoints(proxy.url) as rpc:
        proxy.manners = Manners(max_log_range=0)
        with pytest.raises(RangeRefused):
            await _read(rpc, 0, head)
        proxy.manners = Manners(errors={"eth_getLogs": {"code": -32603, "message": "upstream timed out"}})
        with pytest.raises((RangeRefused, RpcTimeout)):
            await _read(rpc, 0, head)


async def test_only_what_the_filter_wants(bench: Bench) -> None:
    await bench.log(1)
    await bench.log(2, logger=OTHER_LOGGER)
    await bench.log(3, topic=b"\x77" * 32)
    head = await bench.head()
    for wanted, words in (
        (LOGS, [1]),
        (LogFilter((LOGGER, OTHER_LOGGER), (TOPIC,)), [1, 2]),
        (LogFilter((LOGGER,), (TOPIC, b"\x77" * 32)), [1, 3]),
        (LogFilter((LOGGER,), ()), [1, 3]),
    ):
        [chunk] = await _read(bench.node, 0, head, wanted)
        assert _words(chunk.logs) == words
    with pytest.raises(Defect):
        await _read(bench.node, 0, head, LogFilter((), (TOPIC,)))


async def test_a_lagging_node_does_not_swallow_logs(bench: Bench, proxy: FaultProxy) -> None:
    head, _ = await _scattered(bench)
    # It would answer the range in part, without an error.
    proxy.manners = Manners(head_number=head.number - 1)
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(BlockUnavailable):
            await _read(rpc, 0, head)
        with pytest.raises(BlockUnavailable):
            await _read(rpc, 0, head, span=AdaptiveSize(4))


async def test_a_block_that_was_reorganised_away_is_noticed(bench: Bench) -> None:
    old, _ = await _scattered(bench)
    await bench.reorg(2)
    for span in (4, 1000):
        with pytest.raises(BlockUnavailable, match="no longer on the chain"):
            await _read(bench.node, 0, old, span=AdaptiveSize(span))


async def test_a_reorganisation_between_the_chunks_is_noticed(bench: Bench) -> None:
    head, _ = await _scattered(bench)
    reading = read_logs(bench.node, LOGS, 0, head, span=AdaptiveSize(10))
    await anext(reading)
    await anext(reading)
    await bench.reorg(1)
    with pytest.raises(BlockUnavailable):
        [chunk async for chunk in reading]  # some may have been on their way before it


async def test_a_reorganisation_after_the_last_answer_is_noticed(bench: Bench, proxy: FaultProxy) -> None:
    head, _ = await _scattered(bench)
    other = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
    looks: list[str] = []

    def moves(method: str, params: Any) -> dict[str, Any] | None:
        looks.extend([method] if method == "eth_getBlockByNumber" else [])
        return {"result": other | {"number": params[0]}} if len(looks) == 2 else None

    proxy.on_request = moves
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(BlockUnavailable, match="no longer on the chain"):
            await _read(rpc, 0, head)


def _changed(**changes: Any) -> Any:
    return lambda logs: [logs[0] | changes, *logs[1:]]


@pytest.mark.parametrize(
    "change, kind",
    [
        (_changed(removed=True), MalformedResponse),
        (_changed(address="0x" + "99" * 20), MalformedResponse),
        (_changed(topics=["0x" + "99" * 32]), MalformedResponse),
        (_changed(topics=[]), MalformedResponse),
        (_changed(data="0x123"), MalformedResponse),
        (_changed(blockNumber="0x999"), MalformedResponse),
        (_changed(blockNumber="0x0"), MalformedResponse),
        (_changed(logIndex=None), MalformedResponse),
        (lambda logs: [*logs, logs[0]], MalformedResponse),
        (lambda logs: logs[0], MalformedResponse),
        (lambda logs: None, MalformedResponse),
        (lambda logs: [*logs[:-1], logs[-1] | {"blockHash": "0x" + "99" * 32}], BlockUnavailable),
        (lambda logs: [logs[0], logs[0] | {"logIndex": "0x5", "blockHash": "0x" + "99" * 32}], BlockUnavailable),
    ],
)
async def test_odd_logs_are_refused(bench: Bench, proxy: FaultProxy, change: Any, kind: type[Exception]) -> None:
    await bench.log(1)
    await bench.log(2)
    head = await bench.head()
    query = [{"address": to_hex(LOGGER), "fromBlock": "0x1", "toBlock": hex(head.number)}]
    logs = await bench.node.request("eth_getLogs", query)
    proxy.on_request = lambda method, _: {"result": change(logs)} if method == "eth_getLogs" else None
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(kind):
            await _read(rpc, 1, head)


async def test_unordered_logs_are_put_in_order(bench: Bench, proxy: FaultProxy) -> None:
    head, words = await _scattered(bench)
    logs = await bench.node.request("eth_getLogs", [{"address": to_hex(LOGGER), "fromBlock": "0x0"}])
    proxy.on_request = lambda method, _: {"result": logs[::-1]} if method == "eth_getLogs" else None
    async with bench.endpoints(proxy.url) as rpc:
        [chunk] = await _read(rpc, 0, head)
    assert _words(chunk.logs) == words


# -- by hash -----------------------------------------------------------------------------------------------------------
async def test_a_few_blocks_by_hash(bench: Bench, proxy: FaultProxy) -> None:
    await bench.log(1)
    first = await bench.head()
    empty = await bench.mine()
    last = await bench.log_in_one_block([5, 6])
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests = 0
        logs = await read_block_logs(rpc, LOGS, [first, empty, last])
        assert proxy.http_requests == 3
        assert await read_block_logs(rpc, LOGS, []) == []
    assert _words(logs) == [1, 5, 6]
    assert [log.block_hash for log in logs] == [first.hash, last.hash, last.hash]


async def test_a_block_by_hash_that_is_gone_or_not_there_yet(bench: Bench, proxy: FaultProxy) -> None:
    await bench.log(1)
    old = await bench.head()
    await bench.reorg(1)
    with pytest.raises(BlockUnavailable):
        await read_block_logs(bench.node, LOGS, [old])
    new = await bench.head()
    proxy.on_request = lambda method, _: {"result": None} if method == "eth_getLogs" else None
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(BlockUnavailable):
            await read_block_logs(rpc, LOGS, [new])


async def test_logs_of_another_block_than_asked_for_are_refused(bench: Bench, proxy: FaultProxy) -> None:
    await bench.log(1)
    other = await bench.head()
    block = await bench.mine()
    logs = await bench.node.request("eth_getLogs", [{"blockHash": to_hex(other.hash), "address": to_hex(LOGGER)}])
    proxy.on_request = lambda method, _: {"result": logs} if method == "eth_getLogs" else None
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(MalformedResponse):
            await read_block_logs(rpc, LOGS, [block])
