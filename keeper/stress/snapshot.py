"""Everybody with debt at one block, with the oracle prices that each one's health hangs on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.core.lending import Exposure, Health, LendingAdapter, Position
from keeper.core.outcome import Skip
from keeper.core.units import HEALTH_ONE_WAD, Address

Market = TypeVar("Market")
State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Exposed:
    """A borrower that can be valued."""

    position: Position
    health: Health
    exposures: Sequence[Exposure]

    @property
    def borrower(self) -> Address:
        return self.position.borrower

    @property
    def is_below_one(self) -> bool:
        return self.health.health_factor_wad < HEALTH_ONE_WAD


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[State]):
    """One market at one timestamp."""

    state: State
    timestamp_s: int
    exposed: Sequence[Exposed]
    unpriceable: Sequence[Address]
    """Borrowers whose health nobody knows, for want of a price. Counted, never dropped."""

    @property
    def borrowers(self) -> int:
        return len(self.exposed) + len(self.unpriceable)

    def prices_base(self) -> Mapping[Address, int]:
        """Every oracle price that somebody's health hangs on, by its key."""
        return {part.price_key: part.price_base for each in self.exposed for part in each.exposures}

    def collateral_keys(self) -> frozenset[Address]:
        """The prices that hold up somebody's health."""
        return frozenset(
            part.price_key for each in self.exposed for part in each.exposures if part.weighted_collateral_base_bps
        )


def take_snapshot(
    adapter: LendingAdapter[Market, State], state: State, positions: Iterable[Position], timestamp_s: int
) -> Snapshot[State]:
    """Value every position that has debt, at the state's prices and a timestamp not before it."""
    exposed: list[Exposed] = []
    unpriceable: list[Address] = []
    for position in positions:
        health = adapter.health(state, position, timestamp_s)
        parts = adapter.exposures(state, position, timestamp_s)
        if isinstance(health, Skip) or isinstance(parts, Skip):
            unpriceable.append(position.borrower)
        elif health.debt_base:
            exposed.append(Exposed(position, health, parts))
    return Snapshot(state, timestamp_s, exposed, unpriceable)
