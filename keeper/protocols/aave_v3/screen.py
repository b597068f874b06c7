"""The terms of the columnar screen: the same rules as `value_account`, per scaled unit and rounded for nobody.

With s and d the scaled balances, i their indexes, p prices, u token units, t thresholds (bps):

    W ≥ Σ (s − 1)·i·p·t/(RAY·u) − Σ t        a balance loses less than one raw unit, and so less than one scaled unit at an
                                             index of at least 1; its value less than one base unit
    10⁴·D ≤ Σ (d + 1)·i·p·10⁴/(RAY·u) + Σ 10⁴    the same, rounded up

Exact formula: health is 1 or more wherever W ≥ 10⁴·D (half-up division cannot fall below a quotient of 1 or more).

Floored formula: health is taken from C·⌊W/C⌋, half-up to a base unit. C·⌊W/C⌋ > W − C, and W − C is W with one bp less of
every threshold; the half-up division by 10⁴ takes less than half a base unit more. So one bp less, and 5 000 per account.

For every second of a span at once: indexes only grow, so i is that of the first second for collateral and that of the last for
debt; p the lower price of the two for collateral, the higher for debt (between two readings no price leaves their range).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keeper.core.lending import Side
from keeper.core.screening import Fraction, ScreenColumn, ScreenTerms
from keeper.core.units import BPS, RAY
from keeper.protocols.aave_v3.state import Accrued, EMode, ReserveAt, ScreenWeights
from keeper.protocols.aave_v3.valuation import debt_price_of, price_of, threshold_bps

Leg = tuple[ReserveAt, EMode | None]
"""A reserve at one time, in an e-mode that it is a member of or in none."""

INDEX_MOST = 1 << 127
PRICED_MOST_RAY = RAY << 127
"""Balances have 128 bits: above these, balance × index or balance × price might not fit into 256."""
WORTH_MOST_BITS = 256 - 128 - 9 - 16 - 60
"""Of what one scaled unit is worth: the sum of 2⁹ legs of 128 bits, times a share of 16 bits, times 10¹⁸, fits into 256."""


def screen_terms(at: Accrued, columns: Iterable[ScreenColumn], until: Accrued | None = None) -> ScreenTerms:
    """Weights of columns at one timestamp, or from it to that of `until`. None where a price that the contract reads is
    missing, where its arithmetic might overflow, and where the bounds above do not hold."""
    until = at if until is None else until
    floored = not at.health_is_exact
    most_bps = BPS
    members: dict[int, frozenset[int] | None] = {}
    """By e-mode; None where its price is missing, for members or not."""
    known: dict[tuple[int, int], ScreenWeights] = {}
    """By (reserve, e-mode that it is a member of): whoever is none weighs as in no e-mode."""
    weights: list[Fraction | None] = []
    debt_side = Side.DEBT  # looked up once: an enum's members are slow to reach, and this runs at every price
    for side, reserve_id, category in columns:
        if category not in members:
            members[category] = _members(at.emode(category), until.emode(category))
        inside = members[category]
        if inside is None:
            weights.append(None)
            continue
        key = (reserve_id, category if reserve_id in inside else 0)
        pair = known.get(key)
        if pair is None:
            pair = known[key] = _pair(at, until, key, floored)
            most_bps = max(most_bps, pair[2])
        weights.append(pair[1] if side is debt_side else pair[0])
    return ScreenTerms(
        weights=weights,
        leg_margin_base_bps=most_bps,
        row_margin_base_bps=BPS // 2 if floored else 0,
    )


def _members(first: EMode | None, last: EMode | None) -> frozenset[int] | None:
    """None where its price is missing at either time."""
    if first is None or last is None:
        return frozenset()
    return None if first.price_base is None or last.price_base is None else first.members


def _leg(at: Accrued, key: tuple[int, int]) -> Leg | None:
    """None for a reserve that was dropped, and where its interest alone overflows."""
    reserve_id, category = key
    if reserve_id not in at.state.reserves:
        return None
    try:
        return at[reserve_id], at.emode(category)
    except ArithmeticError:
        return None


def _pair(at: Accrued, until: Accrued, key: tuple[int, int], floored: bool) -> ScreenWeights:
    """From one time to the other; kept by the reserve where they are one."""
    first = _leg(at, key)
    last = first if until is at else _leg(until, key)
    if first is None or last is None:
        return None, None, 0
    leg, emode = first
    if last is not first or (emode is not None and emode.has_price_source):
        return _weighed(first, last, floored)
    found = leg.weights.get(key[1])
    if found is None:
        found = leg.weights[key[1]] = _weighed(first, first, floored)
    return found


def _weighed(first: Leg, last: Leg, floored: bool) -> ScreenWeights:
    """What one scaled unit is worth at least as collateral and at most as debt, between the two times."""
    leg, emode = first
    whole_ray = RAY * leg.unit
    share_bps = threshold_bps(leg, emode)
    price_base, debt_price_base = price_of(*first), debt_price_of(*first)
    if last is not first:
        price_base = _both(min, price_base, price_of(*last))
        debt_price_base = _both(max, debt_price_base, debt_price_of(*last))
    owed = _worth(last[0].debt_index_ray, debt_price_base, whole_ray, BPS)
    held: Fraction | None
    if price_base is not None and not leg.counts:
        held = 0, 1
    elif floored and not share_bps:
        held = None  # what counts at a threshold of zero lowers the average of the others by more than one bp
    else:
        held = _worth(leg.income_index_ray, price_base, whole_ray, share_bps - floored)
    return held, owed, share_bps


def _both(choose: Callable[[int, int], int], first: int | None, last: int | None) -> int | None:
    return None if first is None or last is None else choose(first, last)


def _worth(index_ray: int, price_base: int | None, whole_ray: int, share_bps: int) -> Fraction | None:
    if price_base is None or not RAY <= index_ray < INDEX_MOST:
        return None
    worth_ray = index_ray * price_base
    if worth_ray >= PRICED_MOST_RAY or worth_ray >> WORTH_MOST_BITS >= whole_ray:
        return None
    return worth_ray * share_bps, whole_ray
