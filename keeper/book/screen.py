"""The screen over a book: who may be below 1. It may name somebody healthy; it never misses somebody who is not.

Floats decide only who is looked at; what is decided about them is decided in integers. The bound is derived in docs/SCREEN.md.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from keeper.book.page import WITH_DEBT, Page
from keeper.book.page_screen import FEW, PageScreen, Slots
from keeper.book.table import Table
from keeper.book.weights import Floats, Weights
from keeper.core.screening import ScreenTerms
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Named:
    """Who must be valued exactly."""

    accounts: list[Address]
    """Most urgent first: by estimated debt in base currency, then by address."""
    touched_rows: int
    """How many rows were looked at for it."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Estimates for the rows with debt of one page: close to a billionth, but for the last few units of dust."""

    collateral_base_bps: Floats
    """Threshold-weighted; NaN where a price is missing."""
    debt_base_bps: Floats
    """NaN where a price is missing."""
    page: Page
    slots: Slots

    def accounts(self) -> list[Address]:
        """Aligned with the estimates."""
        return addresses_at(self.page, self.slots)


class Screen:
    """Verdicts page by page, kept so that the next judgement looks at few rows. The only one of its table."""

    def __init__(self, table: Table) -> None:
        table.give_to_screen()
        self._table = table
        self._pages: list[PageScreen] = []

    def named(self, terms: ScreenTerms) -> Named:
        steps = self.naming(terms)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                named: Named = done.value
                return named

    def naming(self, terms: ScreenTerms) -> Generator[None, None, Named]:
        weights = self._weights(terms)
        debts: list[Floats] = []
        accounts: list[np.ndarray[tuple[int, int], np.dtype[np.uint8]]] = []
        touched = 0
        for screen in self._screens():
            verdict = screen.judge(weights)
            debts.append(screen.debt_of(verdict.named, weights))
            accounts.append(screen.page.accounts[verdict.named])
            touched += verdict.touched
            yield
        if not any(map(len, debts)):
            return Named([], touched)
        debt, raw = np.concatenate(debts), np.concatenate(accounts)
        words = np.zeros((len(raw), 24), dtype=np.uint8)
        words[:, :20] = raw
        keys = words.view(">u8")
        order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0], -debt))
        return Named(_split(raw[order].tobytes()), touched)

    def reorder(self, terms: ScreenTerms) -> bool:
        weights = self._weights(terms)
        waiting = [screen for screen in self._screens() if _wants_order(screen)]
        if waiting:
            screen = waiting[0]
            screen.reorder(weights)
        return len(waiting) > 1

    def weighed(self, terms: ScreenTerms) -> Iterator[Weighed]:
        weights = self._weights(terms)
        for screen in self._screens():
            page = screen.page
            slots = np.flatnonzero(page.states[: page.count] == WITH_DEBT)
            collateral, debt = screen.weigh(weights)
            yield Weighed(collateral[slots], debt[slots], page, slots)

    def _weights(self, terms: ScreenTerms) -> Weights:
        return Weights(self._table.columns, terms, self._table.most_entries)

    def _screens(self) -> list[PageScreen]:
        """One for each page; a page that was packed anew starts afresh."""
        known = self._pages
        self._pages = [
            known[place] if place < len(known) and known[place].page is page else PageScreen(page)
            for place, page in enumerate(self._table.pages)
        ]
        return self._pages


def addresses_at(page: Page, slots: Slots) -> list[Address]:
    """The accounts of some slots."""
    return _split(page.accounts[slots].tobytes())


def _split(raw: bytes) -> list[Address]:
    return [Address(raw[start : start + 20]) for start in range(0, len(raw), 20)]


def _wants_order(screen: PageScreen) -> bool:
    """A page without an order, or with one that no longer spares much."""
    touched = 0 if screen.verdict is None else screen.verdict.touched
    return screen.ordering is None or touched > screen.page.count // FEW
