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

from keeper.core.lending import LendingAdapter
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
    moving, at_rest = [], _Tally(unpriceable=len(snapshot.unpriceable))
    for exposed in snapshot.exposed:
        if any(part.price_key in prices for part in exposed.exposures):
            moving.append(exposed)
        else:
            at_rest.add(exposed, exposed.health.debt_base if exposed.is_below_one else 0)
    points = []
    for drop_bps in steps_bps:
        dropped = {key: price * (BPS - drop_bps) // BPS for key, price in prices.items()}
        if all(dropped.values()):
            tally, concerned = replace(at_rest), moving
        else:
            # A reserve that is switched on as collateral blinds its holder without a price, even where nothing is held of it.
            tally, concerned = _Tally(unpriceable=len(snapshot.unpriceable)), list(snapshot.exposed)
        state = adapter.with_prices(snapshot.state, dropped)
        for exposed in concerned:
            tally.add(exposed, _owed_base(adapter, snapshot, state, exposed, dropped, drop_bps))
        points.append(Point(drop_bps, **asdict(tally)))
    return Curve(price_keys, points)


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
    adapter: LendingAdapter[Market, State],
    snapshot: Snapshot[State],
    state: State,
    exposed: Exposed,
    dropped: Mapping[Address, int],
    drop_bps: int,
) -> int | None:
    """As `_Tally.add` wants it."""
    if all(dropped.values()):
        known_base = _certain_debt_base(exposed, dropped, drop_bps)
        if known_base is not None:
            return known_base
    health = adapter.health(state, exposed.position, snapshot.timestamp_s)
    if isinstance(health, Skip):
        return None
    return health.debt_base if health.health_factor_wad < HEALTH_ONE_WAD else 0


def _certain_debt_base(exposed: Exposed, dropped: Mapping[Address, int], drop_bps: int) -> int | None:
    """Its debt if it is below 1 for certain, 0 if it is not for certain; None when it must be valued. Each price is above 0."""
    moving = [part for part in exposed.exposures if part.price_key in dropped]
    health = exposed.health
    if not drop_bps:
        return health.debt_base if exposed.is_below_one else 0
    weighted = health.weighted_collateral_base_bps * BPS
    debt = health.debt_base * BPS * BPS
    doubt = health.collateral_base * BPS + debt // WAD + BPS
    for part in moving:
        weighted -= part.weighted_collateral_base_bps * drop_bps
        debt -= part.debt_base * BPS * drop_bps
        moved = (part.weighted_collateral_base_bps + part.debt_base * BPS) * BPS
        doubt += moved // dropped[part.price_key] + 1
    legs = len(exposed.position.collateral_enabled) + len(exposed.position.debt_scaled)
    doubt += 2 * legs * BPS * BPS
    if weighted > debt + doubt:
        return 0
    owes_a_moving_one = any(part.debt_base for part in moving)
    return health.debt_base if weighted + doubt < debt and not owes_a_moving_one else None
