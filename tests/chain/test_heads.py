"""Heads of a real chain: coalesced, through reorganisations, errors and stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from keeper.chain.heads import Stall, heads
from keeper.chain.jsonrpc import JsonRpc
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, RpcUnreachable
from tests.chain.bench import Bench
from tests.faults import FaultProxy, Manners

INTERVAL_S = 0.02


class Watch:
    """Asks for one head at a time, each within a second."""

    def __init__(self, rpc: JsonRpc, **settings: Any) -> None:
        self._heads = cast(AsyncGenerator[BlockRef, None], heads(rpc, interval_s=INTERVAL_S, **settings))

    async def next(self, within_s: float = 2.0) -> BlockRef:
        async with asyncio.timeout(within_s):
            return await anext(self._heads)

    async def close(self) -> None:
        await self._heads.aclose()


async def test_each_change_of_the_head_once(bench: Bench) -> None:
    watch = Watch(bench.node)
    first = await watch.next()
    assert first == await bench.head()
    mined = await bench.mine()
    assert await watch.next() == mined
    with pytest.raises(TimeoutError):
        await watch.next(0.2)
    await watch.close()


async def test_whoever_asks_late_gets_only_the_newest(bench: Bench, proxy: FaultProxy) -> None:
    async with JsonRpc(proxy.url) as rpc:
        watch = Watch(rpc)
        await watch.next()
        for _ in range(4):
            await bench.mine()
        newest = await bench.mine()
        asked = proxy.counts["eth_getBlockByNumber"]
        await asyncio.sleep(0.2)
        # Nobody waits, so nobody asks.
        assert proxy.counts["eth_getBlockByNumber"] == asked
        assert await watch.next() == newest
        await watch.close()


async def test_another_block_at_the_same_height_is_news(bench: Bench) -> None:
    await bench.mine(5)
    watch = Watch(bench.node)
    before = await watch.next()
    after = await bench.reorg(1)
    assert after.number == before.number
    assert await watch.next() == after
    await watch.close()


async def test_a_head_that_stays_lower_is_a_reorganisation(bench: Bench) -> None:
    await bench.mine(5)
    watch = Watch(bench.node)
    before = await watch.next()
    after = await bench.rollback(2)
    assert after.number == before.number - 2
    assert await watch.next() == after
    await watch.close()


async def test_a_lagging_answer_is_no_reorganisation(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    async with JsonRpc(proxy.url) as rpc:
        watch = Watch(rpc)
        assert await watch.next() == head
        proxy.manners = Manners(head_number=head.number - 1, only_next=2)
        with pytest.raises(TimeoutError):
            await watch.next(0.2)
        await watch.close()


async def test_answers_that_lag_now_and_then_are_no_reorganisation(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    lower = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
    async with JsonRpc(proxy.url) as rpc:
        watch = Watch(rpc)
        assert await watch.next() == head
        proxy.on_request = lambda *_: {"result": lower} if proxy.http_requests % 3 else None
        with pytest.raises(TimeoutError):
            await watch.next(0.4)
        await watch.close()
    assert proxy.http_requests > 6


async def test_errors_are_reported_and_waited_out(bench: Bench, proxy: FaultProxy) -> None:
    errors: list[ChainError] = []
    async with JsonRpc(proxy.url) as rpc:
        watch = Watch(rpc, on_error=errors.append)
        await watch.next()
        proxy.manners = Manners(status=500, only_next=4)
        mined = await bench.mine()
        assert await watch.next() == mined
        await watch.close()
    assert [type(each) for each in errors] == [RpcUnreachable] * 4


async def test_errors_are_asked_about_ever_more_slowly(proxy: FaultProxy) -> None:
    errors: list[ChainError] = []
    async with JsonRpc(proxy.url) as rpc:
        proxy.manners = Manners(status=500)
        watch = Watch(rpc, on_error=errors.append)
        with pytest.raises(TimeoutError):
            await watch.next(0.65)
        await watch.close()
    # After 0, 20, 60, 140, 300 and 620 ms.
    assert 4 <= len(errors) <= 6


async def test_a_standing_head_is_reported_as_a_stall(bench: Bench, proxy: FaultProxy) -> None:
    stalls: list[Stall] = []
    head = await bench.mine(3)
    async with JsonRpc(proxy.url) as rpc:
        watch = Watch(rpc, stall_after_s=0.15, on_stall=stalls.append)
        assert await watch.next() == head
        proxy.manners = Manners(head_number=head.number)
        newest = await bench.mine()
        with pytest.raises(TimeoutError):
            await watch.next(0.5)
        await watch.close()
        assert 2 <= len(stalls) <= 3
        assert all(each.head == head and each.quiet_s >= 0.15 and each.error is None for each in stalls)
        proxy.manners = Manners()
        watch = Watch(rpc, stall_after_s=0.15, on_stall=stalls.append)
        assert await watch.next() == newest
        await watch.close()


async def test_a_stall_by_errors_names_the_latest(proxy: FaultProxy) -> None:
    stalls: list[Stall] = []
    async with JsonRpc(proxy.url) as rpc:
        proxy.manners = Manners(html=True)
        watch = Watch(rpc, stall_after_s=0.1, on_stall=stalls.append)
        with pytest.raises(TimeoutError):
            await watch.next(0.5)
        await watch.close()
    assert stalls
    assert stalls[0].head is None
    assert stalls[0].error is not None
