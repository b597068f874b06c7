"""Connections that break, fall silent, or are of no use: they are made again or replaced, and heads are polled meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from keeper.chain.announced import Announcements
from keeper.chain.notice import NoticeKind
from keeper.chain.sockets import WebSocketAddress
from tests.chain.bench import CHAIN_ID, Bench
from tests.chain.watching import NEVER_S, WAYS, address, comes_true, watching
from tests.socket_faults import SocketManners, SocketProxy


@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_connection_is_made_again_and_nothing_is_missed(
    bench: Bench, sockets: SocketProxy, way: str
) -> None:
    async with watching(bench.url, bench, address(sockets, way), quiet_after_s=NEVER_S) as watch:
        await watch.next()
        for _ in range(4):
            await comes_true(lambda: watch.announced.subscribed_s is not None)
            sockets.manners = SocketManners(cut_off=True)
            connections = sockets.connections
            head = await bench.mine()
            await watch.comes(head)
            await comes_true(lambda: sockets.connections > connections and watch.announced.subscribed_s is not None)  # noqa: B023
            head = await bench.mine()
            await watch.comes(head)
            await watch.subscribed()
    assert watch.kinds()[:2] == [NoticeKind.SUBSCRIPTION_LOST, NoticeKind.SUBSCRIPTION_BACK]


@pytest.mark.parametrize("way", WAYS)
async def test_a_silent_subscription_is_replaced_though_the_node_says_ok(
    bench: Bench, sockets: SocketProxy, way: str
) -> None:
    async with watching(bench.url, bench, address(sockets, way), quiet_after_s=0.2) as watch:
        await watch.begun(bench)
        sockets.manners = SocketManners(silent=True)
        connections = sockets.connections
        async with asyncio.timeout(10.0):
            while sockets.connections == connections:
                await watch.comes(await bench.mine())
        sockets.manners = SocketManners()
        await comes_true(lambda: watch.announced.subscribed_s is not None)
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
            await comes_true(lambda: watch.announced.subscribed_s is not None)
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
        await comes_true(lambda: sockets.counts["eth_chainId"] >= 3)
        assert sockets.connections == 1
        for client in list(sockets._clients):
            client.send = _lost  # type: ignore[method-assign]
        await comes_true(lambda: sockets.connections >= 2)
        await comes_true(lambda: watch.announced.subscribed_s is not None)
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
        await comes_true(lambda: bool(watch.notices))
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
        await comes_true(lambda: watch.announced.subscribed_s is not None)
        await watch.comes(await bench.mine())
        await comes_true(lambda: len(watch.notices) == 2)
    assert watch.kinds()[-1] == NoticeKind.SUBSCRIPTION_BACK
    assert not any("0123456789" in notice.detail for notice in watch.notices)


async def test_errors_of_the_body_come_out_as_they_are(bench: Bench, sockets: SocketProxy) -> None:
    announced = Announcements([WebSocketAddress(sockets.url)], CHAIN_ID)

    async def fails() -> None:
        async with announced.followed():
            await comes_true(lambda: announced.subscribed_s is not None)
            raise KeyError("of the body")

    with pytest.raises(KeyError, match="of the body"):
        await fails()
    await comes_true(lambda: not sockets._clients)
