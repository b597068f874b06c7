"""What the columnar screen needs to know of a market: the weight of each column, as integer fractions.

A column is all balances that weigh alike: one side of one reserve under one e-mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.book_events import Side

ScreenColumn = tuple[Side, int, int]
"""(side, reserve id, e-mode; 0 for none). Collateral is meant as switched on."""

Fraction = tuple[int, int]
"""(numerator, denominator), both without a sign; the denominator is not zero."""


@dataclass(frozen=True, slots=True)
class ScreenTerms:
    """A market at one timestamp, for the screen: a borrower whose balances are s (collateral) and d (debt) is at or above
    health 1 whenever

        Σ weight·(s − 1) − Σ weight·(d + 1)  ≥  legs · leg_margin_base_bps + row_margin_base_bps

    with the weights of `weights`, exactly, over the switched-on collaterals (s − 1 is 0 where s is 0) and the debts of it.
    """

    weights: Sequence[Fraction | None]
    """Per column asked for: what one scaled unit is worth in base·bps (threshold-weighted for collateral, times 10 000 for
    debt). None where that cannot be told: whoever holds, or has switched on, that column is valued exactly."""
    leg_margin_base_bps: int
    """The most that the contract's rounding can take per entry, beyond the one scaled unit."""
    row_margin_base_bps: int
    """The same, once per account."""
