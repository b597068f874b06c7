"""A simulated day of the journal: 2,000 borrowers below 1 for ever, none of whom pays, at 7,200 heads of 12 s.

Through the real store, the loop's own recording of standings and the real price function, so that what each standing says
changes with every block, as its profit and its gas do. The second day is a bad one: 50 of them would pay but fail in
simulation, with an error whose numbers change, and 20 times the base fee goes above the cap and comes back.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keeper.core.block import BlockRef
from keeper.core.lending import Health, Pair, Position, Quote
from keeper.core.order import FeeQuote
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Plan, PlannedCall, Window
from keeper.core.profit import price_plan
from keeper.core.units import WAD, Address, Hash32
from keeper.pipeline.round import Round, standing
from keeper.pipeline.standings import Standings
from keeper.store import Store
from tests.bench.measure import record

CHAIN, MARKET, WETH, USDC = "bench", *(Address(bytes([byte]) * 20) for byte in (0xEE, 1, 2))
HEADS, BLOCK_S, BORROWERS = 7_200, 12, 2_000
REVERTING, FEE_SPIKES, SPIKE_HEADS = 50, 20, 5
GAS, FEE_CAP_WEI, NATIVE_BASE = (350_000,), 200 * 10**9, 2_000 * 10**8
WHO = [Address(index.to_bytes(4, "big") * 5) for index in range(BORROWERS)]
ON_DISK_TRIES = 1_000
MOST_GROWTH_BYTES = 1_000_000
"""After the first head: what no longer changes must take no more room."""


@dataclass(frozen=True)
class Day:
    """What a day left on the disk, and what it took to get there."""

    first_head_bytes: int
    last_head_bytes: int
    rows: dict[str, int]
    written_bytes: int
    ms_per_head: float


def block(number: int) -> BlockRef:
    return BlockRef(number, Hash32(number.to_bytes(32, "big")), Hash32(bytes(32)), BLOCK_S * number, None, 30_000_000)


def plan(who: Address, head: BlockRef, received_base: int) -> Plan:
    """One call that gains a little more at each head, and never as much as its gas."""
    health = Health(WAD * 97 // 100, 10**10, 10**10, 0, 8_000, 7_500, 0)
    after = Position(who, {}, {}, frozenset(), 0)
    quote = Quote(10, 10, 5, 0, 5, 10_000_000, received_base, received_base, after, health, 0)
    call = PlannedCall(Pair(0, 1, WETH, USDC, 8_000, 10_500), 10, None, quote, quote)
    window = Window(head.timestamp_s, head.timestamp_s + BLOCK_S)
    return Plan(MARKET, who, head, window, (call,), Verdict.REACHES_TARGET, WAD, health, health)


def judged(head: BlockRef, fees: FeeQuote, *, bad_day: bool) -> Round:
    """Everybody at one head."""
    found = Round(head)
    unprofitable = price_plan(plan(WHO[0], head, 10_500_000 + head.number), GAS, fees, NATIVE_BASE, 0, FEE_CAP_WEI)
    assert isinstance(unprofitable, Skip), "nobody pays"
    failing = Skip(Reason.SIMULATION_REVERTED, f"Failed({head.number}, 0x{head.number:08x})", Verdict.REACHES_TARGET)
    for index, who in enumerate(WHO):
        skip = failing if bad_day and index < REVERTING else unprofitable
        found.standings[MARKET, who] = standing(skip, WAD * 97 // 100 - head.number * 10**9 - index)
    return found


async def simulate(path: Path, *, bad_day: bool, heads: int = HEADS) -> Day:
    rng = random.Random(7)
    starts = rng.sample(range(100, HEADS - 100), FEE_SPIKES) if bad_day else []
    spikes = {start + after for start in starts for after in range(SPIKE_HEADS)}
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    written_before, first_bytes, own_s = written_bytes(), 0, 0.0
    async with Store.open(path, now=lambda: clock[0]) as store:
        standings = Standings(CHAIN, store)
        for number in range(heads):
            clock[0] += timedelta(seconds=BLOCK_S)
            base_fee_wei = 10 * FEE_CAP_WEI if number in spikes else rng.randrange(FEE_CAP_WEI // 4, FEE_CAP_WEI // 2)
            now = judged(block(number), FeeQuote(base_fee_wei, 10**9, 2 * base_fee_wei), bad_day=bad_day)
            started_s = time.perf_counter()
            if number == 0:
                since_s = now.head.timestamp_s
                found = {who: (now.standings[MARKET, who].health_factor_wad, since_s) for who in WHO}
                await store.record(standings.see(MARKET, now.head, found))
            await standings.record(MARKET, now.head, now)
            own_s += time.perf_counter() - started_s
            if number == 0:
                await on_disk(path)
                first_bytes = size_bytes(path)
    return Day(first_bytes, size_bytes(path), counts(path), written_bytes() - written_before, 1_000 * own_s / heads)


async def on_disk(path: Path) -> None:
    """Once everybody's first row is there: the writer works behind the loop."""
    for _ in range(ON_DISK_TRIES):
        if counts(path)["standing"] == len(WHO):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the first head's rows are not on the disk")


def counts(path: Path) -> dict[str, int]:
    with sqlite3.connect(path) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # names of ours
            for table in ("events", "standing", "watches")
        }


def size_bytes(path: Path) -> int:
    """The store with what SQLite keeps beside it, but for the shared memory file."""
    return sum(each.stat().st_size for each in path.parent.glob(path.name + "*") if not each.name.endswith("-shm"))


def written_bytes() -> int:
    """What this process handed to files, by the kernel's count."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def main() -> None:
    for name, bad_day in (("steady day", False), ("bad day", True)):
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(simulate(Path(folder) / "keeper.db", bad_day=bad_day))
        growth = found.last_head_bytes - found.first_head_bytes
        bench = f"journal growth, {name}"
        first = f"{found.first_head_bytes / 1e6:.2f} MB with the first head"
        grown = f"{growth / 1e6:.2f} MB in the {HEADS - 1:,} heads after it"
        record(bench, "store on disk", f"{first}, {grown}", "< 1 MB growth", met=growth < MOST_GROWTH_BYTES)
        record(bench, "rows", ", ".join(f"{count:,} {table}" for table, count in found.rows.items()))
        record(bench, "written to files", f"{found.written_bytes / 1e6:,.0f} MB in the day")
        record(bench, "recording a head", f"{found.ms_per_head:.1f} ms")


if __name__ == "__main__":
    main()
