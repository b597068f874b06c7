"""What is left to do until a market on which the book was found wrong may be liquidated again.

First what was named is read again; if the chain still disagrees, everybody; if it still does, every borrower is searched from
the first block. Each time a wide sample and every reserve must then agree. A third mismatch within an hour holds the market
for an hour after the last one, however good the repair looks: whatever makes the book wrong is still at work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from keeper.core.differences import DEBT_TOTAL, Difference
from keeper.core.units import Address

REPEATS = 3
HOLD_S = 3_600
ROWS_PER_HEAD = 2_000
"""Read again at one head, so that watching goes on while many are."""
ASK_AGAIN_S = 10
"""How often a market of no known kind is looked at without any sign that it changed."""
MOST_TOLD = 20
"""Differences of one comparison that are journaled."""


class Repair:
    """Keeps count; whoever owns the book does the work."""

    def __init__(self) -> None:
        self.under_way = False
        self.doubted: set[Address] = set()
        """Their rows are to be read again."""
        self._search_again = False
        """Somebody is missing: every borrower is to be searched from the market's first block."""
        self.discover_again = False
        """Something changed that no log announced."""
        self._held_until_s: int | None = None
        self._found_s: deque[int] = deque(maxlen=REPEATS)
        self._told: set[tuple[str, Address | None, int | None]] = set()
        self._all_were_read = False

    def held_until_s(self, now_s: int) -> int | None:
        """None unless mismatches have repeated so lately that nothing may be liquidated, repaired or not."""
        return self._held_until_s if self._held_until_s is not None and now_s < self._held_until_s else None

    def begin(self, differences: Sequence[Difference], now_s: int, accounts: Iterable[Address]) -> str:
        """Take note of what one comparison found; what is done about it, in words. `accounts` are all of the book."""
        repeated = self.under_way
        self.under_way = True
        self._found_s.append(now_s)
        if len(self._found_s) == REPEATS and now_s - self._found_s[0] <= HOLD_S:
            self._held_until_s = now_s + HOLD_S
        named = {each.borrower for each in differences if each.is_row and each.borrower is not None}
        if named and not repeated:
            self.doubted |= named
            return "its row is read again"
        if not named and not any(each.is_total for each in differences):
            self.discover_again = True
            return "the market is discovered again"
        if self._all_were_read and any(each.what == DEBT_TOTAL for each in differences):
            self._search_again = True
            self._all_were_read = False
            return "every borrower is searched and read again"
        self.doubted |= set(accounts)
        self._all_were_read = True
        return "every row is read again"

    def news(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those that were not told in this repair: one that stays is not told at every head."""
        found = [each for each in differences if (each.what, each.borrower, each.reserve_id) not in self._told]
        found = found[:MOST_TOLD]
        self._told |= {(each.what, each.borrower, each.reserve_id) for each in found}
        return found

    def next_rows(self) -> set[Address]:
        """What to read again at this head; `were_read` once it is in the book."""
        return set(sorted(self.doubted)[:ROWS_PER_HEAD]) if self.doubted else set()

    def take_search(self) -> bool:
        """Whether every borrower is to be searched anew; asked once."""
        asked, self._search_again = self._search_again, False
        return asked

    def were_read(self, accounts: Iterable[Address]) -> None:
        self.doubted.difference_update(accounts)

    def done(self) -> None:
        """The chain agrees again. How often it did not within the hour is not forgotten."""
        self.under_way = self._search_again = self.discover_again = self._all_were_read = False
        self.doubted.clear()
        self._told.clear()
        self._held_until_s = None
