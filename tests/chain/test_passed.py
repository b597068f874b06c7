"""What a head needs to be joined to the ones before costs no trip of its own: headers, logs of several blocks, fees."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from keeper.chain.client import ChainClient
from keeper.chain.fees import HISTORY_BLOCKS, FeeReader
from keeper.chain.header_chain import HeaderChain
from keeper.chain.logs import read_block_logs
from keeper.chain.passed import MOST_ALONG, Passed
from keeper.core.errors import ChainError
from tests.chain.bench import LOGS, Bench
from tests.faults import FaultProxy


async def test_headers_passed_over_during_a_slow_round_are_not_read(bench: Bench, proxy: FaultProxy) -> None:
    before, passed = await bench.head(), Passed()
    await bench.mine(1)
    last = await bench.head()
    passed.came(last, before)
    block_s = last.timestamp_s - before.timestamp_s
    await bench.mine(4)
    async with bench.endpoints(proxy.url) as rpc:
        chain = HeaderChain(rpc, last)
        head = await passed.read_newest(rpc, last, 4 * block_s)
        assert head.number == last.number + 4
        asked = proxy.http_requests
        extension = await chain.extend(head, passed.find)
        assert [header.number for header in extension.added] == list(range(last.number + 1, head.number + 1))
        assert proxy.http_requests == asked


async def test_in_time_only_the_newest_is_asked_for(bench: Bench, proxy: FaultProxy) -> None:
    before, passed = await bench.head(), Passed()
    await bench.mine(1)
    last = await bench.head()
    passed.came(last, before)
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.counts.clear()
        assert await passed.read_newest(rpc, last, 1.5 * (last.timestamp_s - before.timestamp_s)) == last
        assert proxy.counts["eth_getBlockByNumber"] == 1
        assert await passed.read_newest(rpc, last, 10**6) == last, "blocks that are not there yet are no trouble"
        assert proxy.counts["eth_getBlockByNumber"] == 2 + MOST_ALONG


async def test_a_client_joins_heads_by_what_came_along_with_them(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        client = ChainClient(rpc, poll_s=0.01, fee_cap_wei=10**12, priority_percentile=50)
        last = await bench.head()
        await client.extend(last)
        await bench.mine(1)
        client._passed.came(await bench.head(), last)
        await bench.mine(1)
        head, asked = await bench.head(), proxy.http_requests
        assert await client.extend(head) == last.number
        assert proxy.http_requests == asked


async def test_the_logs_of_several_blocks_are_asked_for_at_once(bench: Bench) -> None:
    """None is answered before all are asked."""
    blocks = []
    for word in range(3):
        await bench.log(word)
        blocks.append(await bench.head())
    all_asked, asked = asyncio.Event(), 0

    class Node:
        async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
            nonlocal asked
            asked += 1
            if asked == len(blocks):
                all_asked.set()
            await all_asked.wait()
            return await bench.node.request(method, params)

        async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | ChainError]:
            raise AssertionError("a batch may be cut into parts that wait for each other")

    async with asyncio.timeout(20):
        logs = await read_block_logs(Node(), LOGS, blocks)
    assert [log.block_number for log in logs] == [block.number for block in blocks]


async def test_where_blocks_are_empty_the_suggestion_comes_beside_the_history(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(20)
    head = await bench.head()
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        reader = FeeReader(rpc, blocks=HISTORY_BLOCKS, percentile=50)
        first = await reader.read(head)
        asked = proxy.http_requests
        assert await reader.read(head) == first
        assert proxy.http_requests == asked + 1
