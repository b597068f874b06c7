"""Everybody of one market against the chain at one block, once: what `keeper audit` does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from keeper.concurrency import Group
from keeper.core.block import BlockRef
from keeper.core.differences import Difference
from keeper.core.errors import Defect
from keeper.core.units import Address
from keeper.pipeline.audit import Compared, compare
from keeper.pipeline.market import Advance, MarketFollower
from keeper.pipeline.progress import Progress, unwatched
from keeper.pipeline.tasks import leading_error
from keeper.pipeline.verify import Verification
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

ROWS_PER_READ = 50
IN_FLIGHT = 4
RULES_SAMPLE = 50
"""Accounts by which the rules are chosen where the market's functions allow several."""


class UnprovenFollower(MarketFollower[Market, State]):
    """Takes a saved book as it is and proves nothing: what is to be audited must not be mended first."""

    proves = False

    async def advance(self, head: BlockRef, progress: Progress = unwatched) -> Advance:
        """Rows that changed code made doubtful are read again, as a keeper would; those that are plainly wrong stay wrong."""
        result = await super().advance(head, progress)
        self.trust.wanted.doubted.difference_update({each.difference.borrower for each in result.mismatches})
        return result

    async def _verify(self, head: BlockRef, result: Advance) -> Verification | None:
        return None


@dataclass(frozen=True, slots=True)
class MarketAudit:
    """What was compared at one block, and every difference."""

    chain: str
    market: Address
    block: BlockRef
    rules: str
    accounts: int
    """Every row of the book."""
    borrowers: int
    """Those of them that owe."""
    unvalued: int
    """Accounts that our rules do not value here, a price being missing: their rows alone were compared."""
    reserves: int
    differences: tuple[Difference, ...]
    took_s: float


async def audit_all(
    follower: MarketFollower[Market, State], chain: Chain, told: Callable[[int, int], None]
) -> MarketAudit:
    """Compare every row with its valuation, and every reserve's totals and indexes, at the block that the book stands at.
    Raises `ChainError`: what could not be read leaves no verdict. `told` hears accounts done and accounts in all."""
    block = follower.applied
    if block is None:
        raise Defect("a market is audited after it was followed")
    started_s = time.perf_counter()
    market, state = await _likeliest(follower, chain, block)
    adapter, book = follower.adapter, follower.book
    total, done = len(book), 0

    async def part(accounts: Sequence[Address], reserve_ids: Sequence[int] = ()) -> Compared:
        nonlocal done
        async with gate:
            rows = [book.position(account) for account in accounts]
            found = await compare(chain, adapter, market, state, book, rows, reserve_ids, block)
        done += len(rows)
        told(done, total)
        return found

    gate = asyncio.Semaphore(IN_FLIGHT)
    reserve_ids = adapter.reserve_ids(market)
    accounts = sorted(book.accounts())
    parts = [part(accounts[start : start + ROWS_PER_READ]) for start in range(0, total, ROWS_PER_READ)]
    try:
        async with Group() as group:
            tasks = [group.create_task(each) for each in (*parts, part((), reserve_ids))]
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None
    compared = [task.result() for task in tasks]
    return MarketAudit(
        chain=follower.chain_name,
        market=follower.entry,
        block=block,
        rules=adapter.rules_name(market),
        accounts=total,
        borrowers=book.borrowers,
        unvalued=sum(each.unvalued for each in compared),
        reserves=len(reserve_ids),
        differences=tuple(difference for each in compared for difference in each.differences),
        took_s=time.perf_counter() - started_s,
    )


async def _likeliest(follower: MarketFollower[Market, State], chain: Chain, block: BlockRef) -> tuple[Market, State]:
    """The market under the rules that recompute a sample best, with its state under them."""
    adapter = follower.adapter
    candidates = adapter.candidates(follower.market)
    reads = await follower.reader.read(follower.market, block, block.timestamp_s)
    states = [follower.reader.decode(market, block, reads) for market in candidates]
    if len(candidates) == 1:
        return candidates[0], states[0]
    rows = follower.book.sample(RULES_SAMPLE, block.number)
    wrong = []
    for market, state in zip(candidates, states, strict=True):
        compared = await compare(chain, adapter, market, state, follower.book, rows, (), block)
        wrong.append(len(compared.differences))
    best = wrong.index(min(wrong))
    return candidates[best], states[best]
