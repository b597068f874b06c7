"""One market in step with the chain: discovered, verified, its book following every block's logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef, Log
from keeper.core.checkpoint import Checkpoint, Start
from keeper.core.differences import Mismatch, in_words
from keeper.core.errors import BlockUnavailable, Defect, MalformedResponse, MarketError, MethodUnavailable, RpcFailure
from keeper.core.lending import BookEvent, Health, LendingAdapter, MarketChanged, Position
from keeper.core.units import Address, to_hex
from keeper.pipeline.backfill import BackFill
from keeper.pipeline.discover import discover
from keeper.pipeline.prices import HeadReads, StateReader
from keeper.pipeline.progress import Progress, unwatched
from keeper.pipeline.repair import ASK_AGAIN_S
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
        self._unknown: str | None = None
        """Why the market is of no known kind since it changed: followed under the rules that it had."""
        self._discovered_s = self._discovered_block = 0
        self._chain = chain
        self._shelf = Shelf(chain, adapter, checkpoints, Identity(chain_name, chain_id, entry, adapter.protocol))
        self._back_fill = BackFill(chain, adapter, self._shelf, lambda: first_block(entry), start)
        self._unproven: Checkpoint | Start | None = None
        """Where the rows came from, as long as the chain has not confirmed them as a whole."""
        self._origin = ""
        self._check_preset = check_preset
        self.latest_s: int | None = None
        """The second until which this head's plans must hold; the prices are read as of it too."""
        self.reader = StateReader(chain, adapter)
        self._market: Market | None = None
        self._state: State | None = None
        self._applied: BlockRef | None = None
        self._built = False
        """Whether the rows are those of every borrower at `_book_block`, but for the accounts `_to_read`."""
        self._book_block = 0
        """The block that the rows stand at, known by number alone right after a reorg."""
        self._saved_block = 0
        self._to_read: set[Address] = set()
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

    async def _build(self, head: BlockRef, progress: Progress) -> None:
        self._market, _ = await self._discover(head)
        saved = await self._shelf.take_book(self.book, head)
        while saved is not None and await self._is_refuted_at_its_block(saved):
            saved = await self._shelf.take_book(self.book, head)
        if saved is not None:
            self._book_block = self._saved_block = saved.block.number
        else:
            await self._back_fill.run(self.market, self.book, head, progress)
            self._book_block = head.number
            self._origin, self._unproven = self._back_fill.kind.value, self._back_fill.kind
        known = self._back_fill.take_known() | self._shelf.take_known()
        self._to_read |= {account for account in known if account not in self.book}
        self._built = True

    async def _is_refuted_at_its_block(self, saved: Checkpoint) -> bool:
        """Compare the book just loaded with the chain at its own block. Where no node has that state any more, the head will
        tell, once the book is there."""
        block = saved.block
        self._origin, self._unproven = f"saved at block {block.number}", saved
        try:
            market, fits = await self._discover(block, saved.rules)
            why: str | None = f"its rows followed other rules ({saved.rules}) than the market has there"
            if fits:
                answers = await self._chain.read(self.adapter.encode_state(market), block)
                state = self.adapter.decode_state(market, block, answers)
                why = await self._shelf.refutation(saved, market, state, self.book, block)
        except (BlockUnavailable, MethodUnavailable, RpcFailure, MalformedResponse, MarketError):
            return False
        if why is not None:
            await self._shelf.refuse(saved, why, self.book)
            return True
        self._market, self._unproven = market, None
        self._origin += ", proven at that block"
        return False

    async def _is_refuted(self, head: BlockRef) -> bool:
        """Compare a book that was taken on trust with the chain at `head`, which it stands at now."""
        source = self._unproven
        if source is None or source is Start.SNAPSHOT:
            self._unproven = None
            return False
        saved = source if isinstance(source, Checkpoint) else None
        why = await self._shelf.refutation(saved, self.market, self.state, self.book, head)
        self._unproven = None
        if why is None:
            self._origin += f", proven at block {head.number}"
            return False
        self._tear_down(None)
        if saved is not None:
            await self._shelf.refuse(saved, why, self.book)
        else:
            self._back_fill.distrust_replay(why, head.number)
        return True

    def _tear_down(self, searched_block: int | None) -> None:
        """The book is to be built anew; whoever it knows is read again. Everybody up to `searched_block` is known; with None
        the search begins at the market's first block."""
        self._back_fill.go_on_from({*self.book.accounts(), *self._to_read}, searched_block)
        self._built, self._applied, self.verified = False, None, None

    async def _discover(self, head: BlockRef, rules: str | None = None) -> tuple[Market, bool]:
        """The market as it is at `head`; and whether the named rules (those in use until now) fit it."""
        candidates = await discover(self._chain, self.adapter, self.entry, head)
        if self._market is None:
            self._check_preset(candidates[0])  # later changes are announced by the market itself
        before = rules or (self.adapter.rules_name(self._market) if self._market is not None else None)
        same = [market for market in candidates if self.adapter.rules_name(market) == before]
        return (same or candidates)[0], before is None or bool(same)

    # -- follow --------------------------------------------------------------------------------------------------

    def rewind(self, common_block: int) -> bool:
        """Drop everything after `common_block`; True when there was something to drop. What cannot be unwound is read
        again at the next head."""
        if not self._built:
            self._back_fill.rewind(common_block, self.book)
            return False
        if common_block >= self._book_block:
            return False
        self.trust.rewind(common_block)
        self.trust.repair.discover_again |= common_block < self._discovered_block
        if self.book.can_unwind_to(common_block):
            self._to_read |= self.book.unwind(common_block)
            self._book_block, self._applied = common_block, None
        else:
            self._tear_down(common_block)
        return True

    async def advance(self, head: BlockRef, progress: Progress = unwatched) -> Advance:
        """Move book and state to `head`."""
        if self._built and self.trust.repair.take_search():
            self._tear_down(None)
        if not self._built:
            await self._build(head, progress)
        result = await self._follow_or_give_up(head, progress)
        if self._unproven is not None and self._unknown is None and await self._is_refuted(head):
            return await self.advance(head, progress)
        if self._unknown is not None:
            self.verified, self.refused = None, self._unknown
            raise MarketError(f"{self._unknown}: its borrowers are watched, nothing is liquidated")
        if self.trust.is_held(head):
            self._distrust()
        elif self.verified is None or result.changes:
            result.verified = await self._verify(head, result)
        if head.number - self._saved_block >= CHECKPOINT_EVERY_BLOCKS:
            await self.save_checkpoint()
        result.notices, self._back_fill.notices = self._back_fill.notices, []
        result.origin, self._origin = self._origin, ""
        return result

    async def _follow_or_give_up(self, head: BlockRef, progress: Progress) -> Advance:
        """A market of no known kind need not answer as it did: then it is not watched, but built anew once it is in order."""
        try:
            return await self._follow(head, progress)
        except (MalformedResponse, Defect) as error:
            if self._unknown is None:
                raise
            why, self._unknown = self._unknown, None
            self._tear_down(self._book_block)
            raise MarketError(f"{why}: nor can it be watched any more ({error})") from None

    async def _follow(self, head: BlockRef, progress: Progress) -> Advance:
        logs, reads = await self._collect(head, progress)
        result = Advance(logs=logs)
        by_block, code_changed = self._decoded(self.market, logs, result)
        market = self.market
        if result.changes or self._discovery_is_due(head):
            market, rules_fit = await self._rediscover(head)
            old_filter, new_filter = self.adapter.log_filter(self.market), self.adapter.log_filter(market)
            # Where contracts are gone, what they held is not known; where only new ones came, their logs tell all there is.
            code_changed |= not rules_fit or not set(old_filter.addresses) <= set(new_filter.addresses)
            if new_filter != old_filter and not code_changed:
                logs = await self._collect_logs(market, self._book_block + 1, head, unwatched)
                by_block, _ = self._decoded(market, logs, result)
            reads = await self._read_state(market, head)
        if code_changed:
            self._to_read |= set(self.book.accounts())
        doubted = self.trust.repair.next_rows()
        fresh = await read_rows(self._chain, self.adapter, market, self._to_read | doubted, head)
        decoded = self.reader.decode(market, head, reads)
        # Nothing awaits from here on: market, book, state and block move together. Should an invariant break halfway,
        # no block is applied: nothing is judged by what is left, nothing of it saved.
        self._applied = None
        if not code_changed:
            impossible = [event for number, events in by_block for event in self.book.apply(number, events)]
            result.mismatches += self.trust.doubt(impossible, fresh, doubted, self.book, head)
        self.book.enter(head.number, fresh)
        self.trust.repair.were_read(doubted)
        self._to_read = set()
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
                    self._to_read.add(borrower)
                for event in self.adapter.decode_log(market, log):
                    events.append(event)
                    self.trust.traces.note(log, event)
                    if isinstance(event, MarketChanged):
                        result.changes.append(event.event)
                        code_changed |= event.code_changed
            by_block.append((number, events))
        return by_block, code_changed

    def _discovery_is_due(self, head: BlockRef) -> bool:
        """Without a log that asks for it: after a reorg that took a change back, after a difference that reading rows cannot
        mend, and now and then while the market is of no known kind."""
        asks_again = abs(head.timestamp_s - self._discovered_s) >= ASK_AGAIN_S
        return self.trust.repair.discover_again or (self._unknown is not None and asks_again)

    async def _rediscover(self, head: BlockRef) -> tuple[Market, bool]:
        """After a change. A market of no known kind is watched under the rules that it had, as far as they go."""
        self._discovered_s, self._discovered_block = head.timestamp_s, head.number
        try:
            market, rules_fit = await self._discover(head)
        except MarketError as error:
            self._unknown = str(error)
            return self.market, True
        was_known, self._unknown = self._unknown is None, None
        self.trust.repair.discover_again = False
        return market, rules_fit and was_known

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
        self._to_read.add(account)

    async def audit(self, *, busy: bool = False) -> list[Mismatch]:
        """One step of the continuous audit. A mismatch stops liquidating here, not watching, until the book is repaired and
        proven. Raises once when it has been blind for long."""
        if not self._built or self._applied is None:
            return []
        found = await self.trust.audit(self.market, self.state, self.book, self._applied, busy=busy)
        self._distrust()
        return found

    def _distrust(self) -> bool:
        if lost := self.trust.lost:
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
            result.mismatches += self.trust.lose(found.differences, self.book, head)
            everybody = set(self.book.accounts())
            self.book.enter(head.number, await read_rows(self._chain, self.adapter, self.market, everybody, head))
            self.trust.repair.were_read(everybody)
            found = await verify_rules(self._chain, self.adapter, self.market, reads.state, self.book, head)
        if isinstance(found, RowsDiffer | str):
            self.refused = found if isinstance(found, str) else in_words(found.differences)
            raise MarketError(f"{to_hex(self.entry)}: {self.refused}")
        self._market, verification = found
        self._state = self.reader.decode(self.market, head, reads)
        result.mismatches += await self.trust.prove(self.market, self.state, self.book, head)
        self.refused = None
        if self._distrust():
            return None
        self.verified = verification if verification.checked_borrowers else None
        return verification

    def health(self, position: Position) -> Health | None:
        """Health at the applied block's own timestamp: what the chain answers there. None when it cannot be priced."""
        if self._applied is None:
            raise Defect("health is asked for before the market was started")
        health = self.adapter.health(self.state, position, self._applied.timestamp_s)
        return health if isinstance(health, Health) else None

    async def save_checkpoint(self) -> None:
        """Store the book as of the applied block. When the disk takes nothing now, a later head tries again."""
        if self._applied is not None and self.verified is not None:
            block = self._applied
            saved = await self._shelf.save_book(self.market, self.state, self.book, block)
            self._saved_block = block.number - (0 if saved else CHECKPOINT_EVERY_BLOCKS - SAVE_AGAIN_BLOCKS)
