"""Which requests the contract accepts for one pair: closed intervals of `debt_to_cover_raw`.

Acceptance changes only where one of a few quantities, all monotone in the request x, crosses a threshold: the scaled debt
that is burned, the seized collateral, the left-overs. So it is constant between those thresholds, and one look at each
stretch decides it; the intervals agree with `seize` because `seize` judges them. With

    M(x) = ⌊p_d·x·u_c ÷ (p_c·u_d)⌋ · bonus

the least x that seizes c or more is exact in closed form: the least base b whose b·bonus rounds to c or more is
⌈(c·10⁴ − 5 000) ÷ bonus⌉ (half-up) or ⌈c·10⁴ ÷ bonus⌉ (floor), and then x = ⌈b·p_c·u_d ÷ (p_d·u_c)⌉.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from keeper.core.fixedmath import HALF_BPS
from keeper.core.lending import Refusal
from keeper.core.units import BPS, RAY, UINT256_MAX
from keeper.protocols.aave_v3.liquidation import seize
from keeper.protocols.aave_v3.profile import Features
from keeper.protocols.aave_v3.terms import LEAST_LEFTOVER_BASE, Terms

NEAR_UNITS = 4
"""How far rounding can move a seizure from what the algebra says; where it is further, the whole range is searched."""


def allowed_debt_to_cover(terms: Terms) -> list[tuple[int, int]]:
    """Requests that the contract accepts. It clips a larger one to `most_raw`, so an interval that holds `most_raw` has no
    upper end but the word's."""
    if terms.most_raw < 1:
        return []
    try:
        starts = sorted({1} | {x for x in _thresholds(terms) if 1 < x <= terms.most_raw})
    except ArithmeticError:
        return []  # amounts near the word's end already for the smallest request: the contract reverts
    ends = [start - 1 for start in starts[1:]] + [UINT256_MAX]
    accepted: list[tuple[int, int]] = []
    for start, end in zip(starts, ends, strict=True):
        if isinstance(seize(terms, start), Refusal):
            continue
        if accepted and accepted[-1][1] == start - 1:
            accepted[-1] = (accepted[-1][0], end)
        else:
            accepted.append((start, end))
    return accepted


def least_debt_for_collateral(terms: Terms, seized_raw: int) -> int:
    """The least request x with M(x) ≥ `seized_raw`."""
    if seized_raw <= 0:
        return 0
    half = 0 if terms.at.features >= Features.V3_7 else HALF_BPS
    base_raw = _ceil_div(seized_raw * BPS - half, terms.bonus_bps)
    return _ceil_div(
        base_raw * terms.collateral_price_base * terms.debt.unit, terms.debt_price_base * terms.collateral.unit
    )


def _thresholds(terms: Terms) -> Iterator[int]:
    """Every x at which acceptance may change, and harmless others.

    A write-off burns all debt, however small x is; but left-overs of no value are dust, so it is accepted only together
    with a collateral or a debt that is cleared, which have their own thresholds.
    """
    yield _least_raw_for_scaled(terms.at.balances.debt_burn_scaled, terms.debt.debt_index_ray)
    yield terms.owed_raw
    yield UINT256_MAX // (terms.debt_price_base * terms.collateral.unit) + 1
    for seized_raw in _seized_thresholds(terms):
        yield least_debt_for_collateral(terms, seized_raw)
    if terms.at.features >= Features.V3_3:
        yield _most_leaving_debt(terms) + 1


def _seized_thresholds(terms: Terms) -> Iterator[int]:
    """Seized amounts at which acceptance may change."""
    balance_raw, collateral = terms.balance_raw, terms.collateral
    yield balance_raw
    yield balance_raw + 1
    yield _least_seized_paying(
        terms, _least_raw_for_scaled(terms.at.balances.collateral_burn_scaled, collateral.income_index_ray)
    )
    yield _least_seized_paying(terms, collateral.state.liquidity_raw + 1)
    if terms.at.features >= Features.V3_3:
        left_raw = _ceil_div(LEAST_LEFTOVER_BASE * collateral.unit, terms.collateral_price_base)
        yield balance_raw - left_raw + 1


def _most_leaving_debt(terms: Terms) -> int:
    """The largest repayment that leaves debt worth `LEAST_LEFTOVER_BASE`; below 1 where none does."""
    unit, price_base = terms.debt.unit, terms.debt_price_base
    # The least left-over worth L is ⌊(L − 1)·u ÷ p⌋ + 1 where values are rounded up, ⌈L·u ÷ p⌉ where they are floored.
    left_raw = (LEAST_LEFTOVER_BASE - 1) * unit // price_base + 1
    if terms.at.balances.debt_value(left_raw, price_base, unit) < LEAST_LEFTOVER_BASE:
        left_raw = _ceil_div(LEAST_LEFTOVER_BASE * unit, price_base)
    return terms.owed_raw - left_raw


def _least_seized_paying(terms: Terms, received_raw: int) -> int:
    """The least seizure that pays out `received_raw` after the protocol fee; more than the balance if none does."""
    if not terms.fee_bps:
        return received_raw

    def pays(seized_raw: int) -> bool:
        arithmetic = terms.arithmetic
        bonus_raw = seized_raw - arithmetic.remove_bonus(seized_raw, terms.bonus_bps)
        return seized_raw - arithmetic.protocol_fee(bonus_raw, terms.fee_bps) >= received_raw

    high_raw = terms.balance_raw
    if received_raw > high_raw or not pays(high_raw):
        return high_raw + 1
    # Without rounding, seized = received · bonus ÷ (bonus − fee · (bonus − 1)); rounding moves it by a few units.
    whole = terms.bonus_bps * BPS
    near_raw = received_raw * whole // (whole - terms.fee_bps * (terms.bonus_bps - BPS))
    low_raw = max(received_raw, min(near_raw, high_raw) - NEAR_UNITS)
    low_raw = received_raw if pays(low_raw) else low_raw
    top_raw = min(high_raw, near_raw + NEAR_UNITS)
    return _first_true(low_raw, top_raw if pays(top_raw) else high_raw, pays)


def _least_raw_for_scaled(to_scaled: Callable[[int, int], int], index_ray: int) -> int:
    """The least raw amount that is one scaled unit."""
    return _first_true(1, _ceil_div(index_ray, RAY), lambda raw: to_scaled(raw, index_ray) >= 1)


def _first_true(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least x in [low, high] where a monotone predicate holds; it holds at `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
