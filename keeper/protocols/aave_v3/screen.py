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
from keeper.core.units import BPS, RAY, UINT256_MAX, WAD
from keeper.protocols.aave_v3.state import Accrued, EMode, ReserveAt
from keeper.protocols.aave_v3.valuation import debt_price_of, price_of, threshold_bps

SCALED_MOST = 1 << 128
"""No balance of the book reaches this."""
LEGS_MOST = 1 << 9
"""No account has as many."""
SHARE_MOST = 1 << 16
"""Thresholds and loan-to-values are below this."""


def screen_terms(at: Accrued, columns: Iterable[ScreenColumn]) -> ScreenTerms:
    """Weights of columns at one timestamp. None where a price that the contract reads is missing, where its arithmetic might
    overflow, and where the bounds above do not hold."""
    most_bps = BPS
    weights: list[Fraction | None] = []
    for side, reserve_id, category in columns:
        emode = at.emode(category)
        if (emode is not None and emode.price_base is None) or reserve_id not in at.state.reserves:
            weights.append(None)
            continue
        try:
            leg = at[reserve_id]
        except ArithmeticError:
            weights.append(None)  # interest itself overflows
            continue
        if side is Side.DEBT:
            weights.append(_worth(leg.debt_index_ray, debt_price_of(leg, emode), leg.unit, BPS))
        else:
            threshold = threshold_bps(leg, emode)
            most_bps = max(most_bps, threshold)
            weights.append(_collateral_worth(at, leg, emode, threshold))
    return ScreenTerms(
        weights=weights,
        leg_margin_base_bps=most_bps,
        row_margin_base_bps=0 if at.health_is_exact else BPS // 2,
    )


def _collateral_worth(at: Accrued, leg: ReserveAt, emode: EMode | None, threshold: int) -> Fraction | None:
    price_base = price_of(leg, emode)
    if price_base is not None and not leg.counts:
        return 0, 1
    if at.health_is_exact:
        return _worth(leg.income_index_ray, price_base, leg.unit, threshold)
    # What counts at a threshold of zero lowers the average of the others by more than one bp.
    return _worth(leg.income_index_ray, price_base, leg.unit, threshold - 1) if threshold else None


def _worth(index_ray: int, price_base: int | None, unit: int, share_bps: int) -> Fraction | None:
    if price_base is None or index_ray < RAY or index_ray * SCALED_MOST > UINT256_MAX >> 1:
        return None
    worth_ray = index_ray * price_base
    product_most = worth_ray * SCALED_MOST  # of balance and price, times RAY
    sum_most = product_most * LEGS_MOST * SHARE_MOST * WAD  # of all legs, times what the contract multiplies them by
    if product_most > (UINT256_MAX >> 1) * RAY or sum_most > UINT256_MAX * RAY * unit:
        return None
    return worth_ray * share_bps, RAY * unit
