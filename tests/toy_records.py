"""Journal and checkpoints of the toy: in memory, and able to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keeper.core.checkpoint import Checkpoint, Stage
from keeper.core.events import Event, Kind
from keeper.core.ledger import Valuation
from keeper.core.pauses import Pause, StandingPause
from keeper.core.spending import Spending
from keeper.core.standing import Standing
from keeper.core.units import Address
from tests.toy_ports import Faults


@dataclass
class MemoryJournal:
    """`keeper.ports.Journal` in two lists."""

    faults: Faults
    events: list[Event] = field(default_factory=list)
    standings: list[tuple[Address, int, dict[Address, Standing]]] = field(default_factory=list)

    async def record(self, events: Sequence[Event]) -> None:
        await self.faults.step("record")
        self.events += events

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        await self.faults.step("record_standing")
        self.standings.append((market, block_number, dict(standing)))

    def of(self, *kinds: Kind) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]


@dataclass
class MemoryLedger:
    """`keeper.ports.Ledger` that a test fills."""

    spent: Spending = field(default_factory=lambda: Spending((), (), ()))
    spending_changes: int = 0
    values: list[Valuation] = field(default_factory=list)

    def becomes(self, spent: Spending) -> None:
        self.spent = spent
        self.spending_changes += 1

    async def value(self, valuations: Sequence[Valuation]) -> None:
        self.values += valuations

    async def spending(self, since_s: int) -> Spending:
        return replace(self.spent, settled=tuple(each for each in self.spent.settled if each.timestamp_s > since_s))


@dataclass
class MemoryPauses:
    """`keeper.ports.Pauses` in a list."""

    standing: list[StandingPause] = field(default_factory=list)
    ever: int = 0

    async def standing_pauses(self) -> Sequence[StandingPause]:
        return list(self.standing)

    async def pause(self, pause: Pause) -> None:
        alike = [each for each in self.standing if (each.pause.scope, each.pause.reason) == (pause.scope, pause.reason)]
        if not alike:
            self.ever += 1
            self.standing.append(StandingPause(self.ever, pause, "2026-01-01T00:00:00.000Z"))

    async def was_lifted(self, pause: Pause) -> bool:
        return False

    async def lift(self, chain_id: int | None, by: str) -> None:
        self.standing = [each for each in self.standing if chain_id not in (None, each.pause.scope.chain_id)]


@dataclass
class MemoryCheckpoints:
    """`keeper.ports.Checkpoints` in lists."""

    faults: Faults
    kept: list[Checkpoint] = field(default_factory=list)
    aside: list[tuple[Checkpoint, str]] = field(default_factory=list)
    full: bool = False

    async def save(self, checkpoint: Checkpoint) -> bool:
        await self.faults.step("save")
        if self.full:
            return False
        marks = [each for each in self.kept if each.market == checkpoint.market and each.stage is not Stage.BOOK]
        gone = marks if checkpoint.stage is Stage.BOOK else []
        self.kept = [each for each in self.kept if each not in gone] + [checkpoint]
        return True

    async def load(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        await self.faults.step("load")
        found = [each for each in self.kept if (each.chain, each.market) == (chain, market)]
        newest_first = sorted(range(len(found)), key=lambda place: (found[place].block.number, place), reverse=True)
        return [found[place] for place in newest_first]

    async def set_aside(self, checkpoint: Checkpoint, cause: str) -> None:
        await self.faults.step("set_aside")
        self.kept.remove(checkpoint)
        self.aside.append((checkpoint, cause))

    def books(self, market: Address) -> list[Checkpoint]:
        """In the order saved."""
        return [each for each in self.kept if each.market == market and each.stage is Stage.BOOK]

    def alter(self, market: Address, **changes: Any) -> None:
        """Pretend that the newest book says something else."""
        newest = self.books(market)[-1]
        self.kept = [replace(newest, **changes)]
