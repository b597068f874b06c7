"""Is the newest head that we know really the newest? Measured by progress: other endpoints' heads, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from keeper.chain.announced import Announcements
from keeper.chain.clock_watch import ClockWatch
from keeper.chain.notice import Notice, NoticeKind, Tell, untold
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError

FEW_BLOCKS = 2
"""Nodes that are well may be so far apart; where blocks come faster than news travels, further."""


class Said(Protocol):
    """What one endpoint calls its newest block; None when it did not answer."""

    @property
    def label(self) -> str: ...

    @property
    def header(self) -> BlockRef | None: ...


class Pool(Protocol):
    """Every endpoint there is: `keeper.chain.endpoints.Endpoints`."""

    async def heads(self) -> Sequence[Said]: ...

    def distrust(self, label: str, why: ChainError) -> None: ...


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

    async def look_around(self) -> BlockRef | None:
        """The highest head of any endpoint. Whoever is more than a few blocks below it is told of once and distrusted, and a
        subscription that is so far below is replaced."""
        said = await self._pool.heads()
        best = max(
            (each.header for each in said if each.header is not None), key=lambda head: head.number, default=None
        )
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
