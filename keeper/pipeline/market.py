"""One market in step with the chain: discovered, verified, its book following every block's logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef, Log
from keeper.core.checkpoint import Start
from keeper.core.differences import Mismatch
from keeper.core.errors import Defect, MalformedResponse, MarketError
from keeper.core.lending import BookEvent, Health, LendingAdapter, MarketChanged, Position
from keeper.core.units import Address, to_hex
from keeper.pipeline.backfill import BackFill
from keeper.pipeline.building import Building
from keeper.pipeline.discover import Discovery
from keeper.pipeline.prices import HeadReads, StateReader
from keeper.pipeline.progress import Progress, unwatched
from keeper.pipeline.rows import read_rows
from keeper.pipeline.saved import Identity, Shelf
from keeper.pipeline.tasks import together
from keeper.pipeline.trust import Trust
from keeper.pipeline.verify import RowsDiffer, Verification, verify_rules
from keeper.ports import Chain, Checkpoints

Market = TypeVar("Market")
State = TypeVar("State")

CHECKPOINT_EVERY_BLOCKS, SAVE_AGAIN_BLOCKS = 5_000, 100


@dataclass(slots=True)
class Advance:
    """What happened to a market while it moved to a head."""

    logs: Sequence[Log] = ()
    changes: list[str] = field(default_factory=list)
    verified: Verification | None = None
    mismatches: list[Mismatch] = field(default_factory=list)
    """Where the book was not what the chain stores, though nothing had announced it."""
    origin: str = ""
    """Where a book that was built for this head came from, and how it was proven; else empty."""
    notices: list[str] = field(default_factory=list)
    """What a person should hear once."""


class MarketFollower(Generic[Market, State]):
    """Keeps one market's book and state at the head. Raises `ChainError` (try again), `MarketError` (refused)."""

    proves = True
    """Whether a book is held against the chain before it is believed."""

    def __init__(
        self,
        chain: Chain,
        chain_name: str,
        adapter: LendingAdapter[Market, State],
        entry: Address,
        checkpoints: Checkpoints,
        first_block: Callable[[Address], Awaitable[int]],
        check_preset: Callable[[Market], None] = lambda market: None,
        *,
        chain_id: int,
        start: Start = Start.SNAPSHOT,
        reorg_depth: int = 64,
    ) -> None:
        self.chain_name = chain_name
        self.adapter = adapter
        self.entry = entry
        self.refused: str | None = None
        """Why nothing is liquidated on this market; None while it is in order."""
        self.verified: Verification | None = None
        self.trust = Trust(chain, adapter)
        self._chain = chain
        self._shelf = Shelf(chain, adapter, checkpoints, Identity(chain_name, chain_id, entry, adapter.protocol))
        self._discovery = Discovery(chain, adapter, entry, check_preset)
        back_fill = BackFill(chain, adapter, self._shelf, lambda: first_block(entry), start)
        self._building = Building(chain, adapter, self._discovery, self._shelf, back_fill, proves=self.proves)
        self.latest_s: int | None = None
        """The second until which this head's plans must hold; the prices are read as of it too."""
        self.reader = StateReader(chain, adapter)
        self._market: Market | None = None
        self._state: State | None = None
        self._applied: BlockRef | None = None
        self._built = False
        """Whether the rows are those of every borrower at `_book_block`, but for the accounts that are `_wanted`."""
        self._book_block = 0
        """The block that the rows stand at, known by number alone right after a reorg."""
        self._saved_block = 0
        self._wanted = self.trust.wanted
        self.book = Book(lambda event, before: adapter.next_scaled(self.market, event, before), undo_blocks=reorg_depth)

    @property
    def market(self) -> Market:
        if self._market is None:
            raise Defect("the market is used before it was discovered")
        return self._market

    @property
    def state(self) -> State:
        if self._state is None:
            raise Defect("the market is used before its state was read")
        return self._state

    @property
    def applied(self) -> BlockRef | None:
        """The block that book and state stand at; None before the first catch-up."""
        return self._applied

    # -- start ---------------------------------------------------------------------------------------------------

    async def start(self, head: BlockRef, progress: Progress) -> Advance:
        """Discover, take the saved book or build it from the borrowers' logs, and verify, all as of `head`. Asked again
        after an error, it goes on from where it got."""
        result = await self.advance(head, progress)
        await self.save_checkpoint()
        return result

    @property
    def built(self) -> bool:
        """False until the first catch-up, and again when the book must be built anew."""
        return self._built

    @property
    def is_reading(self) -> bool:
        """Whether rows are still to be read that need not wait for another head."""
        return self._built and self._wanted.is_long

    async def _build(self, head: BlockRef, progress: Progress) -> None:
        rules = self.adapter.rules_name(self._market) if self._market is not None else None
        self._market, _ = await self._discovery.find(head, rules)
        built = await self._building.build(self.market, self.book, head, progress)
        self._market, self._book_block = built.market, built.block_number
        if built.saved:
            self._saved_block = built.block_number
        self._wanted.missing |= built.missing
        self.trust.begin(is_fresh=self._building.is_fresh)
        self._built = True

    def _tear_down(self, searched_block: int | None) -> None:
        """The book is to be built anew; whoever it knows is read again. Everybody up to `searched_block` is known; with None
        the search begins at the market's first block."""
        self._building.give_up([*self.book.accounts(), *self._wanted.missing], searched_block)
        self._wanted.missing.clear()
        self._leave_book()

    def _leave_book(self) -> None:
        self._built, self._applied, self.verified = False, None, None

    # -- follow --------------------------------------------------------------------------------------------------

    def rewind(self, common_block: int) -> bool:
        """Drop everything after `common_block`; True when there was something to drop. What cannot be unwound is read
        again at the next head."""
        if not self._built:
            self._building.rewind(common_block, self.book)
            return False
        if common_block >= self._book_block:
            return False
        self.trust.rewind(common_block)
        self.trust.repair.discover_again |= self._discovery.is_undone_by(common_block)
        if self.book.can_unwind_to(common_block):
            self._wanted.missing |= self.book.unwind(common_block)
            self._book_block, self._applied = common_block, None
        else:
            self._tear_down(common_block)
        return True

    async def advance(self, head: BlockRef, progress: Progress = unwatched) -> Advance:
        """Move book and state to `head`."""
        if self._built and self.trust.repair.take_search(head.timestamp_s):
            self._tear_down(None)
        if not self._built:
            await self._build(head, progress)
        result = await self._follow_or_give_up(head, progress)
        if self._discovery.unknown is not None:
            self.verified, self.refused = None, self._discovery.unknown
            raise MarketError(f"{self.refused}: its borrowers are watched, nothing is liquidated")
        if (
            self._building.is_unproven
            and not self._wanted
            and await self._building.refutes(self.market, self.state, self.book, head)
        ):
            self._leave_book()
            return await self.advance(head, progress)
        if self.trust.is_held(head):
            self._distrust()
        elif self.verified is None:
            result.verified = await self._verify(head, result)
        result.notices = [*self._building.take_notices(), *self.trust.take_notices()]
        result.origin = self._building.take_words()
        return result

    async def _follow_or_give_up(self, head: BlockRef, progress: Progress) -> Advance:
        """A market of no known kind need not answer as it did: then it is not watched, but built anew once it is in order."""
        try:
            return await self._follow(head, progress)
        except (MalformedResponse, Defect) as error:
            why = self._discovery.unknown
            if why is None:
                raise
            self._discovery.unknown = None
            self._tear_down(self._book_block)
            raise MarketError(f"{why}: nor can it be watched any more ({error})") from None

    async def _follow(self, head: BlockRef, progress: Progress) -> Advance:
        logs, reads = await self._collect(head, progress)
        result = Advance(logs=logs)
        by_block, code_changed = self._decoded(self.market, logs, result)
        market = self.market
        is_due = self.trust.repair.discover_again or self._discovery.is_due(head)
        if is_due or result.changes:
            self.trust.repair.discover_again = True  # until what it gives is in use: an error may come in between
            market, rules_fit = await self._discovery.find_again(head, self.market)
            old_filter, new_filter = self.adapter.log_filter(self.market), self.adapter.log_filter(market)
            # Where contracts are gone, what they held is not known; where only new ones came, their logs tell all there is.
            code_changed |= not rules_fit or not set(old_filter.addresses) <= set(new_filter.addresses)
            if new_filter != old_filter:
                logs = await self._collect_logs(market, self._book_block + 1, head, unwatched)
                by_block, _ = self._decoded(market, logs, result)
            reads = await self._read_state(market, head)
        if code_changed:
            self.trust.read_all_again(self.book, head)
        part = self._wanted.next_slice()
        fresh = await read_rows(self._chain, self.adapter, market, part, head)
        decoded = self.reader.decode(market, head, reads)
        # Nothing awaits from here on: market, book, state and block move together. Should an invariant break halfway,
        # no block is applied: nothing is judged by what is left, nothing of it saved.
        self._applied = None
        if code_changed:
            by_block = []
        impossible = [event for number, events in by_block for event in self.book.apply(number, events)]
        result.mismatches += self.trust.doubt(impossible, fresh, self.book, head)
        self.book.enter(head.number, fresh)
        if self.trust.repair.discover_again:
            self._discovery.settle()
            self.trust.repair.discover_again, self.verified = False, None
        self._market, self._state = market, decoded
        self._applied, self._book_block = head, head.number
        return result

    def _decoded(
        self, market: Market, logs: Sequence[Log], result: Advance
    ) -> tuple[list[tuple[int, list[BookEvent]]], bool]:
        """Events by block, and whether code changed; who is to be read and what changed is taken note of."""
        by_block, code_changed = [], False
        result.changes.clear()
        for number, block_logs in groupby(logs, key=lambda log: log.block_number):
            events: list[BookEvent] = []
            for log in block_logs:
                borrower = self.adapter.decode_borrower(market, log)
                if borrower is not None and borrower not in self.book:
                    self._wanted.missing.add(borrower)
                for event in self.adapter.decode_log(market, log):
                    events.append(event)
                    self.trust.traces.note(log, event)
                    if isinstance(event, MarketChanged):
                        result.changes.append(event.event)
                        code_changed |= event.code_changed
            by_block.append((number, events))
        return by_block, code_changed

    async def _collect(self, head: BlockRef, progress: Progress) -> tuple[list[Log], HeadReads]:
        """The logs since the last applied block and the state at `head`, asked for together."""
        return await together(
            self._collect_logs(self.market, self._book_block + 1, head, progress),
            self._read_state(self.market, head),
        )

    async def _read_state(self, market: Market, head: BlockRef) -> HeadReads:
        return await self.reader.read(market, head, self.latest_s or head.timestamp_s)

    async def _collect_logs(self, market: Market, from_block: int, head: BlockRef, progress: Progress) -> list[Log]:
        collected: list[Log] = []
        if from_block > head.number:
            return collected
        async with aclosing(self._chain.logs(self.adapter.log_filter(market), from_block, head)) as chunks:
            async for reached, logs in chunks:
                collected.extend(logs)
                progress(from_block, reached, head.number)
        return collected

    # -- trust ---------------------------------------------------------------------------------------------------

    def read_again(self, account: Address) -> None:
        """Its row is doubted: take it from the chain at the next head."""
        self._wanted.missing.add(account)

    async def audit(self, *, busy: bool = False) -> list[Mismatch]:
        """What no order waits for: where prices come from, and one step of the continuous audit. A mismatch stops liquidating
        here, not watching, until the book is repaired and proven. Raises once when the audit has been blind for long."""
        if not self._built or self._applied is None:
            return []
        await self.reader.watch.tend(self.market, self._applied)
        found = await self.trust.audit(self.market, self.state, self.book, self._applied, busy=busy)
        self._distrust()
        return found

    def _distrust(self) -> bool:
        if lost := self.trust.lost_in_words():
            self.refused, self.verified = lost, None
        return lost is not None

    async def _verify(self, head: BlockRef, result: Advance) -> Verification | None:
        """Find the rules under which a sample of borrowers is recomputed exactly; refuse the market if there are none.
        None when the book was found wrong and is not yet repaired."""
        self.verified = None
        reads = await self._read_state(self.market, head)
        found = await verify_rules(self._chain, self.adapter, self.market, reads.state, self.book, head)
        if isinstance(found, RowsDiffer):
            # Logs that we misread, or a saved book of other rules: the chain is the truth, so every row is read again.
            result.mismatches += self.trust.lose(found.differences, self.book, head, everybody=True)
            self._distrust()
            return None
        if isinstance(found, str):
            self.refused = found
            raise MarketError(f"{to_hex(self.entry)}: {found}")
        market, verification = found
        self.reader.watch.is_the_same(self.market, market)
        self._market = market
        self._state = self.reader.decode(self.market, head, reads)
        result.mismatches += await self.trust.prove(self.market, self.state, self.book, head)
        self.refused = None
        if self._distrust():
            return None
        self._building.was_proven(head)
        self.verified = verification if verification.checked_borrowers else None
        return verification

    def health(self, position: Position) -> Health | None:
        """Health at the applied block's own timestamp: what the chain answers there. None when it cannot be priced."""
        if self._applied is None:
            raise Defect("health is asked for before the market was started")
        health = self.adapter.health(self.state, position, self._applied.timestamp_s)
        return health if isinstance(health, Health) else None

    async def save_when_due(self) -> None:
        """Every so many blocks; for when the head was acted on, because saving a large book takes a second."""
        if self._applied is not None and self._applied.number - self._saved_block >= CHECKPOINT_EVERY_BLOCKS:
            await self.save_checkpoint()

    async def save_checkpoint(self) -> None:
        """Store the book as of the applied block. When the disk takes nothing now, a later head tries again."""
        if self._applied is not None and self.verified is not None:
            block = self._applied
            saved = await self._shelf.save_book(self.market, self.state, self.book, block)
            self._saved_block = block.number - (0 if saved else CHECKPOINT_EVERY_BLOCKS - SAVE_AGAIN_BLOCKS)
