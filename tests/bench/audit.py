"""`keeper audit` on 10,000 borrowers of the real contracts: how long it takes, and that it finds one wei in one row.

The market is Aave 3.6 on a local anvil, its reserves and positions the devnet's. The book is built as the daemon builds
it; then everybody is compared, once as it is and once with one unit more of debt in one row of the book. The own time is the
processor time of this process: what is left of the wall time is the node's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.lending import Position
from keeper.devnet.positions import open_positions
from keeper.devnet.state import Recipe, started_bed
from keeper.pipeline.audit_all import MarketAudit, audit_all
from tests.bench.measure import record, say
from tests.protocols.following import Following

BORROWERS, PER_PART = 10_000, 500
BENCH = "keeper audit"


@dataclass
class Counting:
    """Passes reads on and counts them."""

    following: Following
    calls: int = 0
    reads: int = 0

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]:
        self.calls += len(calls)
        self.reads += 1
        return await self.following.client.read(calls, block)


def untold(done: int, total: int) -> None:
    return None


def one_wei_more(row: Position) -> Position:
    reserve_id = min(row.debt_scaled)
    debt = {**row.debt_scaled, reserve_id: row.debt_scaled[reserve_id] + 1}
    return Position(row.borrower, row.collateral_scaled, debt, row.collateral_enabled, row.category)


async def measured(following: Following) -> tuple[MarketAudit, Counting, float]:
    """The audit, what it asked, and its own time."""
    counting = Counting(following)
    own_s = time.process_time()
    found = await audit_all(following.follower, counting, untold)  # type: ignore[arg-type]  # reading is all it does
    return found, counting, time.process_time() - own_s


async def run(borrowers: int) -> None:
    say(f"opening {borrowers:,} borrowers")
    async with started_bed(Recipe("3.6")) as bed:
        for seed in range(borrowers // PER_PART):
            await open_positions(bed, PER_PART, seed, {})
        following = Following(bed)
        started_s = time.perf_counter()
        await following.start()
        record(BENCH, "building and verifying the book", f"{time.perf_counter() - started_s:.1f} s")
        found, counting, own_s = await measured(following)
        assert found.borrowers >= borrowers * 99 // 100, "nearly everybody still owes"
        assert not found.differences, found.differences[:3]
        rate = found.accounts / found.took_s
        record(BENCH, f"{found.accounts:,} accounts, {found.reserves} reserves", f"{found.took_s:.1f} s, {rate:,.0f}/s")
        record(BENCH, "of it own time", f"{own_s:.1f} s ({100 * own_s / found.took_s:.0f} %)")
        record(BENCH, "reads", f"{counting.calls:,} calls in {counting.reads:,} exchanges")
        follower = following.follower
        row = random.Random(1).choice(list(follower.book.positions()))
        assert follower.applied is not None
        follower.book.enter(follower.applied.number, [one_wei_more(row)])
        found, _, _ = await measured(following)
        named = [each for each in found.differences if each.borrower == row.borrower]
        right = len(named) == 1 and named[0].ours == (named[0].chain or 0) + 1
        others = [each.what for each in found.differences if each.borrower is None]
        told = f"found in {found.took_s:.1f} s" if right else "not found"
        record(BENCH, "one wei too much in one row", told, "found", met=right and others == ["total_debt_scaled"])
        assert len(found.differences) == len(named) + len(others), "nobody else is named"


def main() -> None:
    asyncio.run(run(BORROWERS))


if __name__ == "__main__":
    main()
