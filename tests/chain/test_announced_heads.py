"""Heads over a WebSocket, over IPC and by polling, of a real node, whatever is announced."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from keeper.chain.sockets import IpcAddress, WebSocketAddress
from tests.chain.bench import Bench
from tests.chain.watching import NEVER_S, WAYS, address, comes_true, watching
from tests.faults import FaultProxy
from tests.socket_faults import SocketManners, SocketProxy


@pytest.mark.parametrize("way", WAYS)
async def test_announced_heads_are_taken_without_asking(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy, way: str
) -> None:
    async with watching(proxy.url, bench, address(sockets, way), quiet_after_s=NEVER_S) as watch:
        await watch.begun(bench)
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
        await watch.begun(bench)
        asked = proxy.http_requests
        missed = [await bench.mine() for _ in range(5)]
        await comes_true(lambda: watch.announced.latest == missed[-1])
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
        await comes_true(lambda: all(watch.announced.subscribed_s is not None for watch in watches[1:]))
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
            heads.append(head)
        await comes_true(lambda: all(watch.announced.latest == heads[-1] for watch in watches[1:]))
        assert watches[0].announced.latest is None


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


async def test_after_a_gap_the_head_is_asked_for_at_once(bench: Bench, proxy: FaultProxy, sockets: SocketProxy) -> None:
    """Once for each announcement: not only when the next poll is due, and not over and over."""
    async with watching(
        proxy.url, bench, WebSocketAddress(sockets.url), quiet_after_s=NEVER_S, interval_s=NEVER_S
    ) as watch:
        await watch.begun(bench)
        sockets.manners = SocketManners(drop_every=2)
        for _ in range(4):
            asked = proxy.http_requests
            await bench.mine()
            await watch.comes(await bench.mine())
            assert proxy.http_requests <= asked + 2
        head = await bench.head()
        other = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
        asked = proxy.http_requests
        await sockets.announce(other | {"number": hex(head.number + 9)})
        with pytest.raises(TimeoutError):
            await watch.next(0.4)
        assert proxy.http_requests == asked + 1


async def test_a_lower_head_that_is_announced_goes_back_only_when_it_is_true(
    bench: Bench, sockets: SocketProxy
) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        head = await watch.begun(bench)
        lower = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
        await sockets.announce(lower)
        with pytest.raises(TimeoutError):
            await watch.next(0.4)
        assert await bench.rollback(1) != head
        assert (await watch.next()).number == head.number - 1


async def test_a_head_that_leads_nowhere_is_not_believed(bench: Bench, sockets: SocketProxy) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        head = await watch.begun(bench)
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        for changes in ({"parentHash": "0x" + "77" * 32}, {"number": hex(head.number + 5)}, {"number": hex(2**200)}):
            forged = block | {"hash": "0x" + "66" * 32, "number": hex(head.number + 1)} | changes
            await sockets.announce(forged)
            with pytest.raises(TimeoutError):
                await watch.next(0.2)
        head = await bench.mine()
        assert await watch.next() == head


async def test_what_is_announced_of_a_chain_that_nobody_else_has_is_doubted(bench: Bench, sockets: SocketProxy) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        head = await watch.begun(bench)
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
        await watch.begun(bench)
        sockets.manners = SocketManners(silent=True)
        head = await bench.mine()
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        await sockets.announce(block | wrong)
        forged = await watch.next()
        assert forged.hash == head.hash and forged != head
        watch.announced.doubted = True
        assert await watch.next() == head
        await comes_true(lambda: bool(watch.notices))
    assert "otherwise than others have it" in watch.notices[0].detail


@pytest.mark.parametrize("odd", [{"timestamp": "0x1"}, {"baseFeePerGas": None}])
async def test_a_header_that_cannot_be_whole_is_read(bench: Bench, sockets: SocketProxy, odd: dict[str, str]) -> None:
    async with watching(bench.url, bench, WebSocketAddress(sockets.url)) as watch:
        await watch.begun(bench)
        sockets.manners = SocketManners(silent=True)
        head = await bench.mine()
        block = await bench.node.request("eth_getBlockByNumber", [hex(head.number), False])
        await sockets.announce(block | odd)
        assert await watch.next() == head


async def test_an_announcement_that_nobody_waited_for_is_not_taken_for_new(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy
) -> None:
    """A round may take minutes, and the subscription may fall silent meanwhile."""
    async with watching(proxy.url, bench, WebSocketAddress(sockets.url), quiet_after_s=0.2) as watch:
        await watch.begun(bench)
        old = await bench.mine()
        await comes_true(lambda: watch.announced.latest == old)
        sockets.manners = SocketManners(silent=True)
        newest = await bench.mine(7)
        await asyncio.sleep(0.3)
        assert await watch.next() == newest
