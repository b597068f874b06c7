"""Where a market's book comes from: a saved one or the chain's logs; and whether the chain has confirmed it as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef
from keeper.core.checkpoint import Checkpoint, Start
from keeper.core.errors import BlockUnavailable, MalformedResponse, MarketError, MethodUnavailable, RpcFailure
from keeper.core.lending import LendingAdapter
from keeper.core.units import Address
from keeper.pipeline.backfill import BackFill
from keeper.pipeline.discover import Discovery
from keeper.pipeline.progress import Progress
from keeper.pipeline.saved import Shelf
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Built(Generic[Market]):
    """What a book that was just built stands at."""

    market: Market
    block_number: int
    saved: bool
    """Whether it was taken from the store."""
    missing: frozenset[Address]
    """Accounts that are known, and not in it."""


class Building(Generic[Market, State]):
    """Builds the book of one market, and asks the chain whether it is right."""

    def __init__(
        self,
        chain: Chain,
        adapter: LendingAdapter[Market, State],
        discovery: Discovery[Market, State],
        shelf: Shelf[Market, State],
        back_fill: BackFill[Market, State],
        *,
        proves: bool,
    ) -> None:
        self.is_fresh = False
        """Whether every row was read from the chain for this book: what is left to prove is that nobody is missing."""
        self._chain = chain
        self._adapter = adapter
        self._discovery = discovery
        self._shelf = shelf
        self._back_fill = back_fill
        self._proves = proves
        self._unproven: Checkpoint | Start | None = None
        """Where the rows came from, as long as the chain has not confirmed them as a whole."""
        self._words = ""
        self._market_there: Market | None = None
        """As it was at the block of a saved book, where that could be read."""

    @property
    def is_unproven(self) -> bool:
        """Whether `refutes` is to be asked before the book is believed."""
        return self._unproven is not None

    def take_words(self) -> str:
        """Where the book came from, and how it was proven: told once, as soon as it is; else empty."""
        if self.is_fresh or self.is_unproven:
            return ""
        words, self._words = self._words, ""
        return words

    def take_notices(self) -> list[str]:
        """What a person should hear of the building; asked once."""
        notices, self._back_fill.notices = self._back_fill.notices, []
        return notices

    async def build(self, market: Market, book: Book, head: BlockRef, progress: Progress) -> Built[Market]:
        """Take the newest saved book that the chain does not refute, else build one up to `head`, where the market is this. May
        be cut short at any await and be called again: it goes on from where it got."""
        self.is_fresh = False
        saved = await self._shelf.take_book(book, head)
        while saved is not None and not await self._stands(saved, book):
            saved = await self._shelf.take_book(book, head)
        if saved is None:
            await self._back_fill.run(market, book, head, progress)
            kind = self._back_fill.kind
            self._words, self.is_fresh = kind.value, self._proves and kind is Start.SNAPSHOT
            self._unproven = kind if self._proves and not self.is_fresh else None
        known = self._back_fill.take_known() | self._shelf.take_known()
        missing = frozenset(account for account in known if account not in book)
        if saved is None:
            return Built(market, head.number, saved=False, missing=missing)
        return Built(self._market_there or market, saved.block.number, saved=True, missing=missing)

    async def _stands(self, saved: Checkpoint, book: Book) -> bool:
        """Compare the book just loaded with the chain at its own block; False when the chain refutes it. Where no node has that
        state any more, the head will tell, once the book is there."""
        block = saved.block
        self._words = f"saved at block {block.number}"
        self._unproven = self._market_there = None
        if not self._proves:
            return True
        try:
            market, fits = await self._discovery.find(block, saved.rules)
            why: str | None = f"its rows followed other rules ({saved.rules}) than the market has there"
            if fits:
                answers = await self._chain.read(self._adapter.encode_state(market), block)
                state = self._adapter.decode_state(market, block, answers)
                why = await self._shelf.refutation(saved, market, state, book, block)
        except (BlockUnavailable, MethodUnavailable, RpcFailure, MalformedResponse, MarketError):
            self._unproven = saved
            return True
        if why is not None:
            await self._shelf.refuse(saved, why, book)
            return False
        self._words += ", proven at that block"
        self._market_there = market
        return True

    async def refutes(self, market: Market, state: State, book: Book, head: BlockRef) -> bool:
        """Compare a book that was taken on trust with the chain at `head`, which it stands at now. A book that the chain does
        not confirm is given up."""
        source = self._unproven
        saved = source if isinstance(source, Checkpoint) else None
        why = await self._shelf.refutation(saved, market, state, book, head)
        self._unproven = None
        if why is None:
            self._words += f", proven at block {head.number}"
            return False
        self.give_up(book.accounts(), None)
        if saved is not None:
            await self._shelf.refuse(saved, why, book)
        else:
            self._back_fill.distrust_replay(why, head.number)
        return True

    def was_proven(self, head: BlockRef) -> None:
        """The chain has confirmed a book whose rows were all read from it."""
        if self.is_fresh:
            self._words += f", proven at block {head.number}"
            self.is_fresh = False

    def give_up(self, known: Iterable[Address], searched_block: int | None) -> None:
        """The book is to be built anew; whoever is known is read again. Everybody up to `searched_block` is known; with None
        the search begins at the market's first block."""
        self._back_fill.go_on_from(known, searched_block)
        self._words, self._unproven, self.is_fresh = "", None, False

    def rewind(self, common_block: int, book: Book) -> None:
        """Nothing after `common_block` counts, in what is being built."""
        self._back_fill.rewind(common_block, book)
