"""Heads over a WebSocket, over IPC and by polling, of a real node behind the faults of real subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keeper.chain.announced import Announcements
from keeper.chain.heads import heads
from keeper.chain.notice import Notice, NoticeKind
from keeper.chain.sockets import IpcAddress, SocketAddress, WebSocketAddress
from keeper.chain.subscription import Patience
from keeper.core.block import BlockRef
from tests.chain.bench import CHAIN_ID, Bench
from tests.faults import FaultProxy
from tests.socket_faults import SocketManners, SocketProxy

INTERVAL_S = 0.05
NEVER_S = 60.0
"""So long that within a test only an announcement brings a head."""


@dataclass
class Watch:
    """Asks for one head at a time."""

    heads: AsyncGenerator[BlockRef, None]
    announced: Announcements
    notices: list[Notice] = field(default_factory=list)
    _asked: asyncio.Task[BlockRef] | None = None

    async def next(self, within_s: float = 5.0) -> BlockRef:
        """Raises TimeoutError when there is none; the question stays asked."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_task(self._ask())
        done, _ = await asyncio.wait({self._asked}, timeout=within_s)
        if not done:
            raise TimeoutError
        head, self._asked = self._asked.result(), None
        return head

    async def _ask(self) -> BlockRef:
        return await anext(self.heads)

    async def close(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait({self._asked})
        await self.heads.aclose()

    async def comes(self, head: BlockRef) -> None:
        """Returns once this head was yielded; every one before it is lower or was replaced."""
        while await self.next() != head:
            pass

    async def subscribed(self) -> None:
        """Returns once the present connection has announced something."""
        await true(lambda: self.announced.latest is not None)

    def kinds(self) -> list[NoticeKind]:
        return [notice.kind for notice in self.notices]


async def true(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # what is waited for is outside of this loop
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(
    url: str, bench: Bench, *addresses: SocketAddress, quiet_after_s: float = 0.4, **settings: Any
) -> AsyncIterator[Watch]:
    """Requests go to `url`, subscriptions to the addresses."""
    async with AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(bench.endpoints(url))
        notices: list[Notice] = []
        patience = Patience(answer_s=0.5, probe_after_s=settings.pop("probe_after_s", NEVER_S))
        announced = Announcements(addresses, CHAIN_ID, tell=notices.append, patience=patience, first_pause_s=0.02)
        await stack.enter_async_context(announced.followed())
        found = heads(rpc, interval_s=INTERVAL_S, quiet_after_s=quiet_after_s, announced=announced, **settings)
        watch = Watch(cast(AsyncGenerator[BlockRef, None], found), announced, notices)
        stack.push_async_callback(watch.close)
        yield watch


@pytest.fixture
async def sockets(bench: Bench) -> AsyncIterator[SocketProxy]:
    async with SocketProxy(bench.url) as each:
        yield each


def address(sockets: SocketProxy, way: str) -> SocketAddress:
    return WebSocketAddress(sockets.url) if way == "WebSocket" else IpcAddress(sockets.ipc_path)


WAYS = ("WebSocket", "IPC")


@pytest.mark.parametrize("way", WAYS)
async def test_announced_heads_are_taken_without_asking(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy, way: str
) -> None:
    async with watching(proxy.url, bench, address(sockets, way), quiet_after_s=NEVER_S) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        await watch.subscribed()
        asked = proxy.http_requests
        for _ in range(10):
            mined = await bench.mine()
            assert await watch.next() == mined
        assert proxy.http_requests == asked
    assert watch.notices == []
    assert set(sockets.counts) == {"eth_chainId", "eth_subscribe"}, (
        "requests do not travel over the subscription's socket"
    )


@pytest.mark.parametrize("way", WAYS)
async def test_who_comes_late_gets_the_newest_and_finds_what_it_missed(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy, way: str
) -> None:
    async with watching(proxy.url, bench, address(sockets, way), quiet_after_s=NEVER_S) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        await watch.subscribed()
        asked = proxy.http_requests
        missed = [await bench.mine() for _ in range(5)]
        await true(lambda: watch.announced.latest == missed[-1])
        assert await watch.next() == missed[-1]
        assert [watch.announced.find(each.hash) for each in missed] == missed
        assert proxy.http_requests == asked


async def test_websocket_ipc_and_polling_give_the_same_heads(bench: Bench, sockets: SocketProxy) -> None:
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(watching(bench.url, bench, *addresses, quiet_after_s=NEVER_S))
            for addresses in ((), (WebSocketAddress(bench.url.replace("http", "ws")),), (IpcAddress(sockets.ipc_path),))
        ]
        for watch in watches:
            await watch.next()
        await true(lambda: all(watch.announced.subscribed_s is not None for watch in watches[1:]))
        heads = [
            await bench.mine(),
            await bench.mine(3),
            await bench.reorg(2),
            await bench.mine(),
            await bench.reorg(1),
        ]
        for watch in watches:
            await watch.comes(heads[-1])
        for step in range(12):
            head = await (bench.reorg(3) if step % 4 == 3 else bench.mine(1 + step % 3))
            for watch in watches:
                await watch.comes(head)


ODD = {
    "duplicates": SocketManners(times=3),
    "gaps": SocketManners(drop_every=2),
    "gaps and duplicates": SocketManners(drop_every=3, times=2),
    "lower heads": SocketManners(backwards=True),
    "removed blocks": SocketManners(removed=True),
    "half headers": SocketManners(half_headers=True),
    "garbage": SocketManners(garbage=True),
    "late": SocketManners(late_blocks=2),
}


@pytest.mark.parametrize("odd, way", [*((odd, "WebSocket") for odd in ODD), ("gaps and duplicates", "IPC")])
async def test_whatever_is_announced_the_head_is_found(bench: Bench, sockets: SocketProxy, odd: str, way: str) -> None:
    sockets.manners = ODD[odd]
    async with watching(bench.url, bench, address(sockets, way)) as watch:
        before = await watch.next()
        for step in range(8):
            head = await (bench.reorg(2) if step in (3, 6) else bench.mine(1 + step % 2))
            while (found := await watch.next(3.0)) != head:
                assert found.number <= max(before.number, head.number)
            before = head
        with pytest.raises(TimeoutError):
            await watch.next(0.2)


async def test_a_lower_head_that_is_announced_goes_back_only_when_it_is_true(
    bench: Bench, sockets: SocketProxy
) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        head = await bench.mine()
        await watch.comes(head)
        lower = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
        await sockets.announce(lower)
        with pytest.raises(TimeoutError):
            await watch.next(0.4)
        assert await bench.rollback(1) != head
        assert (await watch.next()).number == head.number - 1


async def test_a_head_that_leads_nowhere_is_not_believed(bench: Bench, sockets: SocketProxy) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        head = await bench.mine()
        await watch.comes(head)
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        for changes in ({"parentHash": "0x" + "77" * 32}, {"number": hex(head.number + 5)}, {"number": hex(2**200)}):
            forged = block | {"hash": "0x" + "66" * 32, "number": hex(head.number + 1)} | changes
            await sockets.announce(forged)
            with pytest.raises(TimeoutError):
                await watch.next(0.2)
        head = await bench.mine()
        assert await watch.next() == head


@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_connection_is_made_again_and_nothing_is_missed(
    bench: Bench, sockets: SocketProxy, way: str
) -> None:
    async with watching(bench.url, bench, address(sockets, way), quiet_after_s=NEVER_S) as watch:
        await watch.next()
        for _ in range(4):
            await true(lambda: watch.announced.subscribed_s is not None)
            sockets.manners = SocketManners(cut_off=True)
            connections = sockets.connections
            head = await bench.mine()
            await watch.comes(head)
            await true(lambda: sockets.connections > connections and watch.announced.subscribed_s is not None)  # noqa: B023
            head = await bench.mine()
            await watch.comes(head)
            await watch.subscribed()
    assert watch.kinds()[:2] == [NoticeKind.SUBSCRIPTION_LOST, NoticeKind.SUBSCRIPTION_BACK]


@pytest.mark.parametrize("way", WAYS)
async def test_a_silent_subscription_is_replaced_though_the_node_says_ok(
    bench: Bench, sockets: SocketProxy, way: str
) -> None:
    async with watching(bench.url, bench, address(sockets, way), quiet_after_s=0.2) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        sockets.manners = SocketManners(silent=True)
        connections = sockets.connections
        async with asyncio.timeout(10.0):
            while sockets.connections == connections:
                await watch.comes(await bench.mine())
        sockets.manners = SocketManners()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
    assert watch.kinds()[0] == NoticeKind.SUBSCRIPTION_LOST
    assert "did not announce" in watch.notices[0].detail


@pytest.mark.parametrize("way", WAYS)
async def test_a_half_open_connection_is_replaced_by_the_next_address(
    bench: Bench, sockets: SocketProxy, way: str
) -> None:
    """It takes the connection and then says nothing, not even to a request: polling goes on meanwhile."""
    sockets.manners = SocketManners(half_open=True)
    async with SocketProxy(bench.url) as other:
        async with watching(bench.url, bench, address(sockets, way), WebSocketAddress(other.url)) as watch:
            await watch.next()
            await watch.comes(await bench.mine())
            await true(lambda: watch.announced.subscribed_s is not None)
            await watch.comes(await bench.mine())
            await watch.subscribed()
        assert (sockets.connections, other.connections) == (1, 1)
    assert "no answer to eth_chainId" in watch.notices[0].detail


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_falls_silent_on_a_quiet_chain_is_noticed(
    bench: Bench, sockets: SocketProxy, way: str
) -> None:
    """Nothing is mined, so nothing is missing: only a sign of life tells a half-open connection from a quiet chain."""
    async with watching(bench.url, bench, address(sockets, way), probe_after_s=0.1) as watch:
        await watch.next()
        await true(lambda: sockets.counts["eth_chainId"] >= 3)
        assert sockets.connections == 1
        for client in list(sockets._clients):
            client.send = _lost  # type: ignore[method-assign]
        await true(lambda: sockets.connections >= 2)
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
    assert "no sign of life" in watch.notices[0].detail


async def _lost(text: str) -> None:
    """On its way for ever."""


@pytest.mark.parametrize(
    "manners, why",
    [
        (SocketManners(offers_subscriptions=False), "no subscription"),
        (SocketManners(chain_id=5), "answers for chain 5"),
    ],
)
async def test_a_node_without_subscriptions_or_of_another_chain_is_left_alone(
    bench: Bench, sockets: SocketProxy, manners: SocketManners, why: str
) -> None:
    sockets.manners = manners
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.next()
        for _ in range(3):
            await watch.comes(await bench.mine())
        await true(lambda: bool(watch.notices))
    assert sockets.connections == 1
    assert len(watch.notices) == 1
    assert why in watch.notices[0].detail and "polled from now on" in watch.notices[0].detail


async def test_who_cannot_be_reached_is_tried_ever_more_slowly(bench: Bench, sockets: SocketProxy) -> None:
    sockets.manners = SocketManners(refuses=True)
    nowhere = WebSocketAddress("ws://127.0.0.1:9/key-0123456789")
    async with watching(bench.url, bench, nowhere, WebSocketAddress(sockets.url + "/key-0123456789")) as watch:
        for _ in range(4):
            await watch.comes(await bench.mine())
        assert watch.kinds() == [NoticeKind.SUBSCRIPTION_LOST]
        sockets.manners = SocketManners()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        await true(lambda: len(watch.notices) == 2)
    assert watch.kinds()[-1] == NoticeKind.SUBSCRIPTION_BACK
    assert not any("0123456789" in notice.detail for notice in watch.notices)


async def test_what_is_announced_of_a_chain_that_nobody_else_has_is_doubted(bench: Bench, sockets: SocketProxy) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        head = await bench.mine()
        await watch.comes(head)
        await watch.subscribed()
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        forged = block | {"hash": "0x" + "66" * 32, "parentHash": block["hash"], "number": hex(head.number + 1)}
        await sockets.announce(forged)
        believed = await watch.next()
        assert believed.number == head.number + 1
        # Reads pinned to it fail; whoever made them says so.
        watch.announced.doubted = True
        child = {"hash": "0x" + "67" * 32, "parentHash": forged["hash"], "number": hex(head.number + 2)}
        await sockets.announce(forged | child)
        mined = await bench.mine(2)
        assert await watch.next() == mined


@pytest.mark.parametrize("wrong", [{"timestamp": hex(2**33)}, {"gasLimit": "0x1"}, {"baseFeePerGas": "0x1"}])
async def test_what_is_announced_of_a_block_must_be_what_is_read_of_it(
    bench: Bench, sockets: SocketProxy, wrong: dict[str, str]
) -> None:
    """A forged header under the true hash: reads pinned to it contradict it, and then the true one is yielded."""
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        await watch.subscribed()
        sockets.manners = SocketManners(silent=True)
        head = await bench.mine()
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        await sockets.announce(block | wrong)
        forged = await watch.next()
        assert forged.hash == head.hash and forged != head
        watch.announced.doubted = True
        assert await watch.next() == head
        await true(lambda: bool(watch.notices))
    assert "otherwise than others have it" in watch.notices[0].detail


@pytest.mark.parametrize("odd", [{"timestamp": "0x1"}, {"baseFeePerGas": None}])
async def test_a_header_that_cannot_be_whole_is_read(bench: Bench, sockets: SocketProxy, odd: dict[str, str]) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        sockets.manners = SocketManners(silent=True)
        head = await bench.mine()
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        await sockets.announce(block | odd)
        assert await watch.next() == head


async def test_errors_of_the_body_come_out_as_they_are(bench: Bench, sockets: SocketProxy) -> None:
    announced = Announcements([WebSocketAddress(sockets.url)], CHAIN_ID)

    async def fails() -> None:
        async with announced.followed():
            await true(lambda: announced.subscribed_s is not None)
            raise KeyError("of the body")

    with pytest.raises(KeyError, match="of the body"):
        await fails()
    await true(lambda: not sockets._clients)


async def test_an_announcement_that_nobody_waited_for_is_not_taken_for_new(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy
) -> None:
    """A round may take minutes, and the subscription may fall silent meanwhile."""
    async with watching(proxy.url, bench, WebSocketAddress(sockets.url), quiet_after_s=0.2) as watch:
        await watch.next()
        await true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        await watch.subscribed()
        old = await bench.mine()
        await true(lambda: watch.announced.latest == old)
        sockets.manners = SocketManners(silent=True)
        newest = await bench.mine(7)
        await asyncio.sleep(0.3)
        assert await watch.next() == newest
