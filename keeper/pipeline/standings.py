"""How everybody below 1 stands, from head to head, as the journal has it."""

from __future__ import annotations

from collections.abc import Mapping

from keeper.core import event_build
from keeper.core.block import BlockRef
from keeper.core.events import Event
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address
from keeper.pipeline.round import Round
from keeper.ports import Journal


class Standings:
    """What was recorded last, per market."""

    def __init__(self, name: str, journal: Journal, *, rehearses: bool = False) -> None:
        self._name = name
        self._journal = journal
        self._rehearses = rehearses
        self._last: dict[Address, dict[Address, Standing]] = {}

    def see(self, market: Address, head: BlockRef, sick: Mapping[Address, tuple[int | None, int]]) -> list[Event]:
        """First what is seen, then what is made of it: an event for each who was not below 1 before, to be recorded before
        anything else is told of them. `sick`: health at the head (None where none can be told), and from when it is below 1."""
        previous = self._last.setdefault(market, {})
        news = {who: found for who, found in sick.items() if who not in previous}
        for who, (health_wad, _) in news.items():
            previous[who] = Standing(ORDERED, "being judged", None, health_wad)
        return [
            event_build.seen(self._name, market, head.number, who, health_wad, since_s)
            for who, (health_wad, since_s) in news.items()
        ]

    async def record(self, market: Address, head: BlockRef, result: Round) -> None:
        """What this head came to."""
        current = {who: stands for (entry, who), stands in result.standings.items() if entry == market}
        previous = self._last.get(market, {})
        events = event_build.standing_events(
            self._name, market, head.number, previous, current, rehearsed=self._rehearses
        )
        await self._journal.record(events)
        await self._journal.record_standing(self._name, market, head.number, current)
        self._last[market] = current
