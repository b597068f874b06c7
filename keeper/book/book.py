"""Every borrower of one market, as the contracts store it.

An account enters with a row read at one block, when its first Borrow log is seen; from there on its row follows the logs.
So nobody else's transfers cost anything, history under older rounding rules needs no replay, and what is watched never
shrinks: an account stays, with or without debt. Interest touches no row.

Rows are kept as columns of numbers (`keeper.book.page`), exact to the wei; a `Position` is made when one is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence

import numpy as np

from keeper.book.page import Rows
from keeper.book.screen import Named, Screen, Weighed
from keeper.book.table import Table, addresses_in, rows_of
from keeper.core.errors import Defect, MissedLog
from keeper.core.lending import BalanceChange, BookEvent, CategorySet, CollateralFlag, MarketChanged, Position, Side
from keeper.core.screening import ScreenColumn, ScreenTerms
from keeper.core.units import Address

NextScaled = Callable[[BalanceChange, int], int]
"""The adapter's rounding: a token event and the scaled balance before it give the balance after it."""

TRIES_PER_SAMPLE = 16


class Book:
    """Rows of one market. `apply` blocks in order, `enter` new accounts, `unwind` the last blocks after a reorg.

    A scaled balance of 2**128 or more is a `Defect`. Nothing may change a book while it is iterated over.
    """

    def __init__(self, next_scaled: NextScaled, *, undo_blocks: int = 64) -> None:
        self._next_scaled = next_scaled
        self._table = Table()
        self._screen = Screen(self._table)
        self._undo: deque[tuple[int, dict[Address, Position | None]]] = deque()
        self._undo_blocks = undo_blocks
        self._undo_floor = 0
        """Rows as of this block or later can be restored."""

    # -- rows ----------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, account: Address) -> bool:
        return account in self._table

    @property
    def borrowers(self) -> int:
        """How many rows have debt."""
        return self._table.borrowers

    def position(self, account: Address) -> Position:
        """The account's row. Raises KeyError for an account that never entered."""
        row = self._table.get(account)
        if row is None:
            raise KeyError(account)
        return row

    def positions(self) -> Iterator[Position]:
        """Every row with debt."""
        return self._table.walk(with_debt=True)

    def every_position(self) -> Iterator[Position]:
        """Every row, with or without debt."""
        return self._table.walk(with_debt=False)

    def accounts(self) -> Iterator[Address]:
        """Every account."""
        return addresses_in(self._table.packed_accounts())

    def packed_accounts(self) -> bytes:
        """Every account, 20 bytes each: of a million in a few milliseconds."""
        return self._table.packed_accounts()

    def sample(self, count: int, seed: int) -> list[Position]:
        """Up to `count` rows with debt at random, none twice: the same for the same accounts and the same seed."""
        numbers = self._table.by_address()
        random = np.random.Generator(np.random.PCG64(seed))
        chosen: dict[int, None] = {}
        if count < self.borrowers:
            tries = TRIES_PER_SAMPLE * count * len(numbers) // self.borrowers
            for rank in random.integers(len(numbers), size=tries).tolist():
                if len(chosen) < count and self._table.has_debt(int(numbers[rank])):
                    chosen[int(numbers[rank])] = None
        if len(chosen) < count:
            others = (number for number in numbers.tolist() if self._table.has_debt(number))
            for number in others:
                chosen[number] = None
                if len(chosen) == count:
                    break
        return [self._table.row(number) for number in chosen]

    def totals(self) -> Mapping[tuple[int, Side], int]:
        """The sum of all scaled balances, exact, by (reserve id, side); a reserve that nobody has is absent."""
        steps = self.adding_up()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                totals: Mapping[tuple[int, Side], int] = done.value
                return totals

    def adding_up(self) -> Generator[None, None, Mapping[tuple[int, Side], int]]:
        """`totals` in pieces of a few milliseconds. The book must not change in between."""
        return self._table.adding_up()

    # -- following -----------------------------------------------------------------------------------------------------
    def apply(self, block_number: int, events: Sequence[BookEvent]) -> list[BalanceChange]:
        """Apply one block's events, in log order. Blocks come in ascending order; empty ones may be left out. Events of
        accounts that never entered are passed over. Returns those that move more than the row has, which they leave as it
        was: a log before them never came, and the row is wrong."""
        impossible: list[BalanceChange] = []
        undo = self._undo_of(block_number, fresh=True) if events else {}
        rows: dict[Address, Position] = {}
        for event in events:
            if isinstance(event, MarketChanged):
                continue
            row = rows.get(event.account) or self._table.get(event.account)
            if row is None:
                continue
            undo.setdefault(event.account, row)
            try:
                rows[event.account] = self._after(row, event)
            except MissedLog:
                assert isinstance(event, BalanceChange), "nothing else moves a balance"
                impossible.append(event)
        self._table.put(rows.values())
        return impossible

    def enter(self, block_number: int, rows: Sequence[Position]) -> None:
        """Take rows as read from the chain after `block_number`, the last block applied: new accounts or corrections. What
        they were before it is not known, or not to be trusted."""
        undo = self._undo_of(block_number, fresh=False) if rows else {}
        undo.update((row.borrower, None) for row in rows)
        self._table.put({row.borrower: row for row in rows}.values())

    def can_unwind_to(self, block_number: int) -> bool:
        """Whether every block after `block_number` is still known in detail."""
        return block_number >= self._undo_floor

    def unwind(self, block_number: int) -> set[Address]:
        """Restore the rows as they were after `block_number`. Returns the accounts whose rows were read later: how they
        stood at that block is not known, so they leave the book and must be read again. Raises `Defect` beyond the kept
        depth."""
        if not self.can_unwind_to(block_number):
            raise Defect(f"cannot unwind to block {block_number}: details are kept from {self._undo_floor} on")
        restored: dict[Address, Position] = {}
        unknown: set[Address] = set()
        while self._undo and self._undo[-1][0] > block_number:
            _, undo = self._undo.pop()
            for account, row in undo.items():
                if row is None:
                    unknown.add(account)
                else:
                    restored[account] = row
        self._table.put(row for account, row in restored.items() if account not in unknown)
        self._table.discard(unknown)
        return unknown

    def load(self, rows: Iterable[Position], block_number: int) -> None:
        """Replace everything by rows known at `block_number`."""
        table = Table()
        table.replace_all(rows_of(table, {row.borrower: row for row in rows}.values()))
        self.take(table, block_number)

    def keep_only(self, accounts: Container[Address], block_number: int) -> None:
        """Let go of everybody else; the rows are those at `block_number`, and nothing before it is known."""
        self.take(self._table.only(accounts), block_number)

    # -- the screen ----------------------------------------------------------------------------------------------------
    @property
    def columns(self) -> Sequence[ScreenColumn]:
        """What the screen needs weights for. Grows while the book is followed."""
        return self._table.columns.weighing

    def named(self, terms: ScreenTerms) -> Named:
        """Who may be below 1, or cannot be valued, under terms for all `columns`."""
        return self._screen.named(terms)

    def naming(self, terms: ScreenTerms) -> Generator[None, None, Named]:
        """`named` in pieces of about a millisecond. The book must not change in between."""
        return self._screen.naming(terms)

    def reorder(self, terms: ScreenTerms) -> bool:
        """Idle work of a few milliseconds, so that `named` need not look at every row; True while there is more to do."""
        return self._screen.reorder(terms)

    def weighed(self, terms: ScreenTerms) -> Iterator[Weighed]:
        """Estimates for everybody with debt, in blocks of rows."""
        return self._screen.weighed(terms)

    # -- storage, for the snapshot -------------------------------------------------------------------------------------
    def kinds(self) -> Sequence[tuple[Side, int, int] | None]:
        """The columns that `live` rows refer to, by number."""
        return self._table.columns.kinds

    def live(self) -> Iterator[Rows]:
        """All rows as columns of numbers, in blocks."""
        return self._table.live()

    def take(self, table: Table, block_number: int) -> None:
        """Replace everything by a table that holds the rows at `block_number`."""
        self._table = table
        self._screen = Screen(table)
        self._undo.clear()
        self._undo_floor = block_number

    def _undo_of(self, block_number: int, *, fresh: bool) -> dict[Address, Position | None]:
        last = self._undo[-1][0] if self._undo else self._undo_floor
        if block_number < last or (fresh and block_number == last):
            raise Defect(f"block {block_number} applied after block {last}")
        if self._undo and block_number == last:
            return self._undo[-1][1]
        self._undo.append((block_number, {}))
        while len(self._undo) > self._undo_blocks:
            self._undo_floor = self._undo.popleft()[0]
        return self._undo[-1][1]

    def _after(self, row: Position, event: BalanceChange | CollateralFlag | CategorySet) -> Position:
        if isinstance(event, CategorySet):
            return Position(
                row.borrower, row.collateral_scaled, row.debt_scaled, row.collateral_enabled, event.category
            )
        if isinstance(event, CollateralFlag):
            flag = frozenset((event.reserve_id,))
            enabled = row.collateral_enabled | flag if event.enabled else row.collateral_enabled - flag
            return Position(row.borrower, row.collateral_scaled, row.debt_scaled, enabled, row.category)
        collateral, debt = row.collateral_scaled, row.debt_scaled
        if event.side is Side.COLLATERAL:
            collateral = self._moved(collateral, event)
        else:
            debt = self._moved(debt, event)
        return Position(row.borrower, collateral, debt, row.collateral_enabled, row.category)

    def _moved(self, balances: Mapping[int, int], change: BalanceChange) -> Mapping[int, int]:
        after = dict(balances)
        scaled = self._next_scaled(change, after.pop(change.reserve_id, 0))
        if scaled:
            after[change.reserve_id] = scaled
        return after
