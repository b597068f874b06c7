"""Whether a market's book is believed: audited as long as it is followed; once found wrong, not before it is proven again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef
from keeper.core.differences import COLLATERAL, DEBT, Difference, Mismatch, in_words, row_differences
from keeper.core.errors import ChainError
from keeper.core.lending import BalanceChange, LendingAdapter, Position, Side
from keeper.pipeline.audit import Auditor, Compared
from keeper.pipeline.repair import Repair
from keeper.pipeline.rows import Wanted
from keeper.pipeline.traces import Traces
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

BLIND_AFTER_STEPS = 10
"""So many steps in a row that could not be read are told to a person."""


class Trust(Generic[Market, State]):
    """The audit of one market and what follows from it. It reads; whoever owns the book writes."""

    def __init__(self, chain: Chain, adapter: LendingAdapter[Market, State]) -> None:
        self.lost: str | None = None
        """Why the book is not believed; None while it is."""
        self.wanted = Wanted()
        self.repair = Repair(self.wanted)
        self.traces = Traces()
        self._notices: list[str] = []
        self.unread_steps = 0
        """Steps in a row whose reads failed: what they would have found is unknown."""
        self._auditor = Auditor(chain, adapter)

    async def audit(
        self, market: Market, state: State, book: Book, block: BlockRef, *, busy: bool = False
    ) -> list[Mismatch]:
        """One step, if one is due, at the block that book and state stand at. When `BLIND_AFTER_STEPS` in a row could not be
        read, raises what the last of them raised, a `ChainError` or `TimeoutError`, once."""
        if self.wanted or self.repair.needs_search or not self._auditor.is_due(block, busy=busy):
            return []
        try:
            compared = await self._auditor.step(market, state, book, block)
        except (ChainError, TimeoutError):
            self.unread_steps += 1
            if self.unread_steps == BLIND_AFTER_STEPS:
                raise
            return []
        self.unread_steps = 0
        return self._weigh(compared, book, block)

    async def prove(self, market: Market, state: State, book: Book, block: BlockRef) -> list[Mismatch]:
        """Whether a repaired book is right: a wide sample and every reserve. Believed again when there is no mismatch."""
        if not self.repair.under_way:
            return []
        compared = await self._auditor.wide(market, state, book, block)
        if not compared.differences:
            self.repair.done()
            self.lost = None
        return self._weigh(compared, book, block)

    def rewind(self, common_block: int) -> None:
        """Blocks after this one are no longer on the chain."""
        self.traces.rewind(common_block)

    def is_held(self, block: BlockRef) -> bool:
        """Whether rows are still to be read, or mismatches have repeated so often that reading is not enough."""
        held = self.repair.held_until_s(block.timestamp_s) is not None
        return bool(self.wanted) or self.repair.needs_search or held

    def lost_in_words(self) -> str | None:
        """Why the book is not believed, and how much is left to read; None while it is."""
        if self.lost is None and not self.wanted:
            return None
        why = self.lost or "rows of the book are not known yet"
        return f"{why}; {len(self.wanted)} rows are still to be read" if self.wanted else why

    def take_notices(self) -> list[str]:
        """What a person should hear; asked once."""
        notices, self._notices = self._notices, []
        return notices

    def begin(self, *, is_fresh: bool) -> None:
        """A book was just built. One whose rows were all read from the chain is believed once the totals say that nobody is
        missing in it."""
        if is_fresh:
            self.wanted.doubted.clear()
            self.repair.begin_anew()

    def read_all_again(self, book: Book, block: BlockRef) -> None:
        """The market's code changed, or is known again: what the logs meanwhile did to the rows may be wrong. Every row is read
        anew, over as many heads as that takes."""
        self.wanted.doubted |= set(book.accounts())
        self.repair.begin_anew()
        self.lost = f"the market's code changed by block {block.number}: every row is read again"
        if not self.wanted.fits_one_head:
            rows = f"{len(self.wanted)} of them, a part at each head"
            self._notices = [f"{self.lost} ({rows}); until then they are watched, and nothing is liquidated"]

    def _weigh(self, compared: Compared, book: Book, block: BlockRef) -> list[Mismatch]:
        for account in compared.right:
            self.traces.was_right(account, block.number)
        return self.lose(compared.differences, book, block) if compared.differences else []

    def doubt(
        self,
        impossible: Sequence[BalanceChange],
        fresh: Sequence[Position],
        book: Book,
        block: BlockRef,
    ) -> list[Mismatch]:
        """What shows by following to `block`: events that move more than the book has, and rows just read that are not what
        the book had, though nobody was known to be wrong. `fresh`, what was wanted, is not in the book yet."""
        read, doubted = {row.borrower for row in fresh}, self.wanted.doubted
        differences: list[Difference] = []
        for event in impossible:
            if event.account not in read and event.account not in doubted:
                row, owes = book.position(event.account), event.side is Side.DEBT
                held_scaled = (row.debt_scaled if owes else row.collateral_scaled).get(event.reserve_id, 0)
                what = DEBT if owes else COLLATERAL
                differences.append(Difference(what, event.account, event.reserve_id, held_scaled, None))
        for row in fresh:
            if row.borrower in book and row.borrower not in doubted:
                differences += row_differences(book.position(row.borrower), row)
        self.wanted.were_read(read)
        return self.lose(differences, book, block) if differences else []

    def lose(
        self, differences: Sequence[Difference], book: Book, block: BlockRef, *, everybody: bool = False
    ) -> list[Mismatch]:
        """The book is not believed any more. What of it is news is returned, to be journaled. With `everybody` no row is."""
        done = self.repair.begin(differences, block.timestamp_s, book.accounts(), everybody=everybody)
        held_until_s = self.repair.held_until_s(block.timestamp_s)
        self.lost = f"at block {block.number} the book differed from the chain: {in_words(differences)}; {done}"
        if held_until_s is not None:
            self.lost += f"; it has happened too often: nothing is liquidated before {held_until_s} (unix time)"
        return [
            Mismatch(
                each,
                block,
                self.traces.of(each.borrower, each.reserve_id),
                self.traces.since_block,
                done,
                held_until_s,
            )
            for each in self.repair.news(differences)
        ]
