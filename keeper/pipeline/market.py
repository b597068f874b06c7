"""One market in step with the chain: discovered, verified, its book following every block's logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.book.snapshot import pack_rows, unpack_rows
from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import Defect, MalformedResponse, MarketError
from keeper.core.lending import BookEvent, Health, LendingAdapter, MarketChanged, Position
from keeper.core.units import Address, to_hex
from keeper.pipeline.prices import HeadReads, StateReader
from keeper.pipeline.tasks import together
from keeper.pipeline.verify import RowsDiffer, Verification, verify_rules
from keeper.ports import Chain, Checkpoints

Market = TypeVar("Market")
State = TypeVar("State")

ACCOUNTS_PER_READ = 50
CHECKPOINT_EVERY_BLOCKS = 5_000
AUDIT_EVERY_S = 3_600
"""A market that was verified is verified again, with other borrowers: what the logs made of the rows must still be true."""

Progress = Callable[[int, int, int], None]
"""Back-fill progress: first block, block reached, last block."""


def unwatched(first: int, reached: int, last: int) -> None:
    """Progress that nobody watches."""


@dataclass(slots=True)
class Advance:
    """What happened to a market while it moved to a head."""

    logs: Sequence[Log] = ()
    changes: list[str] = field(default_factory=list)
    verified: Verification | None = None
    mended: str = ""
    """Why every row was read again, though nothing had announced it."""


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
    ) -> None:
        self.chain_name = chain_name
        self.adapter = adapter
        self.entry = entry
        self.refused: str | None = None
        """Why nothing is liquidated on this market; None while it is in order."""
        self.verified: Verification | None = None
        self._chain = chain
        self._checkpoints = checkpoints
        self._first_block = first_block
        self._check_preset = check_preset
        self.latest_s: int | None = None
        """The second until which this head's plans must hold; the prices are read as of it too."""
        self._reader = StateReader(chain, adapter)
        self._market: Market | None = None
        self._state: State | None = None
        self._applied: BlockRef | None = None
        self._built = False
        """Whether the rows are those of every borrower at `_book_block`, but for the accounts `_to_read`."""
        self._book_block = 0
        """The block that the rows stand at, known by number alone right after a reorg."""
        self._saved_block = 0
        self._searched_block: int | None = None
        """While the book is built: every borrower up to this block is among the accounts `_to_read`."""
        self._to_read: set[Address] = set()
        self.book = Book(lambda change, previous: adapter.next_scaled(self.market, change, previous))

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
        if not await self._load_checkpoint(head):
            await self._find_borrowers(head, progress)
            self.book.load([], head.number)
            self._book_block = head.number
        self._built = True

    def _tear_down(self, searched_block: int) -> None:
        """The book is to be built anew; whoever it knows, and so every borrower up to this block, is read again."""
        self._to_read |= set(self.book.rows())
        self._searched_block = searched_block
        self._built, self._applied, self.verified = False, None, None

    async def _discover(self, head: BlockRef) -> tuple[Market, bool]:
        """The market as it is at `head`; and whether the rules in use until now still fit it."""
        steps = self.adapter.discover(self.entry)
        results: Sequence[CallResult] | None = None
        found: Market | None = None
        while found is None:
            try:
                calls = steps.send(results) if results is not None else next(steps)
                results = await self._chain.read(calls, head)
            except StopIteration as done:
                found = done.value
        candidates = self.adapter.candidates(found)
        if not candidates:
            raise MarketError(f"{to_hex(self.entry)}: no known rules fit this market ({self.adapter.protocol})")
        self._check_preset(found)
        before = self.adapter.rules_name(self._market) if self._market is not None else None
        same = [market for market in candidates if self.adapter.rules_name(market) == before]
        return (same or candidates)[0], before is None or bool(same)

    async def _load_checkpoint(self, head: BlockRef) -> bool:
        """Take the saved book, if there is one and its block is still on the chain."""
        saved = await self._checkpoints.load(self.chain_name, self.entry)
        if saved is None or saved[0].number > head.number:
            return False
        block, rows = saved
        if not await self._chain.contains(block):
            return False
        try:
            self.book.load(unpack_rows(rows), block.number)
        except MalformedResponse:
            return False
        self._saved_block = self._book_block = block.number
        self._to_read = set()
        return True

    async def _find_borrowers(self, head: BlockRef, progress: Progress) -> None:
        """Every account that ever borrowed, from the market's first block to the head; what an attempt before this one
        has searched is not searched again. (A search may outlast the state that the node keeps of its head.)"""
        if self._searched_block is None:
            self._searched_block = await self._first_block(self.entry) - 1
        first = self._searched_block + 1
        async for reached, logs in self._chain.logs(self.adapter.borrower_filter(self.market), first, head):
            for log in logs:
                borrower = self.adapter.decode_borrower(self.market, log)
                if borrower is not None:
                    self._to_read.add(borrower)
            self._searched_block = reached
            progress(first, reached, head.number)

    # -- follow --------------------------------------------------------------------------------------------------

    def rewind(self, common_block: int) -> bool:
        """Drop everything after `common_block`; True when there was something to drop. What cannot be unwound is read
        again at the next head."""
        if self._searched_block is not None:
            self._searched_block = min(self._searched_block, common_block)
        if not self._built or common_block >= self._book_block:
            return False
        if self.book.can_unwind_to(common_block):
            self._to_read |= self.book.unwind(common_block)
            self._book_block, self._applied = common_block, None
        else:
            self._tear_down(common_block)
        return True

    async def advance(self, head: BlockRef, progress: Progress = unwatched) -> Advance:
        """Move book and state to `head`."""
        if not self._built:
            await self._build(head, progress)
        result = await self._follow(head, progress)
        if self.verified is None or result.changes or self._audit_is_due(self.verified, head):
            result.verified = await self._verify(head, result)
        if head.number - self._saved_block >= CHECKPOINT_EVERY_BLOCKS:
            await self.save_checkpoint()
        return result

    async def _follow(self, head: BlockRef, progress: Progress) -> Advance:
        logs, reads = await self._collect(head, progress)
        by_block: list[tuple[int, list[BookEvent]]] = []
        result = Advance(logs=logs)
        code_changed = False
        for number, block_logs in groupby(logs, key=lambda log: log.block_number):
            events: list[BookEvent] = []
            for log in block_logs:
                borrower = self.adapter.decode_borrower(self.market, log)
                if borrower is not None and borrower not in self.book:
                    self._to_read.add(borrower)
                events.extend(self.adapter.decode_log(self.market, log))
            by_block.append((number, events))
            for event in events:
                if isinstance(event, MarketChanged):
                    result.changes.append(event.event)
                    code_changed |= event.code_changed
        market = self.market
        if result.changes:
            market, rules_fit = await self._rediscover(head)
            # With other tokens, what their logs said between their listing and this head was never asked for.
            other_logs = self.adapter.log_filter(market) != self.adapter.log_filter(self.market)
            code_changed |= other_logs or not rules_fit
            reads = await self._read_state(market, head)
        if code_changed:
            self._to_read |= set(self.book.rows())
        fresh = await self._fetch_rows(market, self._to_read, head)
        decoded = self._reader.decode(market, head, reads)
        # Nothing awaits from here on: market, book, state and block move together. Should an invariant break halfway, no
        # block is applied, so that nothing is judged by what is left, and nothing of it saved.
        self._applied = None
        for number, events in by_block:
            if not code_changed:
                self.book.apply(number, events)
        self.book.enter(head.number, fresh)
        self._to_read = set()
        self._market, self._state = market, decoded
        self._applied, self._book_block = head, head.number
        return result

    async def _rediscover(self, head: BlockRef) -> tuple[Market, bool]:
        """After a change. A market that is refused is not followed any further: it is built anew once it is in order."""
        try:
            return await self._discover(head)
        except MarketError:
            self._tear_down(self._book_block)
            raise

    async def _collect(self, head: BlockRef, progress: Progress) -> tuple[list[Log], HeadReads]:
        """The logs since the last applied block and the state at `head`, asked for together."""
        return await together(
            self._collect_logs(self._book_block + 1, head, progress),
            self._read_state(self.market, head),
        )

    async def _read_state(self, market: Market, head: BlockRef) -> HeadReads:
        return await self._reader.read(market, head, self.latest_s or head.timestamp_s)

    async def _collect_logs(self, from_block: int, head: BlockRef, progress: Progress) -> list[Log]:
        collected: list[Log] = []
        if from_block > head.number:
            return collected
        async for reached, logs in self._chain.logs(self.adapter.log_filter(self.market), from_block, head):
            collected.extend(logs)
            progress(from_block, reached, head.number)
        return collected

    async def _fetch_rows(self, market: Market, accounts: set[Address], head: BlockRef) -> list[Position]:
        rows: list[Position] = []
        async for batch in self._read_accounts(market, sorted(accounts), head):
            for account, results in batch.items():
                rows.append(self.adapter.decode_position(market, account, results))
        return rows

    async def _read_accounts(
        self, market: Market, accounts: Sequence[Address], head: BlockRef
    ) -> AsyncIterator[Mapping[Address, Sequence[CallResult]]]:
        for start in range(0, len(accounts), ACCOUNTS_PER_READ):
            chunk = accounts[start : start + ACCOUNTS_PER_READ]
            per_account = [list(self.adapter.encode_position(market, account)) for account in chunk]
            flat: list[Call] = [call for calls in per_account for call in calls]
            results = await self._chain.read(flat, head)
            answered, cursor = {}, 0
            for account, calls in zip(chunk, per_account, strict=True):
                answered[account] = results[cursor : cursor + len(calls)]
                cursor += len(calls)
            yield answered

    # -- trust ---------------------------------------------------------------------------------------------------

    def read_again(self, account: Address) -> None:
        """Its row is doubted: take it from the chain at the next head."""
        self._to_read.add(account)

    @staticmethod
    def _audit_is_due(verified: Verification, head: BlockRef) -> bool:
        return head.timestamp_s - verified.block.timestamp_s >= AUDIT_EVERY_S

    async def _verify(self, head: BlockRef, result: Advance) -> Verification:
        """Find the rules under which a sample of borrowers is recomputed exactly; refuse the market if there are none."""
        self.verified = None
        reads = await self._read_state(self.market, head)
        found = await verify_rules(self._chain, self.adapter, self.market, reads.state, self.book, head)
        if isinstance(found, RowsDiffer):
            # Logs that we misread, or a saved book of other rules: the chain is the truth, so every row is read again.
            result.mended = str(found)
            self.book.enter(head.number, await self._fetch_rows(self.market, set(self.book.rows()), head))
            found = await verify_rules(self._chain, self.adapter, self.market, reads.state, self.book, head)
        if isinstance(found, RowsDiffer | str):
            self.refused = str(found)
            raise MarketError(f"{to_hex(self.entry)}: {found}")
        self._market, verification = found
        self._state = self._reader.decode(self.market, head, reads)
        self.refused = None
        self.verified = verification if verification.checked_borrowers else None
        return verification

    def health(self, position: Position) -> Health | None:
        """Health at the applied block's own timestamp: what the chain answers there. None when it cannot be priced."""
        if self._applied is None:
            raise Defect("health is asked for before the market was started")
        health = self.adapter.health(self.state, position, self._applied.timestamp_s)
        return health if isinstance(health, Health) else None

    async def save_checkpoint(self) -> None:
        """Store the book as of the applied block."""
        if self._applied is not None and self.verified is not None:
            await self._checkpoints.save(
                self.chain_name, self.entry, self._applied, pack_rows(self.book.rows().values())
            )
            self._saved_block = self._applied.number
