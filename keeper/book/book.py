"""Every account of one market, as the contracts store it.

Every holder of a collateral token is kept, borrower or not: the rows then follow from the logs alone, with no read at a
borrower's first loan, and collateral that arrives by a plain token transfer is never missed. Interest touches no row.
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
    """Rows of one market. `apply` blocks in order; `unwind` the last ones after a reorg."""

    def __init__(self, next_scaled: NextScaled, *, undo_blocks: int = 64) -> None:
        self._next_scaled = next_scaled
        self._rows: dict[Address, Position] = {}
        self._undo: deque[tuple[int, dict[Address, Position | None]]] = deque(maxlen=undo_blocks)
        self._undo_floor = 0
        """Blocks up to here can no longer be unwound."""
        self.borrowers: set[Address] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def position(self, account: Address) -> Position:
        """The account's row; an account never seen holds nothing."""
        return self._rows.get(account) or Position(account, {}, {}, frozenset(), 0)

    def positions(self) -> Iterator[Position]:
        """Every row with debt."""
        for account in self.borrowers:
            yield self._rows[account]

    def apply(self, block_number: int, events: Sequence[BookEvent]) -> None:
        """Apply one block's events, in log order. Blocks come in ascending order; empty ones may be left out."""
        if not events:
            return
        last = self._undo[-1][0] if self._undo else self._undo_floor
        if block_number <= last:
            raise Defect(f"block {block_number} applied after block {last}")
        undo: dict[Address, Position | None] = {}
        for event in events:
            if isinstance(event, MarketChanged):
                continue
            undo.setdefault(event.account, self._rows.get(event.account))
            self._store(event.account, self._after(event))
        if len(self._undo) == self._undo.maxlen:
            self._undo_floor = self._undo[0][0]
        self._undo.append((block_number, undo))

    def can_unwind_to(self, block_number: int) -> bool:
        """Whether every block after `block_number` is still known in detail."""
        return block_number >= self._undo_floor

    def unwind(self, block_number: int) -> None:
        """Restore the rows as they were after `block_number`. Raises `Defect` beyond the kept depth."""
        if not self.can_unwind_to(block_number):
            raise Defect(f"cannot unwind to block {block_number}: details are kept after {self._undo_floor} only")
        while self._undo and self._undo[-1][0] > block_number:
            _, undo = self._undo.pop()
            for account, row in undo.items():
                self._store(account, row)

    def rows(self) -> Mapping[Address, Position]:
        """All rows, for audit and snapshot. Not to be changed."""
        return self._rows

    def load(self, rows: Sequence[Position], block_number: int) -> None:
        """Replace everything by rows known at `block_number`."""
        self._rows.clear()
        self.borrowers.clear()
        self._undo.clear()
        self._undo_floor = block_number
        for row in rows:
            self._store(row.borrower, row)

    def _store(self, account: Address, row: Position | None) -> None:
        if row is None or not (row.collateral_scaled or row.debt_scaled or row.collateral_enabled or row.category):
            self._rows.pop(account, None)
            self.borrowers.discard(account)
            return
        self._rows[account] = row
        if row.debt_scaled:
            self.borrowers.add(account)
        else:
            self.borrowers.discard(account)

    def _after(self, event: BalanceChange | CollateralFlag | CategorySet) -> Position:
        row = self.position(event.account)
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
