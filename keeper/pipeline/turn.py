"""What one head's acting is about: who is below 1, and what all its waves share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keeper.core.events import Event
from keeper.core.lending import Health
from keeper.core.order import Behind, Order
from keeper.core.outcome import Skip
from keeper.core.units import Address
from keeper.pipeline.budget import Budgets
from keeper.pipeline.desk import Desk
from keeper.pipeline.round import Key, Moment, Round
from keeper.pipeline.tasks import Slices

FIRST_WAVE = 1
LARGEST_WAVE = 32


@dataclass(frozen=True, slots=True)
class Sick:
    """One borrower below 1 or about to be, or one that cannot be valued."""

    desk: Desk
    borrower: Address
    health: Health | Skip
    """At the head's own time."""
    since_s: int
    """From when on it is below 1: the head's time, or that of the next block."""
    expected_base: Mapping[Address, int | None] | None = None
    """The prices at which it will be, where these are not the head's."""

    @property
    def key(self) -> Key:
        return self.desk.market, self.borrower

    @property
    def health_wad(self) -> int | None:
        return None if isinstance(self.health, Skip) else self.health.health_factor_wad

    @property
    def urgency(self) -> tuple[int, Address]:
        """Ascending: the most urgent first. All integers, so that the order is total and the same on every machine."""
        return (0 if isinstance(self.health, Skip) else -self.health.debt_base), self.borrower


@dataclass(frozen=True, slots=True)
class Unit:
    """An order as it is to go: one borrower's, or several borrowers' who have it in common, the most urgent first."""

    sick: tuple[Sick, ...]
    order: Order
    admitted: tuple[Order, ...]
    """Their own orders, for which the budget holds money."""

    @property
    def desk(self) -> Desk:
        return self.sick[0].desk

    @property
    def apart(self) -> list[Unit]:
        """Each by itself."""
        return [Unit((sick,), order, (order,)) for sick, order in zip(self.sick, self.admitted, strict=True)]


@dataclass(slots=True)
class Turn:
    """One head's acting: what all its waves share."""

    moment: Moment
    budgets: Budgets
    result: Round
    seen: dict[Address, set[Address]] = field(default_factory=dict)
    """Everybody found below 1, by market."""
    news: list[Event] = field(default_factory=list)
    """Who was found so for the first time: recorded with the first orders, so that these need not share the time with it."""
    wave: list[tuple[Sick, Order]] = field(default_factory=list)
    """Admitted, not simulated yet."""
    wave_size: int = FIRST_WAVE
    on_their_way: list[Order] = field(default_factory=list)
    ordered: set[Key] = field(default_factory=set)
    """Whom these are for."""
    behind: Behind | None = None
    """A pending transaction that all its orders must stand right behind."""
    slices: Slices = field(default_factory=Slices)

    def behind_of(self, behind: Behind, moment: Moment) -> Turn:
        """Another for the same head's money, with orders on top of this one's, all in one wave."""
        result, on_their_way = Round(moment.head), list(self.on_their_way)
        return Turn(moment, self.budgets, result, wave_size=LARGEST_WAVE, on_their_way=on_their_way, behind=behind)


def below_one(desk: Desk, borrowers: Sequence[Address]) -> list[Sick]:
    """Who of the named is below 1, or will be in the next block, or cannot be valued."""
    found = []
    for borrower in borrowers:
        health = desk.health_of(borrower)
        since_s = desk.below_one_from_s(borrower, health)
        if since_s is not None:
            found.append(Sick(desk, borrower, health, since_s))
    return found


def fingerprint(desk: Desk, borrower: Address) -> object:
    """What must change upstream before a borrower restored in a rehearsal counts again: its row, its assets' prices."""
    return desk.follower.book.position(borrower), prices_base(desk, borrower)


def prices_base(desk: Desk, borrower: Address) -> Mapping[Address, int | None]:
    follower = desk.follower
    return follower.adapter.relevant_prices(follower.state, follower.book.position(borrower))
