"""The screen over one page: the rows that may be below 1, looking at no more of them than needed.

Three ways, the cheapest that is sound:

* few columns moved since the last verdict: only the rows that hold those columns are judged, the others keep their verdict;
* since the rows were ordered by health, no collateral fell and no debt grew by much: only the rows of low health are judged;
* otherwise all rows, one sparse product.

Rows that changed meanwhile are judged in every case. A row's sum is always formed anew from its balances, never corrected by a
difference, so nothing drifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keeper.book.page import WITH_DEBT, Page
from keeper.book.weights import Floats, Weights

FEW = 8
"""One row in this many, one by one, costs about as much as the product over all."""

MOVED_FEW = 64
"""More columns than this move with time or with a market; a single asset has one per side and e-mode."""

CHANGED_SHARE = 64
CHANGED_FEW = 64
"""This many changed rows, or one in 64 of the page, are carried along before everything is judged afresh."""

Slots = NDArray[np.intp]
NOBODY: Slots = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Verdict:
    weights: Weights
    named: Slots
    touched: int


@dataclass(frozen=True, slots=True)
class Ordering:
    """The rows with debt of lowest health under some weights, ascending; those that could not be valued come first."""

    weights: Weights
    slots: Slots
    """One in `FEW` of the page, and one more."""
    health: Floats
    complete: bool
    """Whether these are all rows with debt."""


class PageScreen:
    """What is known of one page since `page.changed` was last cleared."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.ordering: Ordering | None = None
        self.verdict: Verdict | None = None
        self._rows = 0
        """Slots from here on were appended meanwhile."""
        self._holders: dict[int, Slots] = {}
        self._entries: list[int] | None = None
        self._start_afresh()

    def judge(self, weights: Weights) -> Verdict:
        """Who of the page is named under these weights."""
        changed = self._changed()
        if len(changed) > max(CHANGED_FEW, self._rows // CHANGED_SHARE):
            self._start_afresh()
            changed = self._changed()
        self.verdict = self._by_columns(weights, changed) or self._by_order(weights, changed) or self._all(weights)
        return self.verdict

    def reorder(self, weights: Weights) -> None:
        """Order the rows by health under these weights."""
        self._start_afresh()
        page = self.page
        slots = np.flatnonzero(page.states[: page.count] == WITH_DEBT)
        collateral, debt = self.weigh(weights)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            health = (collateral[slots] - 2 * weights.margin) / debt[slots]
        health[np.isnan(health)] = -np.inf
        lowest = page.count // FEW + 1  # where more than that are low, the whole page is judged
        complete = len(health) <= lowest
        if not complete:
            part = np.argpartition(health, lowest)[:lowest]
            slots, health = slots[part], health[part]
        order = np.argsort(health)
        self.ordering = Ordering(weights, slots[order], health[order], complete)

    def weigh(self, weights: Weights) -> tuple[Floats, Floats]:
        """Weighted collateral and debt of every slot, base·bps; NaN where there is no price."""
        matrix = self.page.matrix(weights.width)
        return matrix @ weights.collateral(), matrix @ weights.debt()

    def debt_of(self, slots: Slots, weights: Weights) -> Floats:
        """Debt of some rows that have debt, base·bps; what has no price counts nothing here."""
        return self._sums(slots, weights.known_debt()) if len(slots) else np.empty(0)

    # -- three ways ----------------------------------------------------------------------------------------------------
    def _by_columns(self, weights: Weights, changed: Slots) -> Verdict | None:
        before = self.verdict
        moved = None if before is None else weights.moved_since(before.weights)
        if before is None or moved is None or len(moved) > MOVED_FEW:
            return None
        columns = moved.tolist()
        if self._entries_in(columns) + len(changed) > self.page.count // FEW:
            return None
        again = _union([changed, *(self._holders_of(column) for column in columns)])
        named, touched = self._judge_some(again, weights)
        kept = _without(before.named, again)
        return Verdict(weights, np.concatenate((kept, named)) if len(kept) else named, touched)

    def _by_order(self, weights: Weights, changed: Slots) -> Verdict | None:
        ordering = self.ordering
        cut = None if ordering is None else weights.least_safe_health(ordering.weights)
        if ordering is None or cut is None:
            return None
        low = int(ordering.health.searchsorted(cut))
        if low + len(changed) > self.page.count // FEW or (low == len(ordering.slots) and not ordering.complete):
            return None
        again = _union([changed, ordering.slots[:low]])
        named, touched = self._judge_some(again, weights)
        return Verdict(weights, named, touched)

    def _all(self, weights: Weights) -> Verdict:
        page = self.page
        sums = page.matrix(weights.width) @ weights.signed
        named = np.flatnonzero(~(sums >= weights.margin))
        return Verdict(weights, named[page.states[named] == WITH_DEBT], page.count)

    def _judge_some(self, slots: Slots, weights: Weights) -> tuple[Slots, int]:
        with_debt = slots[self.page.states[slots] == WITH_DEBT]
        sums = self._sums(with_debt, weights.signed)
        return with_debt[~(sums >= weights.margin)], len(slots)

    def _sums(self, slots: Slots, by_column: Floats) -> Floats:
        """Σ weight·bound of some rows, each with at least one entry."""
        if not len(slots):
            return np.empty(0)
        page = self.page
        starts = page.starts[slots].astype(np.intp)
        widths = page.starts[slots + 1] - starts
        ends = np.cumsum(widths)
        places = np.arange(int(ends[-1])) + np.repeat(starts - (ends - widths), widths)
        terms = by_column[page.columns[places]] * page.bounds[places]
        sums: Floats = np.add.reduceat(terms, ends - widths)
        return sums

    # -- what is known -------------------------------------------------------------------------------------------------
    def _start_afresh(self) -> None:
        self.page.changed.clear()
        self._rows = self.page.count
        self._holders, self._entries = {}, None
        self.ordering = self.verdict = None

    def _changed(self) -> Slots:
        if not self.page.changed and self.page.count == self._rows:
            return NOBODY
        written = np.fromiter(self.page.changed, dtype=np.intp, count=len(self.page.changed))
        return np.concatenate((written, np.arange(self._rows, self.page.count)))

    def _entries_in(self, columns: list[int]) -> int:
        """How many entries of the rows as they were are in these columns."""
        if self._entries is None:
            used = int(self.page.starts[self._rows])
            self._entries = np.bincount(self.page.columns[:used]).tolist()
        return sum(self._entries[column] for column in columns if column < len(self._entries))

    def _holders_of(self, column: int) -> Slots:
        """The slots that held a column when it was first asked for; whoever changed since then is in `_changed` anyway."""
        found = self._holders.get(column)
        if found is None:
            used = int(self.page.starts[self._rows])
            places = np.flatnonzero(self.page.columns[:used] == column)
            found = self.page.starts[: self._rows + 1].searchsorted(places, side="right") - 1
            self._holders[column] = found
        return found


def _union(parts: list[Slots]) -> Slots:
    """Ascending, none twice."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return NOBODY
    slots = np.sort(np.concatenate(filled))
    first = np.ones(len(slots), dtype=np.bool_)
    np.not_equal(slots[1:], slots[:-1], out=first[1:])
    return slots[first]


def _without(slots: Slots, gone: Slots) -> Slots:
    """Those that are not in `gone`, which ascends."""
    if not len(slots) or not len(gone):
        return slots
    places = np.minimum(gone.searchsorted(slots), len(gone) - 1)
    kept: Slots = slots[gone[places] != slots]
    return kept
