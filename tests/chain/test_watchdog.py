"""Progress, not life: a node that stands still or lags while it answers, and a clock that is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from keeper.chain.announced import Announcements
from keeper.chain.clock_watch import ClockWatch
from keeper.chain.endpoints import Endpoints
from keeper.chain.heads import heads
from keeper.chain.notice import Notice, NoticeKind
from keeper.chain.sockets import WebSocketAddress
from keeper.chain.watchdog import Watchdog
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable
from tests.chain.bench import CHAIN_ID, Bench
from tests.chain.watching import comes_true
from tests.faults import FaultProxy, Manners
from tests.socket_faults import SocketManners, SocketProxy

INTERVAL_S = 0.05
QUIET_S = 0.2


@dataclass
class Watched:
    """The newest head, all the time."""

    notices: list[Notice] = field(default_factory=list)
    head: BlockRef | None = None

    async def at(self, head: BlockRef, within_s: float = 8.0) -> None:
        await comes_true(lambda: self.head == head, within_s)

    def kinds(self) -> list[NoticeKind]:
        return [notice.kind for notice in self.notices]


@asynccontextmanager
async def watched(
    rpc: Endpoints,
    *,
    announced: Announcements | None = None,
    clock: ClockWatch | None = None,
    wall_s: Callable[[], float] = time.time,
) -> AsyncIterator[Watched]:
    seen = Watched()
    watchdog = Watchdog(rpc, announced=announced, clock=clock, tell=seen.notices.append, wall_s=wall_s)

    async def follow() -> None:
        async for head in heads(
            rpc, interval_s=INTERVAL_S, quiet_after_s=QUIET_S, announced=announced, watchdog=watchdog
        ):
            seen.head = head

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        try:
            yield seen
        finally:
            following.cancel()


async def test_a_frozen_node_that_says_ok_is_set_back(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    """The first endpoint answers as if nothing happened; that another one is ahead proves that it stands still."""
    head = await bench.mine(5)
    async with bench.endpoints(proxy.url, second.url) as rpc, watched(rpc) as seen:
        await seen.at(head)
        proxy.manners = Manners(head_number=head.number)
        await seen.at(await bench.mine(5))
        # It goes on with the other one, and does not go back.
        for _ in range(4):
            await seen.at(await bench.mine())
        assert seen.kinds() == [NoticeKind.NODE_BEHIND]
        assert f"block {head.number} as its newest" in seen.notices[0].detail
        proxy.manners = Manners()
        await seen.at(await bench.mine())


async def test_a_node_alone_that_lags_is_waited_for(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    async with bench.endpoints(proxy.url) as rpc, watched(rpc) as seen:
        await seen.at(head)
        proxy.manners = Manners(head_number=head.number)
        newest = await bench.mine(5)
        await asyncio.sleep(3 * QUIET_S)
        assert seen.head == head and seen.notices == []
        proxy.manners = Manners()
        await seen.at(newest)


async def test_a_lower_head_is_a_node_that_lags_while_another_has_the_old_height(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    head = await bench.mine(9)
    async with bench.endpoints(proxy.url, second.url) as rpc, watched(rpc) as seen:
        await seen.at(head)
        proxy.manners = Manners(head_number=head.number - 1)
        await asyncio.sleep(12 * INTERVAL_S)
        assert seen.head == head
        proxy.manners = Manners()
        back = await bench.rollback(2)
        await seen.at(back)


async def test_a_subscription_that_lags_is_replaced(bench: Bench, second: FaultProxy) -> None:
    async with SocketProxy(bench.url) as late, SocketProxy(bench.url) as good:
        late.manners = SocketManners(late_blocks=4)
        notices: list[Notice] = []
        announced = Announcements(
            [WebSocketAddress(late.url), WebSocketAddress(good.url)], CHAIN_ID, tell=notices.append, first_pause_s=0.02
        )
        async with bench.endpoints() as rpc, announced.followed(), watched(rpc, announced=announced) as seen:
            async with asyncio.timeout(10.0):
                while not good.connections:
                    await seen.at(await bench.mine())
                    await asyncio.sleep(0.02)
            await comes_true(lambda: announced.subscribed_s is not None)
            await seen.at(await bench.mine())
    assert notices[0].kind is NoticeKind.SUBSCRIPTION_LOST


@pytest.mark.parametrize("wrong_s, words", [(-3_600, "behind the chain"), (3_600, "clock is ahead")])
async def test_a_clock_that_is_wrong_is_told_of_once_with_its_size(bench: Bench, wrong_s: int, words: str) -> None:
    clock = ClockWatch(15.0)
    async with bench.endpoints() as rpc:
        started = await bench.head()

        def wall_s() -> float:
            """As the chain's clock goes, but wrong."""
            return (seen.head or started).timestamp_s + wrong_s

        async with watched(rpc, clock=clock, wall_s=wall_s) as seen:
            for _ in range(12):
                await seen.at(await bench.mine())
            await comes_true(lambda: bool(seen.notices))
    assert seen.kinds() == [NoticeKind.CLOCK_SKEW]
    assert words in seen.notices[0].detail
    assert any(f"{3_600 + each} s" in seen.notices[0].detail for each in range(-7, 8))


