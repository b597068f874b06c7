"""The columns of the book: what a balance counts as. All balances of one column weigh alike in the screen.

A row's balance of a reserve is an entry (column, scaled balance). Collateral that is switched on and debt weigh by their
reserve and the row's e-mode; collateral that is switched off weighs nothing. A reserve that is switched on without a balance
is an entry of zero: its price is still read by the contract.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keeper.core.errors import Defect
from keeper.core.lending import Position, Side
from keeper.core.screening import ScreenColumn
from keeper.core.units import Address

UNUSED = 0
"""The column of room that holds no entry."""
NO_CATEGORY = -1
"""Stands for the e-mode of collateral that is switched off: it weighs nothing in any."""

MOST_ENTRIES = 256
"""Per row. The rounding bound of the screen counts on it (docs/SCREEN.md)."""
SCALED_BITS = 128

ColumnKind = tuple[Side, int, int]
"""(side, reserve id, e-mode or `NO_CATEGORY`)."""


class Columns:
    """Numbers the columns as they turn up; a number never changes."""

    def __init__(self) -> None:
        self.kinds: list[ColumnKind | None] = [None]
        self.weighing: list[ScreenColumn] = []
        """Those whose weight depends on prices, in the order they turned up."""
        self._weighing_numbers: list[int] = []
        self._weighing: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._numbers: dict[ColumnKind, int] = {}
        self._is_debt: NDArray[np.bool_] = np.zeros(1, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.kinds)

    def number(self, kind: ColumnKind) -> int:
        found = self._numbers.get(kind)
        if found is None:
            found = self._numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
            if kind[2] != NO_CATEGORY:
                self.weighing.append(kind)
                self._weighing_numbers.append(found)
        return found

    def adopt(self, kinds: Sequence[ColumnKind]) -> None:
        """Take these, in this order, as the first columns."""
        for kind in kinds:
            self.number(kind)

    def weighing_numbers(self) -> NDArray[np.intp]:
        """The numbers of those in `weighing`, aligned."""
        if len(self._weighing) != len(self._weighing_numbers):
            self._weighing = np.array(self._weighing_numbers)
        return self._weighing

    def is_debt(self) -> NDArray[np.bool_]:
        """By number."""
        if len(self._is_debt) != len(self.kinds):
            self._is_debt = np.array([kind is not None and kind[0] is Side.DEBT for kind in self.kinds])
        return self._is_debt

    def entries_of(self, row: Position) -> list[tuple[int, int]]:
        """(column, scaled balance) of a row. Raises `Defect` for what the book cannot hold."""
        number, on, within = self.number, row.collateral_enabled, row.category
        entries = [
            (number((Side.COLLATERAL, reserve_id, within if reserve_id in on else NO_CATEGORY)), scaled)
            for reserve_id, scaled in row.collateral_scaled.items()
        ]
        entries += [(number((Side.COLLATERAL, each, within)), 0) for each in on - row.collateral_scaled.keys()]
        entries += [(number((Side.DEBT, each, within)), scaled) for each, scaled in row.debt_scaled.items()]
        if len(entries) > MOST_ENTRIES:
            raise Defect(f"0x{row.borrower.hex()} has {len(entries)} balances, more than {MOST_ENTRIES}")
        for _, scaled in entries:
            if not 0 <= scaled < 1 << SCALED_BITS:
                raise Defect(f"0x{row.borrower.hex()} has a scaled balance of {scaled}: more than {SCALED_BITS} bits")
        return entries

    def position(self, account: Address, category: int, numbers: Sequence[int], scaled: Sequence[int]) -> Position:
        """The row that has these entries."""
        collateral: dict[int, int] = {}
        debt: dict[int, int] = {}
        enabled: set[int] = set()
        for number, balance in zip(numbers, scaled, strict=True):
            kind = self.kinds[number]
            if kind is None:
                continue
            side, reserve_id, within = kind
            if side is Side.DEBT:
                debt[reserve_id] = balance
                continue
            if balance:
                collateral[reserve_id] = balance
            if within != NO_CATEGORY:
                enabled.add(reserve_id)
        return Position(account, collateral, debt, frozenset(enabled), category)
