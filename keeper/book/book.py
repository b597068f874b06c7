"""Every borrower of one market, as the contracts store it.

An account enters with a row read at one block, when its first Borrow log is seen; from there on its row follows the logs.
So nobody else's transfers cost anything, history under older rounding rules needs no replay, and what is watched never
shrinks: an account stays, with or without debt. Interest touches no row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from keeper.core.errors import Defect
from keeper.core.lending import BalanceChange, BookEvent, CategorySet, CollateralFlag, MarketChanged, Position, Side
from keeper.core.units import Address

NextScaled = Callable[[BalanceChange, int], int]
"""The adapter's rounding: a token event and the scaled balance before it give the balance after it."""


class Book:
    """Rows of one market. `apply` blocks in order, `enter` new accounts, `unwind` the last blocks after a reorg."""

    def __init__(self, next_scaled: NextScaled, *, undo_blocks: int = 64) -> None:
        self._next_scaled = next_scaled
        self._rows: dict[Address, Position] = {}
        self._undo: deque[tuple[int, dict[Address, Position | None]]] = deque()
        self._undo_blocks = undo_blocks
        self._undo_floor = 0
        """Rows as of this block or later can be restored."""
        self._borrowers: set[Address] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, account: object) -> bool:
        return account in self._rows

    def position(self, account: Address) -> Position:
        """The account's row. Raises KeyError for an account that never entered."""
        return self._rows[account]

    def positions(self) -> Iterator[Position]:
        """Every row with debt."""
        for account in self._borrowers:
            yield self._rows[account]

    def rows(self) -> Mapping[Address, Position]:
        """All rows, for audit and snapshot. Not to be changed."""
        return self._rows

    def apply(self, block_number: int, events: Sequence[BookEvent]) -> None:
        """Apply one block's events, in log order. Blocks come in ascending order; empty ones may be left out. Events of
        accounts that never entered are passed over."""
        undo = self._undo_of(block_number, fresh=True) if events else {}
        for event in events:
            if isinstance(event, MarketChanged) or event.account not in self._rows:
                continue
            undo.setdefault(event.account, self._rows[event.account])
            self._store(self._after(event))

    def enter(self, block_number: int, rows: Sequence[Position]) -> None:
        """Take rows as read from the chain after `block_number`, the last block applied: new accounts or corrections. What
        they were before it is not known, or not to be trusted."""
        undo = self._undo_of(block_number, fresh=False) if rows else {}
        for row in rows:
            undo[row.borrower] = None
            self._store(row)

    def can_unwind_to(self, block_number: int) -> bool:
        """Whether every block after `block_number` is still known in detail."""
        return block_number >= self._undo_floor

    def unwind(self, block_number: int) -> set[Address]:
        """Restore the rows as they were after `block_number`. Returns the accounts whose rows were read later: how they
        stood at that block is not known, so they leave the book and must be read again. Raises `Defect` beyond the kept
        depth."""
        if not self.can_unwind_to(block_number):
            raise Defect(f"cannot unwind to block {block_number}: details are kept from {self._undo_floor} on")
        unknown: set[Address] = set()
        while self._undo and self._undo[-1][0] > block_number:
            _, undo = self._undo.pop()
            for account, row in undo.items():
                if row is None:
                    unknown.add(account)
                else:
                    self._store(row)
        for account in unknown:
            self._rows.pop(account, None)
            self._borrowers.discard(account)
        return unknown

    def load(self, rows: Sequence[Position], block_number: int) -> None:
        """Replace everything by rows known at `block_number`."""
        self._rows.clear()
        self._borrowers.clear()
        self._undo.clear()
        self._undo_floor = block_number
        for row in rows:
            self._store(row)

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

    def _store(self, row: Position) -> None:
        self._rows[row.borrower] = row
        if row.debt_scaled:
            self._borrowers.add(row.borrower)
        else:
            self._borrowers.discard(row.borrower)

    def _after(self, event: BalanceChange | CollateralFlag | CategorySet) -> Position:
        row = self._rows[event.account]
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
