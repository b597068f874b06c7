"""Up to 131,072 rows in arrays: the storage of the book.

The entries of a row lie side by side, with some room behind them, so that the rows of a page are a sparse matrix as they
stand. A row that outgrows its room moves to another slot and leaves a hole; a page with many holes is packed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from keeper.book.columns import UNUSED
from keeper.core.errors import Defect
from keeper.core.units import Address

PAGE_ROWS = 1 << 17

HOLE, WITHOUT_DEBT, WITH_DEBT = 0, 1, 2
"""What is in a slot."""

LOW_BITS = 64
LOW_MASK = (1 << LOW_BITS) - 1

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows on their way into or out of a page, entries side by side."""

    accounts: NDArray[np.uint8]
    """n × 20."""
    categories: Ints
    states: NDArray[np.uint8]
    counts: Ints
    """Entries per row."""
    columns: Ints
    low: Words
    high: Words
    """Scaled balance = high·2⁶⁴ + low."""

    def __len__(self) -> int:
        return len(self.counts)

    def part(self, first: int, last: int) -> Rows:
        """Rows `first` to `last` (excluded)."""
        ends = np.cumsum(self.counts)
        a = int(ends[first - 1]) if first else 0
        b = int(ends[last - 1]) if last else 0
        rows, entries = slice(first, last), slice(a, b)
        return Rows(
            self.accounts[rows],
            self.categories[rows],
            self.states[rows],
            self.counts[rows],
            self.columns[entries],
            self.low[entries],
            self.high[entries],
        )

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        entries = np.repeat(chosen, self.counts)
        return Rows(
            self.accounts[chosen],
            self.categories[chosen],
            self.states[chosen],
            self.counts[chosen],
            self.columns[entries],
            self.low[entries],
            self.high[entries],
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """One after the other."""
    none = Page().live()
    return Rows(*(np.concatenate([getattr(part, name) for part in (none, *parts)]) for name in Rows.__slots__))


class Page:
    """Slots 0 … `count` − 1; entries of slot i from `starts[i]` to `starts[i + 1]`."""

    def __init__(self) -> None:
        self.count = 0
        self.holes = 0
        self.accounts: NDArray[np.uint8] = np.zeros((0, 20), dtype=np.uint8)
        self.categories: Ints = np.zeros(0, dtype=np.int32)
        self.states: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self.starts: Ints = np.zeros(1, dtype=np.int32)
        self.columns: Ints = np.zeros(0, dtype=np.int32)
        self.low: Words = np.zeros(0, dtype=np.uint64)
        self.high: Words = np.zeros(0, dtype=np.uint64)
        self.bounds: Floats = np.zeros(0, dtype=np.float64)
        """The screen's view of each balance: one scaled unit less of collateral (not below 0), one more of debt."""
        self.changed: set[int] = set()
        """Slots written in place since somebody cleared the set; appended ones are not in it."""
        self._matrix: csr_array | None = None

    # -- reading -------------------------------------------------------------------------------------------------------
    def address(self, slot: int) -> Address:
        return Address(self.accounts[slot].tobytes())

    def entries(self, slot: int) -> tuple[list[int], list[int]]:
        """Columns and scaled balances of one row, unused room included as column `UNUSED`."""
        first, last = int(self.starts[slot]), int(self.starts[slot + 1])
        low, high = self.low[first:last].tolist(), self.high[first:last].tolist()
        return self.columns[first:last].tolist(), [h << LOW_BITS | one for one, h in zip(low, high, strict=True)]

    def matrix(self, width: int) -> csr_array:
        """The bounds as a sparse matrix, slots × columns, that shares the page's memory. `width` is at least the number of
        columns."""
        if self._matrix is None or self._matrix.shape[1] != width:
            used = int(self.starts[self.count])
            parts = (self.bounds[:used], self.columns[:used], self.starts[: self.count + 1])
            self._matrix = csr_array(parts, shape=(self.count, width), copy=False)
            if used and not np.shares_memory(self._matrix.data, self.bounds):
                raise Defect("the screen's matrix is a copy of the book's page: changes would not reach it")
        return self._matrix

    def live(self) -> Rows:
        """All rows without holes and unused room."""
        slots = np.flatnonzero(self.states[: self.count])
        used = int(self.starts[self.count])
        taken = np.flatnonzero(self.columns[:used])
        owner = np.repeat(np.arange(self.count), np.diff(self.starts[: self.count + 1]))[taken]
        counts = np.bincount(owner, minlength=self.count).astype(np.int32)[slots]
        return Rows(
            self.accounts[slots],
            self.categories[slots],
            self.states[slots],
            counts,
            self.columns[taken],
            self.low[taken],
            self.high[taken],
        )

    # -- writing -------------------------------------------------------------------------------------------------------
    def append(self, rows: Rows, is_debt: NDArray[np.bool_], *, slack: int) -> int:
        """Put rows into new slots, each with `slack` entries of room to spare; returns the first slot. Raises `Defect` when
        the page is full."""
        first, added = self.count, len(rows)
        if first + added > PAGE_ROWS:
            raise Defect(f"{added} rows do not fit into a page that has {first}")
        used = int(self.starts[first])
        ends = used + np.cumsum(rows.counts + np.int32(slack), dtype=np.int64)
        self._make_room(first + added, int(ends[-1]) if added else used)
        self.starts[first + 1 : first + added + 1] = ends
        self.accounts[first : first + added] = rows.accounts
        self.categories[first : first + added] = rows.categories
        self.states[first : first + added] = rows.states
        begins = self.starts[first : first + added].astype(np.int64)
        before = np.cumsum(rows.counts, dtype=np.int64) - rows.counts
        places = np.arange(len(rows.columns)) + np.repeat(begins - before, rows.counts)
        self.columns[places] = rows.columns
        self.low[places] = rows.low
        self.high[places] = rows.high
        self.bounds[places] = bounds_of(rows.low, rows.high, is_debt[rows.columns])
        self.count += added
        self._matrix = None
        return first

    def rewrite(
        self, slot: int, category: int, state: int, entries: Sequence[tuple[int, int]], is_debt: NDArray[np.bool_]
    ) -> bool:
        """Other entries for a row, in its place; False when there is no room for them."""
        first, last = int(self.starts[slot]), int(self.starts[slot + 1])
        if len(entries) > last - first:
            return False
        spare = [UNUSED] * (last - first - len(entries))
        columns = np.array([column for column, _ in entries] + spare, dtype=np.int32)
        low = np.array([scaled & LOW_MASK for _, scaled in entries] + spare, dtype=np.uint64)
        high = np.array([scaled >> LOW_BITS for _, scaled in entries] + spare, dtype=np.uint64)
        self.columns[first:last] = columns
        self.low[first:last] = low
        self.high[first:last] = high
        self.bounds[first:last] = bounds_of(low, high, is_debt[columns])
        self.categories[slot] = category
        self.states[slot] = state
        self.changed.add(slot)
        return True

    def clear(self, slot: int) -> None:
        """Make a hole of a row."""
        first, last = int(self.starts[slot]), int(self.starts[slot + 1])
        for column in (self.columns, self.low, self.high, self.bounds):
            column[first:last] = 0
        self.accounts[slot] = 0
        self.states[slot] = HOLE
        self.holes += 1
        self.changed.add(slot)

    def _make_room(self, rows: int, entries: int) -> None:
        """Grow by half, so that more than half is always in use (a sparse matrix copies what it finds mostly empty)."""
        if rows > len(self.states):
            more = min(max(rows, len(self.states) * 3 // 2), PAGE_ROWS)
            self.accounts = _longer(self.accounts, more)
            self.categories = _longer(self.categories, more)
            self.states = _longer(self.states, more)
            self.starts = _longer(self.starts, more + 1)
        if entries > len(self.columns):
            more = max(entries, len(self.columns) * 3 // 2)
            self.columns, self.bounds = _longer(self.columns, more), _longer(self.bounds, more)
            self.low, self.high = _longer(self.low, more), _longer(self.high, more)


def bounds_of(low: Words, high: Words, is_debt: NDArray[np.bool_]) -> Floats:
    """One scaled unit less of collateral, not below 0; one more of debt. At most five roundings of 2⁻⁵³ each."""
    scaled = np.ldexp(high.astype(np.float64), LOW_BITS) + low.astype(np.float64)
    shifted: Floats = np.where(is_debt, scaled + 1, np.maximum(scaled - 1, 0))
    return shifted


def _longer(array: NDArray[Kind], length: int) -> NDArray[Kind]:
    grown = np.zeros((length, *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
