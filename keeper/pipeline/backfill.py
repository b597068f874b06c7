"""A book that has to be built: who ever borrowed, and under `logs` every row, from the market's first block on.

`snapshot` searches the logs that name borrowers, then reads their rows; what was read follows the logs from there, so that a
node that forgets the state of a head meanwhile costs nothing. `logs` replays every log for every account, so that nobody's
row is read; accounts that never borrowed leave the book at the end, since nobody can liquidate them and their next step is
seen anyhow. Both ways lead to the same book.

How far it came is saved every few seconds under the hash of the block that it stands at. A process that is killed goes on
there; where that block is no longer on the chain, from an older mark, and else from the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef, Log
from keeper.core.checkpoint import Stage, Start
from keeper.core.errors import Defect
from keeper.core.lending import BookEvent, LendingAdapter, LogFilter, MarketChanged, Position, Side
from keeper.core.units import Address, to_hex
from keeper.pipeline.audit import read_totals
from keeper.pipeline.progress import Progress
from keeper.pipeline.rows import read_rows
from keeper.pipeline.saved import Shelf
from keeper.pipeline.tasks import Slices
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

MARK_EVERY_S = 5.0
"""So much of the search is done twice after a kill; more only when saving itself takes long."""
ROWS_PER_SLICE = 1_000
MARK_COST = 20
"""At most one part in so many of the time goes into marks."""


class BackFill(Generic[Market, State]):
    """One market's. `run` may be cut short at any await and be called again: it goes on from where it got."""

    def __init__(
        self,
        chain: Chain,
        adapter: LendingAdapter[Market, State],
        shelf: Shelf[Market, State],
        first_block: Callable[[], Awaitable[int]],
        start: Start,
    ) -> None:
        self.borrowers: set[Address] = set()
        """Everybody known to have borrowed. Nobody ever leaves: what is watched never shrinks."""
        self.notices: list[str] = []
        """What a person should hear: why a replay was given up."""
        self._chain = chain
        self._adapter = adapter
        self._shelf = shelf
        self._first_block = first_block
        self._start = start
        self._floor: int | None = None
        """The block before the market's first."""
        self._reached: int | None = None
        self._stage = Stage.SEARCH
        """What the book holds as of the block that was reached: nothing, the rows read so far, or everybody's."""
        self._anew = False
        """Whether the search is to begin at the market's first block, whatever an earlier one has left in the store."""
        self._moved: set[Address] = set()
        """Contracts that have moved something in the replay: another implementation of theirs may have other rules."""
        self._marked_s = 0.0
        self._mark_took_s = 0.0

    async def run(self, market: Market, book: Book, head: BlockRef, progress: Progress) -> None:
        """Up to `head`. Afterwards `borrowers` is complete, and the book holds their rows as of it."""
        if self._floor is None:
            self._floor = await self._first_block() - 1
        if self._reached is None:
            await self._begin(book, head, self._floor)
        self._reached = max(self._reached or 0, self._floor)
        if self._stage is not Stage.SEARCH:
            await self._each_chunk(self._adapter.log_filter(market), market, book, head, progress)
        if self._stage is Stage.REPLAY:
            await self._check_totals(market, book, head)
        if self._stage is Stage.SEARCH:
            await self._each_chunk(self._adapter.borrower_filter(market), market, book, head, progress)
            book.load([], head.number)
            self._stage = Stage.ROWS
        if self._stage is Stage.ROWS:
            await self._read_rows(market, book, head)
        else:
            await asyncio.to_thread(book.keep_only, self.borrowers, head.number)

    def rewind(self, common_block: int, book: Book) -> None:
        """Nothing after `common_block` counts."""
        if self._reached is None or common_block >= self._reached:
            return
        if self._stage is not Stage.SEARCH:
            if book.can_unwind_to(common_block):
                book.unwind(common_block)
            else:
                self._give_up_rows(f"a reorg to block {common_block} is deeper than what can be unwound")
        self._reached = common_block

    def go_on_from(self, known: Iterable[Address], searched_block: int | None) -> None:
        """The book is to be built anew, by search: these accounts are known, and everybody up to `searched_block`. With None
        nothing is known of the others: the search begins at the market's first block again, and by no earlier one's marks: who
        is missing may be missing because of it."""
        self.borrowers.update(known)
        self._anew = searched_block is None
        self._reached, self._stage = searched_block, Stage.SEARCH

    def distrust_replay(self, why: str, searched_block: int) -> None:
        """The chain does not confirm what was replayed up to this block: take it by snapshot."""
        self._stage = Stage.REPLAY
        self._give_up_rows(why)
        self._reached, self._anew = searched_block, False

    @property
    def kind(self) -> Start:
        """How the book that `run` left was built."""
        return Start.LOGS if self._stage is Stage.REPLAY else Start.SNAPSHOT

    def take_known(self) -> set[Address]:
        """Everybody known, handed over to whoever watches them from now on."""
        known, self.borrowers = self.borrowers, set()
        return known

    async def _begin(self, book: Book, head: BlockRef, floor: int) -> None:
        if self._anew:
            await self._shelf.refuse_marks("every borrower is searched from the market's first block")
            self._anew = False
        mark = await self._shelf.newest_mark(book, head)
        if mark is None:
            book.load([], floor)
            self._reached = floor
            self._stage = Stage.REPLAY if self._start is Start.LOGS else Stage.SEARCH
            return
        usable = mark.stage is not Stage.REPLAY or self._start is Start.LOGS
        self._stage = mark.stage if usable else Stage.SEARCH
        self.borrowers |= mark.borrowers
        self._moved = set(mark.moved)
        self._reached = mark.block.number

    async def _each_chunk(
        self, log_filter: LogFilter, market: Market, book: Book, head: BlockRef, progress: Progress
    ) -> None:
        assert self._reached is not None, "it has begun"
        first, stage = self._reached + 1, self._stage
        self._marked_s = asyncio.get_running_loop().time()
        async with aclosing(self._chain.logs(log_filter, first, head)) as chunks:
            async for reached, logs in chunks:
                self._note_borrowers(market, logs)
                if stage is not Stage.SEARCH:
                    self._replay(market, book, logs)
                self._reached = reached
                progress(first, reached, head.number)
                if self._stage is not stage:
                    return
                await self._mark_when_due(market, book, head)

    def _note_borrowers(self, market: Market, logs: Sequence[Log]) -> None:
        for log in logs:
            borrower = self._adapter.decode_borrower(market, log)
            if borrower is not None:
                self.borrowers.add(borrower)

    # -- replay --------------------------------------------------------------------------------------------------

    def _replay(self, market: Market, book: Book, logs: Sequence[Log]) -> None:
        """In a full replay every account enters before its first log, with nothing: whatever it has, a log gave it. Else only
        the rows that were read follow."""
        by_block: list[tuple[int, list[BookEvent]]] = []
        unseen: set[Address] = set()
        for number, block_logs in groupby(logs, key=lambda log: log.block_number):
            events: list[BookEvent] = []
            for log in block_logs:
                decoded = self._adapter.decode_log(market, log)
                why = self._cannot_be_replayed(log, decoded)
                if why is not None:
                    self._give_up_rows(why)
                    return
                events.extend(decoded)
            by_block.append((number, events))
            unseen |= {event.account for event in events if not isinstance(event, MarketChanged)}
        if by_block and self._stage is Stage.REPLAY:
            empty = [Position(account, {}, {}, frozenset(), 0) for account in unseen if account not in book]
            book.enter(by_block[0][0] - 1, empty)
        for number, events in by_block:
            if book.apply(number, events):
                self._give_up_rows(f"a log of block {number} moves more than there is: one before it is missing")
                return

    def _cannot_be_replayed(self, log: Log, decoded: Sequence[BookEvent]) -> str | None:
        """Why the rules of today may not be those under which balances have moved before this log."""
        for event in decoded:
            if not isinstance(event, MarketChanged):
                self._moved.add(log.address)
                continue
            born = self._stage is Stage.REPLAY and not (
                self._moved if event.contract is None else self._moved & {event.contract}
            )
            if event.breaks_replay or (event.code_changed and not born):
                of = f" of {to_hex(event.contract)}" if event.contract is not None else ""
                return f"{event.event}{of} in block {log.block_number}, after balances had moved"
        return None

    async def _check_totals(self, market: Market, book: Book, head: BlockRef) -> None:
        """With every holder in the book, its collateral too must be all that there is."""
        totals = await read_totals(self._chain, self._adapter, market, self._adapter.reserve_ids(market), head)
        held = await Slices().run(book.adding_up())
        for reserve_id, total in totals.items():
            ours = held.get((reserve_id, Side.COLLATERAL), 0), held.get((reserve_id, Side.DEBT), 0)
            if ours != (total.collateral_scaled, total.debt_scaled):
                chain = f"{total.collateral_scaled} of collateral and {total.debt_scaled} of debt"
                self._give_up_rows(f"reserve {reserve_id} has {chain} at block {head.number}, the logs tell {ours}")
                return

    def _give_up_rows(self, why: str) -> None:
        if self._stage is Stage.REPLAY:
            self.notices.append(f"the market's past cannot be replayed ({why}): rows are read from the chain instead")
        self._stage = Stage.SEARCH

    # -- read ----------------------------------------------------------------------------------------------------

    async def _read_rows(self, market: Market, book: Book, head: BlockRef) -> None:
        """Everybody who is not in the book yet, as of `head`, which the book stands at."""
        missing = sorted(account for account in self.borrowers if account not in book)
        for start in range(0, len(missing), ROWS_PER_SLICE):
            accounts = missing[start : start + ROWS_PER_SLICE]
            book.enter(head.number, await read_rows(self._chain, self._adapter, market, accounts, head))
            await self._mark_when_due(market, book, head)

    # -- marks ---------------------------------------------------------------------------------------------------

    async def _mark_when_due(self, market: Market, book: Book, head: BlockRef) -> None:
        clock = asyncio.get_running_loop().time
        if clock() - self._marked_s < max(MARK_EVERY_S, MARK_COST * self._mark_took_s):
            return
        if self._reached is None:
            raise Defect("a mark before anything was searched")
        begun_s = clock()
        block = head if self._reached == head.number else await self._chain.ancestor(self._reached, head)
        await self._shelf.save_mark(self._stage, block, self.borrowers, self._moved, market, book)
        self._marked_s = clock()
        self._mark_took_s = self._marked_s - begun_s
