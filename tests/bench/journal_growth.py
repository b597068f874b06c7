"""A simulated day of the journal: 2,000 borrowers below 1 for ever, none of whom pays, at 7,200 heads of 12 s.

Through the real store and the code that turns a head's standings into events and rows. What each standing says changes with every
block, as in the real loop: health, profit and gas in its text. The second table adds what a bad day has: some of them fail in simulation
with an error whose numbers change, and a base fee that crosses the cap now and then. Bytes are those of the store's files after the day.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keeper.core import event_build
from keeper.core.outcome import Reason, Verdict
from keeper.core.standing import Standing
from keeper.core.units import WAD, Address
from keeper.store import Store

CHAIN, MARKET = "bench", Address(b"\xee" * 20)
HEADS, BLOCK_S, BORROWERS = 7_200, 12, 2_000
REVERTING = 50
FEE_SPIKES = 20
BORROWER_IDS = [Address(index.to_bytes(4, "big") * 5) for index in range(BORROWERS)]


@dataclass(frozen=True)
class Day:
    """What a day left on the disk."""

    bytes_total: int
    bytes_first_head: int
    rows: dict[str, int]
    written_bytes: int
    own_s: float


def standings(head: int, gas_base: int, *, bad_day: bool, spike: bool) -> dict[Address, Standing]:
    """Of everybody, at one head."""
    found = {}
    for index, borrower in enumerate(BORROWER_IDS):
        health_wad = WAD * 97 // 100 - head * 10**9 - index
        received, repaid = 10_500_000 + head + index, 10_000_000 + head
        reason, detail = (
            Reason.UNPROFITABLE,
            f"received {received} - repaid {repaid} - gas {gas_base} = {received - repaid - gas_base} base, the least is 0",
        )
        if bad_day and spike:
            reason, detail = Reason.FEE_CAP, f"the next block asks {gas_base * 10**6} wei per gas, the cap is {10**11}"
        elif bad_day and index < REVERTING:
            reason, detail = Reason.SIMULATION_REVERTED, f"Failed({head}, 0x{head:08x})"
        found[borrower] = Standing(reason.value, detail, Verdict.REACHES_TARGET, health_wad)
    return found


def day(seed: int, *, bad_day: bool) -> Iterator[dict[Address, Standing]]:
    rng = random.Random(seed)
    spikes = {start + after for start in rng.sample(range(100, HEADS - 100), FEE_SPIKES) for after in range(5)}
    for head in range(HEADS):
        yield standings(head, rng.randrange(900_000, 9_000_000), bad_day=bad_day, spike=head in spikes)


async def simulate(folder: Path, *, bad_day: bool, heads: int = HEADS) -> Day:
    path = folder / "keeper.sqlite"
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    written_before, first_bytes = written(), 0
    started_s = time.perf_counter()
    async with Store.open(path, now=lambda: clock[0]) as store:
        previous: dict[Address, Standing] = {}
        for head, current in enumerate(day(7, bad_day=bad_day)):
            if head == heads:
                break
            clock[0] += timedelta(seconds=BLOCK_S)
            await store.record(event_build.standing_events(CHAIN, MARKET, head, previous, current))
            await store.record_standing(CHAIN, MARKET, head, current)
            previous = current
            if head == 0:
                await asyncio.sleep(1)  # let the writer's first group reach the disk
                first_bytes = size(path)
    own_s = time.perf_counter() - started_s
    with sqlite3.connect(path) as connection:
        tables = ("events", "standing", "watches")
        rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    return Day(size(path), first_bytes, rows, written() - written_before, own_s)


def size(path: Path) -> int:
    """The store with what SQLite keeps beside it."""
    return sum(each.stat().st_size for each in path.parent.glob(path.name + "*"))


def written() -> int:
    """Bytes that this process handed to files, by the kernel's count."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name, bad_day in (("steady day", False), ("bad day", True)):
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(simulate(Path(folder), bad_day=bad_day))
        print(
            f"{name}: {found.bytes_total / 1e6:.2f} MB after the day, {found.bytes_first_head / 1e6:.2f} MB after its first head;"
            f" rows {found.rows}; {found.written_bytes / 1e6:,.0f} MB written;"
            f" {1000 * found.own_s / HEADS:.1f} ms a head"
        )


if __name__ == "__main__":
    main()
