"""What is left to do until a market on which the book was found wrong may be liquidated again.

First what was named is read again; if the chain still disagrees, everybody; if it still does, every borrower is searched from
the first block. Each time a wide sample and every reserve must then agree. A third mismatch within an hour holds the market
for an hour after the last one, however good the repair looks: whatever makes the book wrong is still at work. A book that is
not wrong, but unproven (its rows were all read anew, after a change of code or for a first start), passes the same proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from keeper.core.differences import DEBT_TOTAL, Difference
from keeper.core.units import Address
from keeper.pipeline.rows import Wanted

REPEATS = 3
HOLD_S = 3_600
SEARCH_AGAIN_S = 600
"""A search asks for years of logs: one that did not help is not repeated sooner."""
MOST_TOLD = 20
"""Differences of one comparison that are journaled."""


class Repair:
    """Keeps count; whoever owns the book does the work."""

    def __init__(self, wanted: Wanted) -> None:
        self.under_way = False
        """Whether the book is not to be believed before the chain has confirmed it."""
        self.needs_search = False
        """Somebody is missing: every borrower is to be searched from the market's first block."""
        self._wanted = wanted
        self._searched_s: int | None = None
        self.discover_again = False
        """Something changed that no log announced."""
        self._held_until_s: int | None = None
        self._found_s: deque[int] = deque(maxlen=REPEATS)
        self._told: set[tuple[str, Address | None, int | None]] = set()
        self._all_were_read = False

    def held_until_s(self, now_s: int) -> int | None:
        """None unless mismatches have repeated so lately that nothing may be liquidated, repaired or not."""
        return self._held_until_s if self._held_until_s is not None and now_s < self._held_until_s else None

    def begin_anew(self) -> None:
        """Nothing was found wrong, but every row was read from the chain, or is about to be: to be proven before it is
        believed. Should a debt be missing then, reading the rows once more would not help."""
        self.under_way = self._all_were_read = True

    def begin(
        self, differences: Sequence[Difference], now_s: int, accounts: Iterable[Address], *, everybody: bool = False
    ) -> str:
        """Take note of what one comparison found; what is done about it, in words. `accounts` are all of the book. With
        `everybody` no less than all rows are read again."""
        repeated = self.under_way
        self.under_way = True
        self._found_s.append(now_s)
        if len(self._found_s) == REPEATS and now_s - self._found_s[0] <= HOLD_S:
            self._held_until_s = now_s + HOLD_S
        named = {each.borrower for each in differences if each.is_row and each.borrower is not None}
        if named and not repeated and not everybody:
            self._wanted.doubted |= named
            return "its row is read again"
        if not named and not any(each.is_total for each in differences):
            self.discover_again = True
            return "the market is discovered again"
        if self._all_were_read and any(each.what == DEBT_TOTAL for each in differences):
            self.needs_search = True
            self._all_were_read = False
            if self._searched_s is not None and now_s - self._searched_s <= HOLD_S:
                return (
                    "every borrower was searched, and somebody is still missing: either a node keeps logs back, or start_block"
                    " is later than the market's first block; they are searched again"
                )
            return "every borrower is searched and read again"
        self._wanted.doubted |= set(accounts)
        self._all_were_read = True
        return "every row is read again"

    def news(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those that were not told in this repair: one that stays is not told at every head."""
        found = [each for each in differences if (each.what, each.borrower, each.reserve_id) not in self._told]
        found = found[:MOST_TOLD]
        self._told |= {(each.what, each.borrower, each.reserve_id) for each in found}
        return found

    def take_search(self, now_s: int) -> bool:
        """Whether every borrower is to be searched anew, now; True once."""
        lately = self._searched_s is not None and now_s - self._searched_s < SEARCH_AGAIN_S
        if lately or not self.needs_search:
            return False
        self.needs_search, self._searched_s = False, now_s
        return True

    def done(self) -> None:
        """The chain agrees again. How often it did not within the hour is not forgotten."""
        self.under_way = self.needs_search = self.discover_again = self._all_were_read = False
        self._told.clear()
        self._held_until_s = None
