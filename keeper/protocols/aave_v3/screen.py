"""The terms of the columnar screen: the same rules as `value_account`, per scaled unit and rounded for nobody.

With s and d the scaled balances, i their indexes, p prices, u token units, t thresholds (bps):

    W ≥ Σ (s − 1)·i·p·t/(RAY·u) − Σ t        a balance loses less than one raw unit, and so less than one scaled unit at an
                                             index of at least 1; its value less than one base unit
    10⁴·D ≤ Σ (d + 1)·i·p·10⁴/(RAY·u) + Σ 10⁴    the same, rounded up

Exact formula: health is 1 or more wherever W ≥ 10⁴·D (half-up division cannot fall below a quotient of 1 or more).

Floored formula: health is taken from C·⌊W/C⌋, half-up to a base unit. C·⌊W/C⌋ > W − C, and W − C is W with one bp less of
every threshold; the half-up division by 10⁴ takes less than half a base unit more. So one bp less, and 5 000 per account.
"""

from __future__ import annotations

from collections.abc import Iterable

from keeper.core.lending import Side
from keeper.core.screening import Fraction, ScreenColumn, ScreenTerms
from keeper.core.units import BPS, RAY
from keeper.protocols.aave_v3.state import Accrued, EMode, ReserveAt
from keeper.protocols.aave_v3.valuation import debt_price_of, price_of, threshold_bps

INDEX_MOST = 1 << 127
PRICED_MOST_RAY = RAY << 127
"""Balances have 128 bits: above these, balance × index or balance × price might not fit into 256."""
WORTH_MOST_BITS = 256 - 128 - 9 - 16 - 60
"""Of what one scaled unit is worth: the sum of 2⁹ legs of 128 bits, times a share of 16 bits, times 10¹⁸, fits into 256."""


def screen_terms(at: Accrued, columns: Iterable[ScreenColumn]) -> ScreenTerms:
    """Weights of columns at one timestamp. None where a price that the contract reads is missing, where its arithmetic might
    overflow, and where the bounds above do not hold."""
    floored = not at.health_is_exact
    most_bps = BPS
    members: dict[int, frozenset[int] | None] = {}
    """By e-mode; None where its price is missing, for members or not."""
    known: dict[tuple[int, int], tuple[Fraction | None, Fraction | None]] = {}
    """(collateral, debt) by (reserve, e-mode that it is a member of): whoever is none weighs as in no e-mode."""
    weights: list[Fraction | None] = []
    debt_side = Side.DEBT  # looked up once: an enum's members are slow to reach, and this runs at every price
    for side, reserve_id, category in columns:
        if category not in members:
            members[category] = _members(at.emode(category))
        inside = members[category]
        if inside is None:
            weights.append(None)
            continue
        key = (reserve_id, category if reserve_id in inside else 0)
        pair = known.get(key)
        if pair is None:
            leg, emode = _leg(at, reserve_id), at.emode(key[1])
            pair = known[key] = _pair(leg, emode, floored) if leg is not None else (None, None)
            most_bps = max(most_bps, BPS if leg is None else threshold_bps(leg, emode))
        weights.append(pair[side is debt_side])
    return ScreenTerms(
        weights=weights,
        leg_margin_base_bps=most_bps,
        row_margin_base_bps=BPS // 2 if floored else 0,
    )


def _members(emode: EMode | None) -> frozenset[int] | None:
    if emode is None:
        return frozenset()
    return None if emode.price_base is None else emode.members


def _leg(at: Accrued, reserve_id: int) -> ReserveAt | None:
    """None for a reserve that was dropped, and where its interest alone overflows."""
    if reserve_id not in at.state.reserves:
        return None
    try:
        return at[reserve_id]
    except ArithmeticError:
        return None


def _pair(leg: ReserveAt, emode: EMode | None, floored: bool) -> tuple[Fraction | None, Fraction | None]:
    """What one scaled unit is worth as collateral and as debt."""
    whole_ray = RAY * leg.unit
    share_bps, price_base = threshold_bps(leg, emode), price_of(leg, emode)
    owed = _worth(leg.debt_index_ray, debt_price_of(leg, emode), whole_ray, BPS)
    if price_base is not None and not leg.counts:
        return (0, 1), owed
    if floored and not share_bps:
        return None, owed  # what counts at a threshold of zero lowers the average of the others by more than one bp
    return _worth(leg.income_index_ray, price_base, whole_ray, share_bps - floored), owed


def _worth(index_ray: int, price_base: int | None, whole_ray: int, share_bps: int) -> Fraction | None:
    if price_base is None or not RAY <= index_ray < INDEX_MOST:
        return None
    worth_ray = index_ray * price_base
    if worth_ray >= PRICED_MOST_RAY or worth_ray >> WORTH_MOST_BITS >= whole_ray:
        return None
    return worth_ray * share_bps, whole_ray
