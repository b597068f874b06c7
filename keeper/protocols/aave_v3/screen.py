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
from keeper.protocols.aave_v3.state import Accrued, ReserveAt
from keeper.protocols.aave_v3.valuation import debt_price_of, price_of, threshold_bps

INDEX_MOST = 1 << 127
PRICED_MOST_RAY = RAY << 127
"""Balances have 128 bits: above these, balance × index or balance × price might not fit into 256."""
WORTH_MOST_BITS = 256 - 128 - 9 - 16 - 60
"""Of what one scaled unit is worth: the sum of 2⁹ legs of 128 bits, times a share of 16 bits, times 10¹⁸, fits into 256."""
OWED = -1
"""In place of a threshold."""


def screen_terms(at: Accrued, columns: Iterable[ScreenColumn]) -> ScreenTerms:
    """Weights of columns at one timestamp. None where a price that the contract reads is missing, where its arithmetic might
    overflow, and where the bounds above do not hold."""
    lowered_bps = 0 if at.health_is_exact else 1
    most_bps = BPS
    legs: dict[int, ReserveAt | None] = {}
    known: dict[tuple[int, int | None, int], Fraction | None] = {}
    """Columns that differ in their e-mode alone mostly weigh the same."""
    weights: list[Fraction | None] = []
    for side, reserve_id, category in columns:
        emode = at.emode(category)
        if reserve_id not in legs:
            legs[reserve_id] = _leg(at, reserve_id)
        leg = legs[reserve_id]
        if leg is None or (emode is not None and emode.price_base is None):
            weights.append(None)
            continue
        if side is Side.DEBT:
            key = (reserve_id, debt_price_of(leg, emode), OWED)
        else:
            key = (reserve_id, price_of(leg, emode), threshold_bps(leg, emode))
            most_bps = max(most_bps, key[2])
        if key not in known:
            known[key] = _weight(leg, key[1], key[2], lowered_bps)
        weights.append(known[key])
    return ScreenTerms(
        weights=weights,
        leg_margin_base_bps=most_bps,
        row_margin_base_bps=BPS // 2 * lowered_bps,
    )


def _leg(at: Accrued, reserve_id: int) -> ReserveAt | None:
    """None for a reserve that was dropped, and where its interest alone overflows."""
    if reserve_id not in at.state.reserves:
        return None
    try:
        return at[reserve_id]
    except ArithmeticError:
        return None


def _weight(leg: ReserveAt, price_base: int | None, share_bps: int, lowered_bps: int) -> Fraction | None:
    if share_bps == OWED:
        return _worth(leg.debt_index_ray, price_base, leg.unit, BPS)
    if price_base is not None and not leg.counts:
        return 0, 1
    if share_bps < lowered_bps:
        return None  # what counts at a threshold of zero lowers the average of the others by more than one bp
    return _worth(leg.income_index_ray, price_base, leg.unit, share_bps - lowered_bps)


def _worth(index_ray: int, price_base: int | None, unit: int, share_bps: int) -> Fraction | None:
    if price_base is None or not RAY <= index_ray < INDEX_MOST:
        return None
    worth_ray, whole_ray = index_ray * price_base, RAY * unit
    if worth_ray >= PRICED_MOST_RAY or worth_ray >= whole_ray << WORTH_MOST_BITS:
        return None
    return worth_ray * share_bps, whole_ray
