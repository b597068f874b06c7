"""How much debt falls below 1 when prices drop: one price alone, or several together by the same share.

Every figure is the contract's own. What the linear form (weighted collateral and debt by the price they hang on) can tell
beyond all roundings is taken from it; whoever is in doubt is valued at the dropped prices by the adapter. A property test
holds the result against valuing everybody.

How far the contract can be from the linear form, in base·bps, for a borrower whose prices fall:

    every leg is rounded to a base unit, before and after            2·legs·10⁴
    the dropped price is floored to the oracle's unit                its value ÷ the dropped price
    an average threshold may be floored to whole basis points        1·collateral
    health is rounded half up at 18 digits                           debt·10⁴ ÷ 10¹⁸, at most 1 more
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from keeper.core.lending import Exposure, LendingAdapter
from keeper.core.outcome import Skip
from keeper.core.units import BPS, HEALTH_ONE_WAD, WAD, Address
from keeper.stress.snapshot import Exposed, Market, Snapshot, State

STEPS_BPS: tuple[int, ...] = (
    *(0, 100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000, 4_500, 5_000, 5_500, 6_000),
)
"""How far prices drop; 0 is now."""
STABLE_WITHIN_BPS = 300


@dataclass(frozen=True, slots=True)
class Point:
    """The market with the prices dropped by `drop_bps`."""

    drop_bps: int
    borrowers: int
    """Below 1 at these prices."""
    debt_base: int
    """Theirs, at these prices."""
    fresh_borrowers: int
    """Of them, those who are not below 1 now."""
    fresh_debt_base: int
    unpriceable: int
    """Borrowers of whom nobody can tell, here: they are in none of the other figures."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What dropping some prices together does."""

    price_keys: frozenset[Address]
    points: Sequence[Point]


def curve(
    adapter: LendingAdapter[Market, State],
    snapshot: Snapshot[State],
    price_keys: frozenset[Address],
    steps_bps: Sequence[int] = STEPS_BPS,
) -> Curve:
    """Debt below 1 at every step. A dropped price is ⌊price·(1 − drop)⌋; all other prices stay where they are."""
    prices = {key: price for key, price in snapshot.prices_base().items() if key in price_keys}
    deepest_bps = max(steps_bps)
    lowest = _dropped(prices, deepest_bps)
    moving, at_rest = list[_Line](), _Tally(unpriceable=len(snapshot.unpriceable))
    for exposed in snapshot.exposed:
        parts = [part for part in exposed.exposures if part.price_key in prices]
        line = _Line(exposed, parts)
        if not parts:
            at_rest.add(exposed, exposed.health.debt_base if exposed.is_below_one else 0)
        elif not (all(lowest.values()) and line.stays_healthy(lowest, deepest_bps)):
            moving.append(line)
    points = []
    for drop_bps in steps_bps:
        dropped = _dropped(prices, drop_bps)
        state = adapter.with_prices(snapshot.state, dropped)
        if all(dropped.values()):
            tally = replace(at_rest)
            for line in moving:
                owed_base = line.certain_debt_base(dropped, drop_bps)
                tally.add(
                    line.exposed, _owed_base(adapter, snapshot, state, line.exposed) if owed_base is None else owed_base
                )
        else:
            # A reserve that is switched on as collateral blinds its holder without a price, even where nothing is held of it.
            tally = _Tally(unpriceable=len(snapshot.unpriceable))
            for exposed in snapshot.exposed:
                tally.add(exposed, _owed_base(adapter, snapshot, state, exposed))
        points.append(Point(drop_bps, **asdict(tally)))
    return Curve(price_keys, points)


def _dropped(prices: Mapping[Address, int], drop_bps: int) -> dict[Address, int]:
    return {key: price * (BPS - drop_bps) // BPS for key, price in prices.items()}


def volatile_collateral(snapshot: Snapshot[State], base_unit: int) -> frozenset[Address]:
    """What falls in a crash, by rule: every price that holds up somebody's health and is not within 3 % of one unit of the
    base currency."""
    prices = snapshot.prices_base()
    return frozenset(
        key for key in snapshot.collateral_keys() if abs(prices[key] - base_unit) * BPS > STABLE_WITHIN_BPS * base_unit
    )


@dataclass(slots=True)
class _Tally:
    """The figures of a point while it is counted."""

    borrowers: int = 0
    debt_base: int = 0
    fresh_borrowers: int = 0
    fresh_debt_base: int = 0
    unpriceable: int = 0

    def add(self, exposed: Exposed, owed_base: int | None) -> None:
        """`owed_base`: the debt of one that is below 1, 0 of one that is not, None where nobody can tell."""
        if owed_base is None:
            self.unpriceable += 1
        elif owed_base:
            self.borrowers += 1
            self.debt_base += owed_base
            if not exposed.is_below_one:
                self.fresh_borrowers += 1
                self.fresh_debt_base += owed_base


def _owed_base(
    adapter: LendingAdapter[Market, State], snapshot: Snapshot[State], state: State, exposed: Exposed
) -> int | None:
    """As `_Tally.add` wants it, valued."""
    health = adapter.health(state, exposed.position, snapshot.timestamp_s)
    if isinstance(health, Skip):
        return None
    return health.debt_base if health.health_factor_wad < HEALTH_ONE_WAD else 0


class _Line:
    """One borrower's S − D as a line over the drop, in base·bps·bps, and how far the contract may be from it."""

    __slots__ = ("_fixed_doubt", "_margin", "_moved", "_owes", "_slope", "exposed")

    def __init__(self, exposed: Exposed, parts: Sequence[Exposure]) -> None:
        health = exposed.health
        legs = len(exposed.position.collateral_enabled) + len(exposed.position.debt_scaled)
        debt = health.debt_base * BPS * BPS
        self.exposed = exposed
        self._margin = health.weighted_collateral_base_bps * BPS - debt
        self._slope = sum(part.weighted_collateral_base_bps - part.debt_base * BPS for part in parts)
        self._moved = [
            (part.price_key, (part.weighted_collateral_base_bps + part.debt_base * BPS) * BPS) for part in parts
        ]
        self._owes = any(part.debt_base for part in parts)
        self._fixed_doubt = health.collateral_base * BPS + debt // WAD + BPS + 2 * legs * BPS * BPS

    def certain_debt_base(self, dropped: Mapping[Address, int], drop_bps: int) -> int | None:
        """Its debt if it is below 1 for certain, 0 if for certain it is not; None when it must be valued. Each price is above
        0."""
        if not drop_bps:
            return self.exposed.health.debt_base if self.exposed.is_below_one else 0
        left, doubt = self._margin - self._slope * drop_bps, self._doubt(dropped)
        if left > doubt:
            return 0
        return self.exposed.health.debt_base if left < -doubt and not self._owes else None

    def stays_healthy(self, lowest: Mapping[Address, int], deepest_bps: int) -> bool:
        """From no drop to the deepest: a line lies between its ends, and the doubt is largest at the lowest prices."""
        return min(self._margin, self._margin - self._slope * deepest_bps) > self._doubt(lowest)

    def _doubt(self, dropped: Mapping[Address, int]) -> int:
        return self._fixed_doubt + sum(moved // dropped[key] + 1 for key, moved in self._moved)
