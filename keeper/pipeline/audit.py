"""The book against the chain: a little at every step for as long as the keeper runs, a lot after a repair, all on demand.

One step compares some accounts (every stored number, and every output of the chain's own valuation) and one reserve (its
total debt and collateral, and its indexes at the block's time), all pinned to the block that the book stands at. It costs
at most `CALLS_PER_STEP` calls in one request and comes after the head was acted on, at most once in `STEP_S` of the chain's
time, in `BUSY_STEP_S` while attempts are under way. With 30 reserves that is 15 accounts a step: at blocks of 12 s 10,000
accounts take 2.2 hours, 100,000 take 22 hours, and every reserve is seen every 6 minutes.

A step that takes longer than `STEP_WITHIN_S` is given up, so that the next head does not wait for it, and the next one is half
as large. A read that fails says nothing: its accounts are asked again at the next step.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef, Call
from keeper.core.differences import Difference, health_differences, reserve_differences, row_differences
from keeper.core.lending import Health, LendingAdapter, Position, ReserveTotals, Side
from keeper.core.units import Address
from keeper.pipeline.tasks import Slices, together
from keeper.pipeline.verify import chain_answers
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

STEP_S = 10
BUSY_STEP_S = 60
"""While attempts are under way: the node has better things to do, yet one that hangs must not end the audit."""
CALLS_PER_STEP = 1_000
STEP_WITHIN_S = 1.0
WIDE_SAMPLE = 500
"""Accounts that are compared after a repair, together with every reserve."""
ADDRESS_BYTES = 20


@dataclass(frozen=True, slots=True)
class Compared:
    """What one comparison covered, and what was not the same."""

    differences: tuple[Difference, ...]
    right: tuple[Address, ...]
    """Accounts without a difference."""
    unvalued: int
    """Accounts that nobody can value here, a price being missing: their rows alone were compared."""


class Auditor(Generic[Market, State]):
    """Goes round all accounts and all reserves of one market, over and over."""

    def __init__(self, chain: Chain, adapter: LendingAdapter[Market, State]) -> None:
        self._chain = chain
        self._adapter = adapter
        self._round = b""
        """Addresses of this round, one after the other: 20 bytes each, while objects would take a multiple, and time."""
        self._place = 0
        self._reserve_turn = 0
        self._calls = CALLS_PER_STEP
        self._stepped_s: int | None = None
        self.rounds = 0
        """How often everybody was seen."""

    def is_due(self, block: BlockRef, *, busy: bool) -> bool:
        every_s = BUSY_STEP_S if busy else STEP_S
        return self._stepped_s is None or abs(block.timestamp_s - self._stepped_s) >= every_s

    async def step(self, market: Market, state: State, book: Book, block: BlockRef) -> Compared:
        """Compare the next accounts and the next reserve. Raises `ChainError` or `TimeoutError`; what failed is next again."""
        reserve_ids = self._adapter.reserve_ids(market)
        if self._place >= len(self._round):
            self._begin_round(book, block)
        width = len(self._adapter.encode_position(market, Address(bytes(ADDRESS_BYTES)))) + 1
        bytes_taken = ADDRESS_BYTES * max(1, self._calls // width)
        taken = self._round[self._place : self._place + bytes_taken]
        accounts = [Address(taken[at : at + ADDRESS_BYTES]) for at in range(0, len(taken), ADDRESS_BYTES)]
        rows = [book.position(account) for account in accounts if account in book]
        chosen = [reserve_ids[self._reserve_turn % len(reserve_ids)]] if reserve_ids else []
        self._stepped_s = block.timestamp_s
        try:
            async with asyncio.timeout(STEP_WITHIN_S):
                compared = await compare(self._chain, self._adapter, market, state, book, rows, chosen, block)
        except TimeoutError:
            self._calls = max(1, self._calls // 2)
            raise
        self._calls = min(CALLS_PER_STEP, 2 * self._calls)
        self._place += bytes_taken
        self._reserve_turn += 1
        self.rounds += self._place >= len(self._round) > 0
        return compared

    def _begin_round(self, book: Book, block: BlockRef) -> None:
        """From another account each time, so that a keeper that is restarted often does not see the same ones alone."""
        packed = book.packed_accounts()
        first = ADDRESS_BYTES * random.Random(block.hash).randrange(max(1, len(book)))  # noqa: S311  # no secret
        self._round = packed[first:] + packed[:first]
        self._place = 0

    async def wide(self, market: Market, state: State, book: Book, block: BlockRef) -> Compared:
        """`WIDE_SAMPLE` accounts and every reserve: what a repaired book must pass."""
        rows = book.sample(WIDE_SAMPLE, int.from_bytes(block.hash[:8]))
        reserve_ids = self._adapter.reserve_ids(market)
        return await compare(self._chain, self._adapter, market, state, book, rows, reserve_ids, block)


async def compare(
    chain: Chain,
    adapter: LendingAdapter[Market, State],
    market: Market,
    state: State,
    book: Book,
    rows: Sequence[Position],
    reserve_ids: Sequence[int],
    block: BlockRef,
) -> Compared:
    """Rows, their health and whole reserves against the chain at `block`, which book and state stand at. What is ours is taken
    down before anything is read, in slices: nobody may change the book meanwhile."""
    held = await Slices().run(book.adding_up()) if reserve_ids else {}
    ours = [(row, adapter.health(state, row, block.timestamp_s)) for row in rows]
    indexes = {reserve_id: adapter.indexes_ray(state, reserve_id, block.timestamp_s) for reserve_id in reserve_ids}
    answers, totals = await together(
        chain_answers(chain, adapter, market, rows, block), read_totals(chain, adapter, market, reserve_ids, block)
    )
    differences: list[Difference] = []
    right: list[Address] = []
    unvalued = 0
    for row, health in ours:
        true_row, true_health = answers[row.borrower]
        found = row_differences(row, true_row)
        if not found:
            found = health_differences(row.borrower, health if isinstance(health, Health) else None, true_health)
        unvalued += not isinstance(health, Health)
        differences += found
        if not found:
            right.append(row.borrower)
    for reserve_id in reserve_ids:
        held_scaled = held.get((reserve_id, Side.COLLATERAL), 0), held.get((reserve_id, Side.DEBT), 0)
        differences += reserve_differences(reserve_id, held_scaled, indexes[reserve_id], totals[reserve_id])
    return Compared(tuple(differences), tuple(right), unvalued)


async def read_totals(
    chain: Chain, adapter: LendingAdapter[Market, State], market: Market, reserve_ids: Sequence[int], block: BlockRef
) -> dict[int, ReserveTotals]:
    """What the chain says of each reserve as a whole."""
    per_reserve = [list(adapter.encode_totals(market, reserve_id)) for reserve_id in reserve_ids]
    calls: list[Call] = [call for calls in per_reserve for call in calls]
    results = await chain.read(calls, block) if calls else ()
    totals, cursor = {}, 0
    for reserve_id, calls_of_reserve in zip(reserve_ids, per_reserve, strict=True):
        answered = results[cursor : cursor + len(calls_of_reserve)]
        totals[reserve_id] = adapter.decode_totals(market, reserve_id, answered)
        cursor += len(calls_of_reserve)
    return totals
