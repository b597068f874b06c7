"""Heads over a subscription, asked for one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from keeper.chain.announced import Announcements
from keeper.chain.heads import heads
from keeper.chain.notice import Notice, NoticeKind
from keeper.chain.sockets import IpcAddress, SocketAddress, WebSocketAddress
from keeper.chain.subscription import Patience
from keeper.core.block import BlockRef
from tests.chain.bench import CHAIN_ID, Bench
from tests.socket_faults import SocketProxy

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

    async def begun(self, bench: Bench) -> BlockRef:
        """A block that was announced over the subscription, and yielded as the head."""
        await self.next()
        await comes_true(lambda: self.announced.subscribed_s is not None)
        head = await bench.mine()
        await self.comes(head)
        await self.subscribed()
        return head

    async def subscribed(self) -> None:
        """Returns once the present connection has announced something."""
        await comes_true(lambda: self.announced.latest is not None)

    def kinds(self) -> list[NoticeKind]:
        return [notice.kind for notice in self.notices]


async def comes_true(condition: Callable[[], bool], within_s: float = 10.0) -> None:
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
        settings = {"interval_s": INTERVAL_S} | settings
        found = heads(rpc, quiet_after_s=quiet_after_s, announced=announced, **settings)
        watch = Watch(cast(AsyncGenerator[BlockRef, None], found), announced, notices)
        stack.push_async_callback(watch.close)
        yield watch


def address(sockets: SocketProxy, way: str) -> SocketAddress:
    return WebSocketAddress(sockets.url) if way == "WebSocket" else IpcAddress(sockets.ipc_path)


WAYS = ("WebSocket", "IPC")
