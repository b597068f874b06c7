"""At which price a borrower's health crosses 1, one oracle price moving and all others standing still.

With S the weighted collateral and D the debt, x the moving price over its present one, and k the parts that hang on it:

    health(x) = 1   where   S − S_k + x·S_k = D − D_k + x·D_k,   so   x = (D − D_k − S + S_k) ÷ (S_k − D_k)

S_k > D_k: a net collateral, health falls with the price. S_k < D_k: a net debt, health falls as the price rises. Equal: no
price does it. The closed form ignores the contract's roundings, so it only says where to begin; the trigger is then found
with the adapter's own valuation, in the oracle's own units.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from keeper.core.lending import Exposure, LendingAdapter
from keeper.core.outcome import Skip
from keeper.core.units import BPS, HEALTH_ONE_WAD, UINT256_MAX, WAD, Address
from keeper.stress.snapshot import Exposed, Market, Snapshot, State

PARTS_PER_MILLION = 1_000_000


class Direction(Enum):
    """Which way the price must go for health to fall."""

    FALLS = "falls"
    RISES = "rises"


@dataclass(frozen=True, slots=True)
class Trigger:
    """Below 1 at `price_trigger_base`, and not below 1 one unit of the oracle's price back on the safe side. Where a version
    floors the average threshold health is a sawtooth at the scale of a basis point: then it is one of the crossings."""

    price_key: Address
    direction: Direction
    price_now_base: int
    price_trigger_base: int

    @property
    def price_safe_base(self) -> int:
        return self.price_trigger_base + (1 if self.direction is Direction.FALLS else -1)

    @property
    def move_ppm(self) -> int:
        """From the present price to the trigger, in millionths of the present one, floored. Of a borrower that is below 1
        already it leads back, and points to the safe side."""
        return (self.price_trigger_base - self.price_now_base) * PARTS_PER_MILLION // self.price_now_base


@dataclass(frozen=True, slots=True)
class Near:
    """One borrower and its triggers, the nearest first."""

    exposed: Exposed
    triggers: Sequence[Trigger]


def slope_base_bps(part: Exposure) -> int:
    """S_k − D_k: above 0 for a net collateral, below 0 for a net debt."""
    return part.weighted_collateral_base_bps - part.debt_base * BPS


def _margin_base_bps(exposed: Exposed) -> int:
    """S − D of the whole position."""
    return exposed.health.weighted_collateral_base_bps - exposed.health.debt_base * BPS


class Triggers(Generic[Market, State]):
    """Finds the triggers of one snapshot's borrowers."""

    def __init__(self, adapter: LendingAdapter[Market, State], snapshot: Snapshot[State]) -> None:
        self._adapter = adapter
        self._snapshot = snapshot
        self._at_one: dict[Address, State] = {}
        """States with a price of 1: the last resort of many searches."""

    def of(self, exposed: Exposed) -> list[Trigger]:
        """Every trigger that exists, exact, the nearest first."""
        found = [self.one(exposed, part) for part in exposed.exposures]
        return sorted(
            (each for each in found if each is not None), key=lambda each: (_distance_wad(each), each.price_key)
        )

    def one(self, exposed: Exposed, part: Exposure) -> Trigger | None:
        """The trigger of one price; None where no price does it."""
        slope = slope_base_bps(part)
        if not slope:
            return None
        direction = Direction.FALLS if slope > 0 else Direction.RISES
        guess_base = max(1, (slope - _margin_base_bps(exposed)) * part.price_base // slope)
        price_base = self._search(exposed, part, direction, guess_base)
        return None if price_base is None else Trigger(part.price_key, direction, part.price_base, price_base)

    def _search(self, exposed: Exposed, part: Exposure, direction: Direction, guess_base: int) -> int | None:
        """The price below 1 of two neighbours of which the other is not, near the guess. The present price lies on the one
        side of it; `beyond` is the way to the other."""
        beyond = -1 if (direction is Direction.FALLS) is not exposed.is_below_one else 1
        now_base, price_base = part.price_base, guess_base
        if (price_base - now_base) * beyond <= 0:
            price_base = now_base + beyond
        crossed = self._has_crossed(exposed, part, price_base)
        step = 1
        if crossed:
            this_side, other_side = now_base, price_base
            while (inside := other_side - beyond * step) * beyond > now_base * beyond:
                if not self._has_crossed(exposed, part, inside):
                    this_side = inside
                    break
                other_side, step = inside, 2 * step
        else:
            this_side, other_side = price_base, price_base
            while crossed is False:
                if other_side <= 1 and beyond < 0:
                    return None
                this_side, other_side, step = other_side, max(1, other_side + beyond * step), 2 * step
                crossed = self._has_crossed(exposed, part, other_side)
            if crossed is None:
                return None
        while abs(other_side - this_side) > 1:
            middle = (this_side + other_side) // 2
            if self._has_crossed(exposed, part, middle):
                other_side = middle
            else:
                this_side = middle
        return this_side if exposed.is_below_one else other_side

    def _has_crossed(self, exposed: Exposed, part: Exposure, price_base: int) -> bool | None:
        """Whether health is on the other side of 1 than now; None where its arithmetic ends, as the contract's would."""
        if price_base > UINT256_MAX or price_base < 1:
            return None if price_base > 1 else False
        state = self._with_price(part.price_key, price_base)
        health = self._adapter.health(state, exposed.position, self._snapshot.timestamp_s)
        if isinstance(health, Skip):
            return None
        return (health.health_factor_wad < HEALTH_ONE_WAD) is not exposed.is_below_one

    def _with_price(self, key: Address, price_base: int) -> State:
        if price_base != 1:
            return self._adapter.with_prices(self._snapshot.state, {key: price_base})
        if key not in self._at_one:
            self._at_one[key] = self._adapter.with_prices(self._snapshot.state, {key: 1})
        return self._at_one[key]


def nearest(adapter: LendingAdapter[Market, State], snapshot: Snapshot[State], count: int) -> list[Near]:
    """Who is closest to falling below 1 by one price alone. Those below 1 already come first, the lowest health first, with
    or without triggers.

    The closed form says how near somebody is at most; whoever can be among the first by that is searched exactly.
    """
    rough = sorted(
        ((rank, each) for each in snapshot.exposed if (rank := _best_rank(each)) is not None), key=lambda pair: pair[0]
    )
    triggers, found = Triggers(adapter, snapshot), list[Near]()
    for best_rank, exposed in rough:
        if len(found) >= count and _rank(found[count - 1]) < best_rank:
            break
        near = Near(exposed, triggers.of(exposed))
        if near.triggers or exposed.is_below_one:
            insort(found, near, key=_rank)
    return found[:count]


Rank = tuple[bool, int, Address]
"""Not below 1, then health or distance (wad, rounded down), then the address."""


def _rank(near: Near) -> Rank:
    if near.exposed.is_below_one:
        return _rank_below_one(near.exposed)
    return True, _distance_wad(near.triggers[0]), near.exposed.borrower


def _rank_below_one(exposed: Exposed) -> Rank:
    return False, exposed.health.health_factor_wad, exposed.borrower


def _best_rank(exposed: Exposed) -> Rank | None:
    """Its rank cannot be better; None for a healthy borrower whom no price brings below 1."""
    if exposed.is_below_one:
        return _rank_below_one(exposed)
    least_wad: int | None = None
    for part in exposed.exposures:
        slope = slope_base_bps(part)
        if not slope:
            continue
        x_wad = (slope - _margin_base_bps(exposed)) * WAD // slope
        slack_wad = _doubt_base_bps(exposed, part, x_wad) * WAD // abs(slope) + 2
        if x_wad + slack_wad > 0:
            way_wad = max(0, abs(x_wad - WAD) - slack_wad)
            least_wad = way_wad if least_wad is None else min(least_wad, way_wad)
    return None if least_wad is None else (True, least_wad, exposed.borrower)


def _doubt_base_bps(exposed: Exposed, part: Exposure, x_wad: int) -> int:
    """What the contract's roundings can do to S − D: two base units a leg and a whole basis point of the average threshold
    (which some versions floor), both in proportion to the price, and two of the oracle's own units. Rounded up."""
    legs = len(exposed.position.collateral_enabled) + len(exposed.position.debt_scaled)
    moved = part.weighted_collateral_base_bps + part.debt_base * BPS
    in_proportion = (exposed.health.collateral_base + 2 * legs * BPS) * max(WAD, x_wad + 1)
    return in_proportion // WAD + 2 * moved // part.price_base + 2


def _distance_wad(trigger: Trigger) -> int:
    """Share of the present price, rounded down."""
    return abs(trigger.price_trigger_base - trigger.price_now_base) * WAD // trigger.price_now_base
