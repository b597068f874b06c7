"""Is the newest head that we know really the newest? Measured by progress: other endpoints' heads, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from keeper.chain.announced import Announcements
from keeper.chain.blocks import BlockId, read_header
from keeper.chain.clock_watch import ClockWatch
from keeper.chain.notice import Notice, NoticeKind, Tell, untold
from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, ChainError
from keeper.core.units import Hash32, to_hex

MOST_DISBELIEVED = 4
FEW_BLOCKS = 2
"""Nodes that are well may be so far apart; where blocks come faster than news travels, further."""


class Said(Protocol):
    """What one endpoint calls its newest block; None when it did not answer."""

    @property
    def label(self) -> str: ...

    @property
    def header(self) -> BlockRef | None: ...

    @property
    def error(self) -> ChainError | None: ...


class Pool(Rpc, Protocol):
    """Every endpoint there is: `keeper.chain.endpoints.Endpoints`."""

    async def heads(self) -> Sequence[Said]: ...

    async def headers(self, block: BlockId) -> Sequence[Said]: ...

    def distrust(self, label: str, why: ChainError) -> None: ...

    def disbelieve(self, head: BlockRef) -> Sequence[str]: ...


class Watchdog:
    """Asked in doubt only: each look costs one request per endpoint."""

    def __init__(
        self,
        pool: Pool,
        *,
        announced: Announcements | None = None,
        clock: ClockWatch | None = None,
        tell: Tell = untold,
        few_blocks: int = FEW_BLOCKS,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._few_blocks = few_blocks
        self._announced = announced
        self._clock = clock
        self._tell = tell
        self._wall_s = wall_s
        self._behind: set[str] = set()

    async def latest(self) -> BlockRef:
        """The newest block, from whichever endpoint names one that can be believed. Raises `ChainError`."""
        head = await read_header(self._pool, "latest")
        for _ in range(MOST_DISBELIEVED):
            if await self.believes(head):
                return head
            head = await read_header(self._pool, "latest")
        raise BlockUnavailable(
            f"block {head.number} {to_hex(head.hash)} is called the newest, but no endpoint has its parent"
        )

    async def believes(self, head: BlockRef, last: BlockRef | None = None) -> bool:
        """Whether a head can be built upon: it is the child of the `last` one, or its parent is to be had from the endpoints.
        Who named another one is told of, and others are asked instead: it would make everybody else look far behind.
        Raises `ChainError` when the endpoints cannot be asked."""
        if head.number == 0 or (last is not None and head.parent_hash == last.hash and head.number == last.number + 1):
            return True
        parent = await self._found(head.parent_hash)
        if parent is not None and parent.number == head.number - 1:
            return True
        for label in self._pool.disbelieve(head):
            detail = f"{label} calls block {head.number} the newest, but no endpoint has its parent: others are asked instead"
            self._tell(Notice(NoticeKind.NODE_DISBELIEVED, detail))
        return False

    async def _found(self, block_hash: Hash32) -> BlockRef | None:
        """A header, if any endpoint has it. Raises `ChainError` when none answers."""
        try:
            return await read_header(self._pool, block_hash)
        except BlockUnavailable as error:
            said = await self._pool.headers(block_hash)
            if all(each.error is not None and not isinstance(each.error, BlockUnavailable) for each in said):
                raise said[0].error or error from None
            return next((each.header for each in said if each.header is not None), None)

    async def look_around(self) -> BlockRef | None:
        """The highest head of any endpoint that can be believed. Whoever is more than a few blocks below it is told of once and
        distrusted, and a subscription that is so far below is replaced. Raises `ChainError` when they cannot be asked."""
        said = await self._pool.heads()
        best = await self._highest([each.header for each in said if each.header is not None])
        if best is None:
            return None
        behind: set[str] = set()
        for each in said:
            if each.header is not None and best.number - each.header.number > self._few_blocks:
                behind.add(each.label)
                self._set_back(each.label, each.header, best)
        self._behind = behind
        latest = self._announced.latest if self._announced is not None else None
        if self._announced is not None and latest is not None and best.number - latest.number > self._few_blocks:
            self._announced.replace(f"announced block {latest.number} last while others are at {best.number}")
        return best

    async def _highest(self, headers: Sequence[BlockRef]) -> BlockRef | None:
        """Of two endpoints that are about as far, neither needs proof."""
        descending = sorted(headers, key=lambda header: header.number, reverse=True)
        for place, header in enumerate(descending):
            others = [other.number for other in descending[:place] + descending[place + 1 :]]
            beside = any(abs(header.number - number) <= self._few_blocks for number in others)
            if beside or await self.believes(header):
                return header
        return None

    def arrived(self, head: BlockRef, ago_s: float = 0.0) -> bool:
        """A new block came `ago_s` ago. True when the clock is now in doubt: then `check_clock` should be called soon."""
        if self._clock is None:
            return False
        self._clock.arrived(self._wall_s() - ago_s - head.timestamp_s)
        return self._clock.news_s() is not None

    async def check_clock(self, last: BlockRef) -> None:
        """Say how far clock and chain are apart, unless it is the node that is behind."""
        if self._clock is None:
            return
        best = await self.look_around()
        if best is not None and best.number - last.number > self._few_blocks:
            self._clock.forget()
            return
        skew_s = self._clock.news_s()
        if skew_s is not None:
            self._clock.told(skew_s)
            self._tell(Notice(NoticeKind.CLOCK_SKEW, _skew_words(skew_s)))

    def _set_back(self, label: str, head: BlockRef, best: BlockRef) -> None:
        detail = f"{label} answers with block {head.number} as its newest while another endpoint has {best.number}"
        self._pool.distrust(label, ChainError(detail))
        if label not in self._behind:
            self._tell(Notice(NoticeKind.NODE_BEHIND, f"{detail}: others are asked first"))


def _skew_words(skew_s: float) -> str:
    if skew_s < 0:
        return f"this machine's clock is {-skew_s:.0f} s behind the chain: new blocks are stamped in its future; set the clock"
    return (
        f"new blocks are {skew_s:.0f} s old when they arrive, and no endpoint has newer ones: this machine's clock is ahead, or"
        " all of them are behind; set the clock. Heads older than max_head_age_s are not acted on"
    )
