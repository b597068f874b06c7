"""Whether a market's book is believed: audited as long as it is followed; once found wrong, not before it is proven again."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef
from keeper.core.differences import COLLATERAL, DEBT, Difference, Mismatch, in_words, row_differences
from keeper.core.errors import ChainError
from keeper.core.lending import BalanceChange, LendingAdapter, Position, Side
from keeper.core.units import Address
from keeper.pipeline.audit import Auditor, Compared
from keeper.pipeline.repair import Repair
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
        self.repair = Repair()
        self.traces = Traces()
        self.unread_steps = 0
        """Steps in a row whose reads failed: what they would have found is unknown."""
        self._auditor = Auditor(chain, adapter)

    async def audit(
        self, market: Market, state: State, book: Book, block: BlockRef, *, busy: bool = False
    ) -> list[Mismatch]:
        """One step, if one is due, at the block that book and state stand at. When `BLIND_AFTER_STEPS` in a row could not be
        read, raises what the last of them raised, a `ChainError` or `TimeoutError`, once."""
        if self.repair.doubted or not self._auditor.is_due(block, busy=busy):
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
        """Whether the repair is still at work, or mismatches have repeated so often that it is not enough."""
        return bool(self.repair.doubted) or self.repair.held_until_s(block.timestamp_s) is not None

    def _weigh(self, compared: Compared, book: Book, block: BlockRef) -> list[Mismatch]:
        for account in compared.right:
            self.traces.was_right(account, block.number)
        return self.lose(compared.differences, book, block) if compared.differences else []

    def doubt(
        self,
        impossible: Sequence[BalanceChange],
        fresh: Sequence[Position],
        doubted: Container[Address],
        book: Book,
        block: BlockRef,
    ) -> list[Mismatch]:
        """What shows by following to `block`: events that move more than the book has, and rows just read that are not what
        the book had, though nobody was known to be wrong. `fresh` are not in the book yet."""
        read = {row.borrower for row in fresh}
        differences: list[Difference] = []
        for event in impossible:
            if event.account not in read:
                row, owes = book.position(event.account), event.side is Side.DEBT
                held_scaled = (row.debt_scaled if owes else row.collateral_scaled).get(event.reserve_id, 0)
                what = DEBT if owes else COLLATERAL
                differences.append(Difference(what, event.account, event.reserve_id, held_scaled, None))
        for row in fresh:
            if row.borrower in book and row.borrower not in doubted:
                differences += row_differences(book.position(row.borrower), row)
        return self.lose(differences, book, block) if differences else []

    def lose(self, differences: Sequence[Difference], book: Book, block: BlockRef) -> list[Mismatch]:
        """The book is not believed any more. What of it is news is returned, to be journaled."""
        done = self.repair.begin(differences, block.timestamp_s, book.accounts())
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