async def test_old_heads_are_a_nodes_fault_when_another_one_has_newer_ones(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    """It lags but goes on, so only the age of its blocks tells."""
    await bench.mine(60)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        rpc.tolerated_lag_blocks = 1_000  # the pool itself must not find out
        number = (await bench.head()).number - 50
        proxy.manners = Manners(head_number=number)
        newest = await bench.head()
        async with watched(rpc, clock=ClockWatch(15.0), wall_s=lambda: float(newest.timestamp_s)) as seen:
            async with asyncio.timeout(8.0):
                while NoticeKind.NODE_BEHIND not in seen.kinds():
                    number += 1
                    proxy.manners = Manners(head_number=number)
                    await asyncio.sleep(2 * INTERVAL_S)
    assert NoticeKind.CLOCK_SKEW not in seen.kinds()


async def names_a_head_of_its_own(bench: Bench, proxy: FaultProxy, ahead_blocks: int) -> None:
    """From now on its newest block is one that nobody has, nor its parent."""
    true = await bench.node.request("eth_getBlockByNumber", ["latest", False])
    number = int(true["number"], 16) + ahead_blocks
    false = true | {"number": hex(number), "hash": "0x" + "ab" * 32, "parentHash": "0x" + "cd" * 32}

    def lie(method: str, params: list[Any]) -> dict[str, Any] | None:
        return {"result": false} if method == "eth_getBlockByNumber" and params[0] == "latest" else None

    proxy.on_request = lie


@pytest.mark.parametrize("ahead_blocks", [2, 5, 10**6])
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
async def test_a_head_that_nobody_can_prove_blinds_nobody(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, ahead_blocks: int, first: bool
) -> None:
    urls = (proxy.url, second.url) if first else (second.url, proxy.url)
    head = await bench.mine(5)
    async with bench.endpoints(*urls) as rpc, watched(rpc) as seen:
        await seen.at(head)
        await names_a_head_of_its_own(bench, proxy, ahead_blocks)
        await asyncio.sleep(QUIET_S)  # the others are looked at, too
        for _ in range(6):
            await seen.at(await bench.mine())
        assert set(seen.kinds()) <= {NoticeKind.NODE_DISBELIEVED}
        assert all(proxy.url in notice.detail for notice in seen.notices)


async def test_the_only_endpoint_is_asked_on_until_it_tells_the_truth(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    async with bench.endpoints(proxy.url) as rpc, watched(rpc) as seen:
        await seen.at(head)
        await names_a_head_of_its_own(bench, proxy, 100)
        await bench.mine()
        await asyncio.sleep(4 * QUIET_S)
        assert seen.head == head
        proxy.on_request = None
        await seen.at(await bench.mine())


async def test_a_start_is_made_on_a_head_that_can_be_proven(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    head = await bench.mine(5)
    await names_a_head_of_its_own(bench, proxy, 10**6)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        assert await Watchdog(rpc).latest() == head
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(BlockUnavailable, match="no endpoint has its parent"):
            await Watchdog(rpc).latest()
