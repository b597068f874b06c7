"""What a start finds in the store: a saved book, compared with the chain before it is believed, or a back-fill cut short."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keeper.book.book import Book
from keeper.book.snapshot import load_packed, pack_book
from keeper.core.block import BlockRef
from keeper.core.checkpoint import CHECKPOINT_FORMAT, Checkpoint, Stage
from keeper.core.differences import Difference, in_words
from keeper.core.errors import BlockUnavailable, Defect, MalformedResponse
from keeper.core.lending import BalanceChange, LendingAdapter
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.pipeline.audit import compare
from keeper.ports import Chain, Checkpoints

Market = TypeVar("Market")
State = TypeVar("State")

FEW_BLOCKS = 16
MOST_WAITS = 8
"""A node may be behind the one that was read before a restart. A book that is so far ahead is waited for at so many heads:
building another takes longer."""
SAMPLE = 500
"""Random rows of a saved book that must equal the chain's, besides all indexes and totals."""
ADDRESS_BYTES = 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose books these are."""

    chain: str
    chain_id: int
    market: Address
    protocol: str


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a back-fill came."""

    stage: Stage
    block: BlockRef
    borrowers: frozenset[Address]
    moved: tuple[Address, ...]
    """Contracts that have moved something in a replay."""


class Shelf(Generic[Market, State]):
    """The checkpoints of one market. Packing and loading a large book takes a second: they leave the event loop to the others,
    and nobody writes to the book meanwhile."""

    def __init__(
        self, chain: Chain, adapter: LendingAdapter[Market, State], checkpoints: Checkpoints, identity: Identity
    ) -> None:
        self.known: set[Address] = set()
        """Accounts of books that could not be used: they stay known."""
        self._waits_left = MOST_WAITS
        self._chain = chain
        self._adapter = adapter
        self._checkpoints = checkpoints
        self._identity = identity

    def take_known(self) -> set[Address]:
        """Handed over to whoever watches them from now on."""
        known, self.known = self.known, set()
        return known

    # -- books ---------------------------------------------------------------------------------------------------

    async def take_book(self, book: Book, head: BlockRef) -> Checkpoint | None:
        """Load the newest saved book whose block is on the chain of `head`; None when there is none. Not yet to be believed:
        see `refutation`. Raises `BlockUnavailable` while the node is a few blocks behind it."""
        for checkpoint in await self._fitting():
            if checkpoint.stage is not Stage.BOOK:
                continue
            ahead = checkpoint.block.number - head.number
            if 0 < ahead <= FEW_BLOCKS and self._waits_left:
                self._waits_left -= 1
                raise BlockUnavailable(
                    f"the book was saved at block {checkpoint.block.number}, the node is {ahead} behind"
                )
            there = await self._is_below(head, checkpoint.block)
            # A book that is not used must not touch the other, which a back-fill may be half way through.
            loaded = book if there else Book(_follows_nothing)
            try:
                await asyncio.to_thread(load_packed, loaded, checkpoint.rows, checkpoint.block.number)
            except MalformedResponse as error:
                await self._checkpoints.set_aside(checkpoint, str(error))
                continue
            if there:
                return checkpoint
            self.known |= set(loaded.accounts())
        return None

    async def refutation(
        self, checkpoint: Checkpoint | None, market: Market, state: State, book: Book, block: BlockRef
    ) -> str | None:
        """Why the book is wrong, by what the chain says at `block`, which book and state stand at; None when all indexes,
        totals and a sample of rows are equal. The checkpoint is the one that the book came from, if it did."""
        found = [] if checkpoint is None else self._index_differences(checkpoint, market, state, block)
        if not found:
            rows = book.sample(SAMPLE, int.from_bytes(block.hash[:8]))
            reserves = self._adapter.reserve_ids(market)
            compared = await compare(self._chain, self._adapter, market, state, book, rows, reserves, block)
            found = list(compared.differences)
        return f"at block {block.number}: {in_words(found)}" if found else None

    def _index_differences(
        self, checkpoint: Checkpoint, market: Market, state: State, block: BlockRef
    ) -> list[Difference]:
        """The indexes that were saved against the chain's: equal at the same block, later not lower: none ever falls."""
        saved = _facts(checkpoint).get("indexes_ray", {})
        found: list[Difference] = []
        for reserve_id in self._adapter.reserve_ids(market):
            now = self._adapter.indexes_ray(state, reserve_id, block.timestamp_s)
            if str(reserve_id) not in saved:
                if block == checkpoint.block:
                    found.append(Difference("saved_debt_index_ray", None, reserve_id, None, now[1]))
                continue  # listed since
            then = tuple(map(int, saved[str(reserve_id)]))
            right = now == then if block == checkpoint.block else all(a >= b for a, b in zip(now, then, strict=True))
            if not right:
                found.append(Difference("saved_debt_index_ray", None, reserve_id, then[1], now[1]))
        return found

    async def refuse(self, checkpoint: Checkpoint, why: str, book: Book) -> None:
        """Its rows are not believed; its accounts stay known."""
        self.known |= set(book.accounts())
        await self._checkpoints.set_aside(checkpoint, why)

    async def save_book(self, market: Market, state: State, book: Book, block: BlockRef) -> bool:
        """As of `block`, which book and state stand at. False when the disk takes nothing now."""
        indexes = {
            str(reserve_id): list(map(str, self._adapter.indexes_ray(state, reserve_id, block.timestamp_s)))
            for reserve_id in self._adapter.reserve_ids(market)
        }
        facts = {"indexes_ray": indexes}
        return await self._save(Stage.BOOK, market, block, facts, rows=await asyncio.to_thread(pack_book, book))

    # -- marks ---------------------------------------------------------------------------------------------------

    async def newest_mark(self, book: Book, head: BlockRef) -> Mark | None:
        """Of a back-fill that was cut short, and its rows into the book if it has any; its block is on the chain of `head`.
        Borrowers of the others stay known."""
        for checkpoint in await self._fitting():
            if checkpoint.stage is Stage.BOOK:
                continue
            try:
                mark = _mark(checkpoint)
                if checkpoint.stage is not Stage.SEARCH:
                    await asyncio.to_thread(load_packed, book, checkpoint.rows, checkpoint.block.number)
            except (ValueError, MalformedResponse) as error:
                await self._checkpoints.set_aside(checkpoint, f"{type(error).__name__}: {error}")
                continue
            if await self._is_below(head, checkpoint.block):
                return mark
            self.known |= mark.borrowers
        return None

    async def refuse_marks(self, why: str) -> None:
        """None of them is gone on from; their borrowers stay known."""
        for checkpoint in await self._fitting():
            if checkpoint.stage is Stage.BOOK:
                continue
            try:
                self.known |= _mark(checkpoint).borrowers
            except ValueError as error:
                why = f"{why}; {type(error).__name__}: {error}"
            await self._checkpoints.set_aside(checkpoint, why)

    async def save_mark(
        self,
        stage: Stage,
        block: BlockRef,
        borrowers: Collection[Address],
        moved: Collection[Address],
        market: Market,
        book: Book,
    ) -> bool:
        """How far a back-fill came: as of `block`, which the book stands at unless it is a search."""
        facts = {"moved": sorted(map(to_hex, moved))}
        packed = b"" if stage is Stage.SEARCH else await asyncio.to_thread(pack_book, book)
        known = await asyncio.to_thread(lambda: b"".join(sorted(borrowers)))
        return await self._save(stage, market, block, facts, borrowers=known, rows=packed)

    # -- both ----------------------------------------------------------------------------------------------------

    async def _is_below(self, head: BlockRef, block: BlockRef) -> bool:
        """Whether the block is on the chain of `head`. Raises `BlockUnavailable` where the node that answers does not follow
        that chain: what was saved is neither believed nor given up by the word of another."""
        return block.number <= head.number and (await self._chain.ancestor(block.number, head)).hash == block.hash

    async def _fitting(self) -> list[Checkpoint]:
        """Those of this chain and protocol, newest first; the others are set aside."""
        fitting = []
        for checkpoint in await self._checkpoints.load(self._identity.chain, self._identity.market):
            why = self._foreign(checkpoint)
            if why is None:
                fitting.append(checkpoint)
            else:
                await self._checkpoints.set_aside(checkpoint, why)
        return fitting

    def _foreign(self, checkpoint: Checkpoint) -> str | None:
        if checkpoint.chain_id != self._identity.chain_id:
            return f"it is of chain id {checkpoint.chain_id}, this chain's is {self._identity.chain_id}"
        if checkpoint.market != self._identity.market:
            return f"it is of market {to_hex(checkpoint.market)}"
        if checkpoint.protocol != self._identity.protocol:
            return f"it is of protocol {checkpoint.protocol!r}, this market's is {self._identity.protocol!r}"
        return None

    async def _save(
        self,
        stage: Stage,
        market: Market,
        block: BlockRef,
        facts: dict[str, Any],
        borrowers: bytes = b"",
        rows: bytes = b"",
    ) -> bool:
        of = self._identity
        rules = self._adapter.rules_name(market)
        return await self._checkpoints.save(
            Checkpoint(
                chain=of.chain,
                chain_id=of.chain_id,
                market=of.market,
                protocol=of.protocol,
                rules=rules,
                format=CHECKPOINT_FORMAT,
                stage=stage,
                block=block,
                facts=json.dumps(facts, separators=(",", ":")),
                borrowers=borrowers,
                rows=rows,
            )
        )


def _follows_nothing(change: BalanceChange, previous_scaled: int) -> int:
    raise Defect("a book that is only looked into was asked to follow a log")


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(checkpoint.facts)
    return facts


def _mark(checkpoint: Checkpoint) -> Mark:
    packed = checkpoint.borrowers
    if len(packed) % ADDRESS_BYTES:
        raise ValueError(f"{len(packed)} bytes are no list of addresses")
    borrowers = frozenset(Address(packed[at : at + ADDRESS_BYTES]) for at in range(0, len(packed), ADDRESS_BYTES))
    moved = tuple(address_from_hex(text) for text in _facts(checkpoint).get("moved", []))
    return Mark(checkpoint.stage, checkpoint.block, borrowers, moved)
