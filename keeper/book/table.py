"""All rows of a book, over its pages: found by account, read and written as `Position`s."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from keeper.book.addresses import AddressIndex
from keeper.book.columns import Columns
from keeper.book.page import LOW_BITS, LOW_MASK, PAGE_ROWS, WITH_DEBT, WITHOUT_DEBT, Page, Rows, joined
from keeper.core.errors import Defect
from keeper.core.lending import Position, Side
from keeper.core.units import Address

SLOT_BITS = 17
SLOT_MASK = (1 << SLOT_BITS) - 1
"""A row number is its page's place, then its slot."""

MOVED_SLACK = 2
"""A row that outgrew its room gets this much to spare: who enters one more reserve often enters another."""

LIMB_BITS = 32
LIMB_SHIFT = np.uint64(LIMB_BITS)
LIMB_MASK = np.uint64((1 << LIMB_BITS) - 1)

Entries = list[tuple[int, int]]


class Table:
    """Rows by account."""

    def __init__(self) -> None:
        self.columns = Columns()
        self.pages: list[Page] = []
        self.borrowers = 0
        self.most_entries = 0
        """Of any row so far; it never falls while the table stands."""
        self._index = AddressIndex(self._address_at)
        self._is_screened = False

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, account: Address) -> bool:
        return self._index.find(account) is not None

    def get(self, account: Address) -> Position | None:
        row = self._index.find(account)
        return None if row is None else self.row(row)

    def row(self, number: int) -> Position:
        """The row of a number."""
        page, slot = self.pages[number >> SLOT_BITS], number & SLOT_MASK
        columns, scaled = page.entries(slot)
        return self.columns.position(page.address(slot), int(page.categories[slot]), columns, scaled)

    def walk(self, *, with_debt: bool) -> Iterator[Position]:
        """Rows in storage order. The table must not change meanwhile."""
        least = WITH_DEBT if with_debt else WITHOUT_DEBT
        for page in self.pages:
            live = page.live()
            raw = live.accounts.tobytes()
            numbers, categories, states = live.columns.tolist(), live.categories.tolist(), live.states.tolist()
            low, high = live.low.tolist(), live.high.tolist()
            start = 0
            for place, count in enumerate(live.counts.tolist()):
                end = start + count
                if states[place] >= least:
                    scaled = [h << LOW_BITS | one for one, h in zip(low[start:end], high[start:end], strict=True)]
                    account = Address(raw[20 * place : 20 * place + 20])
                    yield self.columns.position(account, categories[place], numbers[start:end], scaled)
                start = end

    def packed_accounts(self) -> bytes:
        """Every account, in storage order: 20 bytes each."""
        return b"".join(page.accounts[np.flatnonzero(page.states[: page.count])].tobytes() for page in self.pages)

    def by_address(self) -> NDArray[np.uint32]:
        """All row numbers in an order that depends on the accounts alone."""
        return self._index.in_order()

    def has_debt(self, number: int) -> bool:
        return int(self.pages[number >> SLOT_BITS].states[number & SLOT_MASK]) == WITH_DEBT

    def adding_up(self) -> Generator[None, None, dict[tuple[int, Side], int]]:
        """Σ scaled balances, exact, by (reserve id, side), switched on as collateral or not. Page by page."""
        sums: dict[tuple[int, Side], int] = {}
        for page in self.pages:
            for number, total in enumerate(_sums(page, len(self.columns))):
                kind = self.columns.kinds[number]
                if kind is not None and total:
                    key = (kind[1], kind[0])
                    sums[key] = sums.get(key, 0) + total
            yield
        return sums

    def give_to_screen(self) -> None:
        """What is written is told to one screen only, which clears the pages' `changed`: a second would miss rows. Raises
        `Defect` when there is one already."""
        if self._is_screened:
            raise Defect("a table has one screen: a second would take the changes that the first must see")
        self._is_screened = True

    # -- writing -------------------------------------------------------------------------------------------------------
    def put(self, rows: Iterable[Position]) -> None:
        """Take rows, new accounts or other balances of known ones; each account at most once."""
        fresh: list[tuple[Position, Entries]] = []
        moved: list[tuple[Position, Entries]] = []
        left: list[tuple[Page, int]] = []
        for row in rows:
            entries = self.columns.entries_of(row)
            self.most_entries = max(self.most_entries, len(entries))
            number = self._index.find(row.borrower)
            if number is None:
                fresh.append((row, entries))
                continue
            page, slot = self.pages[number >> SLOT_BITS], number & SLOT_MASK
            self.borrowers -= int(page.states[slot]) == WITH_DEBT
            if page.rewrite(slot, row.category, _state_of(row), entries, self.columns.is_debt()):
                self.borrowers += bool(row.debt_scaled)
            else:
                moved.append((row, entries))
                left.append((page, slot))
        self._append(fresh, slack=0)
        self._append(moved, slack=MOVED_SLACK)
        for page, slot in left:  # only now: the index finds a known account by the address in its old row
            page.clear(slot)
        self._pack()

    def discard(self, accounts: Iterable[Address]) -> None:
        """Drop rows; an account that is not here is passed over."""
        gone = []
        for account in accounts:
            number = self._index.find(account)
            if number is not None:
                self.borrowers -= self.has_debt(number)
                gone.append((account, number))
        self._index.remove(account for account, _ in gone)
        for _, number in gone:
            self.pages[number >> SLOT_BITS].clear(number & SLOT_MASK)
        self._pack()

    def replace_all(self, rows: Rows) -> None:
        """All rows at once, their columns numbered as in `columns`; no account twice."""
        self.pages = []
        for first in range(0, len(rows), PAGE_ROWS):
            page = Page()
            page.append(rows.part(first, min(first + PAGE_ROWS, len(rows))), self.columns.is_debt(), slack=0)
            self.pages.append(page)
        place, slot = np.divmod(np.arange(len(rows), dtype=np.uint32), np.uint32(PAGE_ROWS))
        self._index.replace_all(rows.accounts, place << np.uint32(SLOT_BITS) | slot)
        self.borrowers = int(np.count_nonzero(rows.states == WITH_DEBT))
        self.most_entries = int(rows.counts.max(initial=0))

    def only(self, accounts: Container[Address]) -> Table:
        """Another table, of those of the accounts that are here."""
        kept = Table()
        kept.columns.adopt([kind for kind in self.columns.kinds if kind is not None])
        kept.replace_all(joined([rows.where(_among(rows.accounts, accounts)) for rows in self.live()]))
        return kept

    def live(self) -> Iterator[Rows]:
        """All rows, page by page."""
        for page in self.pages:
            yield page.live()

    def _append(self, rows: Sequence[tuple[Position, Entries]], *, slack: int) -> None:
        while rows:
            if not self.pages or self.pages[-1].count == PAGE_ROWS:
                self.pages.append(Page())
            page, place = self.pages[-1], len(self.pages) - 1
            part, rows = rows[: PAGE_ROWS - page.count], rows[PAGE_ROWS - page.count :]
            first = page.append(_as_rows(part), self.columns.is_debt(), slack=slack)
            for slot, (row, _) in enumerate(part, start=first):
                self._index.put(row.borrower, place << SLOT_BITS | slot)
                self.borrowers += bool(row.debt_scaled)

    def _pack(self) -> None:
        """Rewrite the pages of which more than a fourth is holes."""
        crowded = [place for place, page in enumerate(self.pages) if page.holes > max(64, page.count // 4)]
        for place in crowded:
            live, packed = self.pages[place].live(), Page()
            packed.append(live, self.columns.is_debt(), slack=0)
            self._index.move(live.accounts, np.arange(len(live), dtype=np.uint32) + np.uint32(place << SLOT_BITS))
            self.pages[place] = packed

    def _address_at(self, number: int) -> bytes:
        return self.pages[number >> SLOT_BITS].address(number & SLOT_MASK)


def rows_of(table: Table, rows: Iterable[Position]) -> Rows:
    """Rows in the columns of a table, as `replace_all` takes them."""
    return _as_rows([(row, table.columns.entries_of(row)) for row in rows])


def addresses_in(packed: bytes) -> Iterator[Address]:
    """Of 20 bytes each."""
    return (Address(packed[start : start + 20]) for start in range(0, len(packed), 20))


def _among(accounts: NDArray[np.uint8], chosen: Container[Address]) -> NDArray[np.bool_]:
    there = (account in chosen for account in addresses_in(accounts.tobytes()))
    return np.fromiter(there, dtype=np.bool_, count=len(accounts))


def _as_rows(rows: Sequence[tuple[Position, Entries]]) -> Rows:
    flat = [entry for _, entries in rows for entry in entries]
    return Rows(
        accounts=np.frombuffer(b"".join(row.borrower for row, _ in rows), dtype=np.uint8).reshape(-1, 20),
        categories=np.array([row.category for row, _ in rows], dtype=np.int32),
        states=np.array([_state_of(row) for row, _ in rows], dtype=np.uint8),
        counts=np.array([len(entries) for _, entries in rows], dtype=np.int32),
        columns=np.array([column for column, _ in flat], dtype=np.int32),
        low=np.array([scaled & LOW_MASK for _, scaled in flat], dtype=np.uint64),
        high=np.array([scaled >> LOW_BITS for _, scaled in flat], dtype=np.uint64),
    )


def _state_of(row: Position) -> int:
    return WITH_DEBT if row.debt_scaled else WITHOUT_DEBT


def _sums(page: Page, width: int) -> list[int]:
    """Σ scaled of a page by column, in limbs of 32 bits: a page holds less than 2³² entries, so none overflows."""
    used = int(page.starts[page.count])
    columns = page.columns[:used]
    totals = [0] * width
    for word, shift in ((page.low[:used], 0), (page.high[:used], LOW_BITS)):
        for limb, more in ((word & LIMB_MASK, 0), (word >> LIMB_SHIFT, LIMB_BITS)):
            sums = np.zeros(width, dtype=np.uint64)
            np.add.at(sums, columns, limb)
            for number, total in enumerate(sums.tolist()):
                totals[number] += total << (shift + more)
    return totals
