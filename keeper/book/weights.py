"""What one scaled unit of each column weighs, as floats that err on the side of naming (derived in docs/SCREEN.md)."""

from __future__ import annotations

from itertools import count

import numpy as np
from numpy.typing import NDArray

from keeper.book.columns import Columns
from keeper.core.errors import Defect
from keeper.core.screening import ScreenTerms

EPSILON = 2.0**-43
"""Relative. Four times what conversions, products and the sum of up to 256 terms can be off: at most 270 roundings of 2⁻⁵³."""

NARROWEST = 64
MISSING = float("nan")
SERIAL = count()

Floats = NDArray[np.float64]


class Weights:
    """Weights by column number: collateral (1 − ε)·w, debt −(1 + ε)·w, NaN where there is no price.

    A row is at or above 1 for certain where the sum of weight·bound is at least `margin`.
    """

    def __init__(self, columns: Columns, terms: ScreenTerms, most_entries: int) -> None:
        if len(terms.weights) != len(columns.weighing):
            raise Defect(f"{len(terms.weights)} weights for a book of {len(columns.weighing)} columns")
        width = NARROWEST
        while width < len(columns):
            width *= 2
        # Python divides integers of any size with a single rounding.
        worth = [MISSING if fraction is None else fraction[0] / fraction[1] for fraction in terms.weights]
        self.signed: Floats = np.zeros(width)
        self.signed[columns.weighing_numbers()] = worth
        self.signed[: len(columns)] *= np.where(columns.is_debt(), -(1 + EPSILON), 1 - EPSILON)
        self._known_debt: Floats | None = None
        self.serial = next(SERIAL)
        self._moved: dict[int, NDArray[np.intp] | None] = {}
        self._safe: dict[int, float | None] = {}
        """By serial number of the weights before (they are not kept alive): most pages were judged under the same."""
        self.margin = float(most_entries * terms.leg_margin_base_bps + terms.row_margin_base_bps)

    @property
    def width(self) -> int:
        """At least the number of columns; more of them seldom change it."""
        return len(self.signed)

    def collateral(self) -> Floats:
        """The weights of collateral; 0 for debt, NaN where there is no price."""
        weights: Floats = np.maximum(self.signed, 0)
        return weights

    def debt(self) -> Floats:
        """The weights of debt without their sign; 0 for collateral, NaN where there is no price."""
        weights: Floats = np.maximum(-self.signed, 0)
        return weights

    def known_debt(self) -> Floats:
        """The same for ranking: 0 where there is no price."""
        if self._known_debt is None:
            self._known_debt = np.fmax(-self.signed, 0)
        return self._known_debt

    def moved_since(self, before: Weights) -> NDArray[np.intp] | None:
        """The columns whose weight differs, among those known before; None where the margin grew, so that nothing that was
        judged before still stands."""
        if before.serial not in self._moved:
            self._moved[before.serial] = _moved(before, self)
        return self._moved[before.serial]

    def least_safe_health(self, before: Weights) -> float | None:
        """Rows whose health was at least this under `before`, as `keeper.book.page_screen` orders by it, are not named now.

        (1 + b)/(1 − a), where no collateral weight fell by more than the share a and no debt weight grew by more than b. None
        where no such statement can be made: a price went missing, something fell by half, debt that weighed nothing weighs.
        """
        if before.serial not in self._safe:
            self._safe[before.serial] = _least_safe_health(before, self)
        return self._safe[before.serial]


def _moved(before: Weights, now: Weights) -> NDArray[np.intp] | None:
    if now.margin > before.margin:
        return None
    old, new = before.signed, now.signed[: before.width]
    return np.flatnonzero(~((old == new) | (np.isnan(old) & np.isnan(new))))


def _least_safe_health(before: Weights, now: Weights) -> float | None:
    known = ~np.isnan(before.signed)
    old, new = before.signed[known], now.signed[: before.width][known]
    collateral, debt = old > 0, old < 0
    if now.margin > before.margin or np.isnan(new).any() or (new[~collateral & ~debt] < 0).any():
        return None
    least = float((new[collateral] / old[collateral]).min()) if collateral.any() else 1.0
    most = float((new[debt] / old[debt]).max()) if debt.any() else 1.0
    return most / least * (1 + 4 * EPSILON) if least > 1 / 2 else None
