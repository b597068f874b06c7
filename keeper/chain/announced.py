"""Heads as nodes announce them (`newHeads`): a hint that something is new, and most often the header itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from keeper.chain.blocks import decode_header
from keeper.chain.notice import Notice, NoticeKind, Tell, untold
from keeper.chain.rotation import FIRST_PAUSE_S, Rotation
from keeper.chain.sockets import SocketAddress
from keeper.chain.subscription import Patience, Subscription, subscribed
from keeper.concurrency import Group, check_wanted
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, MalformedResponse, RpcTimeout
from keeper.core.units import Hash32

MOST_KEPT = 128
"""Announced headers kept, so that a slow round need not read those it missed."""


class Announcements:
    """Follows one subscription at a time, and connects anew, to the next address in order, when it breaks or is replaced.
    Inside `followed` it runs by itself; whoever waits sees the newest head only."""

    def __init__(
        self,
        addresses: Sequence[SocketAddress],
        chain_id: int,
        *,
        tell: Tell = untold,
        patience: Patience | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.latest: BlockRef | None = None
        """Announced last over the present connection; None when the last announcement was no complete header."""
        self.latest_s = 0.0
        """When that was, by the steady clock."""
        self.doubted = False
        """The chain of the head announced last was not to be had elsewhere: what is announced is not taken before the head
        was read again."""
        self.subscribed_s: float | None = None
        """When the present subscription began, by the steady clock; None while there is none."""
        self._rotation = Rotation(addresses, first_pause_s)
        self._chain_id = chain_id
        self._tell = tell
        self._patience = patience
        self._kept: dict[Hash32, BlockRef] = {}
        self._changed = asyncio.Event()
        self._present: asyncio.Timeout | None = None
        self._replaced_why = ""
        self._lost = False

    def find(self, block_hash: Hash32) -> BlockRef | None:
        """A header that was announced lately."""
        return self._kept.get(block_hash)

    def link(self, below: BlockRef) -> BlockRef | None:
        """The head announced last, when announced headers lead down from it to a child of `below`, each the parent of the
        next."""
        header = self.latest
        while header is not None and header.number > below.number + 1:
            parent = self.find(header.parent_hash)
            header = parent if parent is not None and parent.number == header.number - 1 else None
        if header is None or header.number != below.number + 1 or header.parent_hash != below.hash:
            return None
        whole = header.timestamp_s >= below.timestamp_s and (header.base_fee_wei is None) == (
            below.base_fee_wei is None
        )
        return self.latest if whole else None

    async def changed(self, within_s: float) -> None:
        """Returns at the next announcement, or after `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()

    def replace(self, why: str) -> None:
        """The present connection does not keep up: drop it, and try the next."""
        if self._present is not None and not self._present.expired():
            self._replaced_why = why
            self._present.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """While inside, the subscription is kept up. Errors of the body come out as they are."""
        try:
            async with Group() as group:
                following = group.create_task(self._follow(), name="announced heads")
                try:
                    yield
                finally:
                    following.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _follow(self) -> None:
        while (address := self._rotation.current) is not None:
            pause_s = await self._listened(address)
            check_wanted()
            await asyncio.sleep(pause_s)

    async def _listened(self, address: SocketAddress) -> float:
        """Until the connection is of no more use. Returns the pause before the next attempt."""
        try:
            await self._listen(address)
        except ChainError as error:
            pause_s = self._rotation.failed(error)
            self._tell_lost(error)
            return pause_s
        finally:
            self.subscribed_s = None
            self._hear(None)

    async def _listen(self, address: SocketAddress) -> NoReturn:
        """Never returns but by a `ChainError`."""
        try:
            async with asyncio.timeout(None) as self._present:
                async with subscribed(address, self._chain_id, ["newHeads"], patience=self._patience) as subscription:
                    self.subscribed_s = time.monotonic()
                    await self._hear_all(subscription)
        except TimeoutError:
            raise RpcTimeout(f"{address.origin.label}: {self._replaced_why}") from None
        finally:
            self._present = None

    async def _hear_all(self, subscription: Subscription) -> NoReturn:
        while True:
            announced = await subscription.next()
            try:
                head = None if _says_removed(announced) else decode_header(announced, "announced")
            except MalformedResponse:
                head = None  # still a hint that something is new: the head is read then
            if head is not None:
                self._rotation.worked()
                self._tell_back(subscription.label)
            self._hear(head)

    def _hear(self, head: BlockRef | None) -> None:
        self.latest, self.latest_s = head, time.monotonic()
        if head is not None:
            self._kept.pop(head.hash, None)
            self._kept[head.hash] = head
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        self._changed.set()
        self._changed = asyncio.Event()

    def _tell_lost(self, error: ChainError) -> None:
        """Once, until it is back."""
        if not self._lost or self._rotation.current is None:
            until = "until it is back" if self._rotation.current is not None else "from now on"
            self._tell(Notice(NoticeKind.SUBSCRIPTION_LOST, f"{error}; heads are polled {until}"))
        self._lost = True

    def _tell_back(self, label: str) -> None:
        if self._lost:
            self._tell(Notice(NoticeKind.SUBSCRIPTION_BACK, f"{label} announces heads again"))
        self._lost = False


def _says_removed(announced: object) -> bool:
    return isinstance(announced, dict) and announced.get("removed") is True
