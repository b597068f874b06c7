"""Where our own arithmetic is wrong: that market is stopped, loudly, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keeper.core import event_build
from keeper.core.block import BlockRef
from keeper.core.errors import Defect
from keeper.core.units import Address
from keeper.pipeline.round import OUR_FAULT
from keeper.ports import Journal

Decided = TypeVar("Decided")


class Stops:
    """The stopped markets of one chain."""

    def __init__(self, name: str, journal: Journal) -> None:
        self.markets: dict[Address, str] = {}
        """With what broke."""
        self.head: BlockRef | None = None
        """The head of the round, for the journal."""
        self._name = name
        self._journal = journal

    async def stop(self, market: Address, fault: BaseException) -> None:
        detail = str(fault) if isinstance(fault, Defect) else f"{type(fault).__name__}: {fault}"
        self.markets[market] = detail
        block_number = self.head.number if self.head else None
        await self._journal.record([event_build.market_refused(self._name, market, block_number, f"defect: {detail}")])

    async def guarded(self, market: Address, decide: Callable[[], Decided]) -> Decided | None:
        """What pure code decides; None when it is wrong, which stops its market."""
        try:
            return decide()
        except OUR_FAULT as fault:
            await self.stop(market, fault)
            return None
