"""From the head that shows a price update to the first and the last order signed: with and without plans made before it landed.

The real contracts on anvil, a live keeper in this process, a crash that comes as a pending update of the ether feed. The same
fall is played on two fresh chains of the same state, once with the watch on pending updates and once without.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keeper.core.events import Event, Kind
from keeper.core.standing import Standing
from keeper.core.units import Address
from keeper.devnet.state import Recipe, started_bed
from tests.bench import measure
from tests.devnet.updating import Updating, updating

BORROWERS = 300
RUNS = 3
FALLEN_PERCENT = 86


@dataclass
class Run:
    """One fall, in milliseconds from the head on."""

    first_ms: float
    last_ms: float
    own_ms: float
    """Processor time of this process from the head to the end of its round: the node's is not in it."""
    orders: int
    prepared: int
    used: int
    preparing_ms: float = 0.0


@dataclass
class Stopwatch:
    """A journal's ear: when orders were sent."""

    sent_s: list[float] = field(default_factory=list)

    async def record(self, events: Sequence[Event]) -> None:
        self.sent_s += [time.perf_counter() for event in events if event.kind is Kind.SENT]

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        return None


async def fall(scene: Updating, stopwatch: Stopwatch, *, ahead: bool) -> Run:
    answer = await scene.bed.price_base("WETH") * FALLEN_PERCENT // 100
    pending = await scene.announced(scene.pushed.update(scene.bed, answer))
    begun_s = time.perf_counter()
    prepared = await scene.prepare(pending) if ahead else 0
    preparing_ms = 1e3 * (time.perf_counter() - begun_s)
    await scene.bed.chain.mine(1, seconds=2)
    begun_s, busy_s = time.perf_counter(), time.process_time()
    result = await scene.head()
    own_ms = 1e3 * (time.process_time() - busy_s)
    took = [1e3 * (sent_s - begun_s) for sent_s in stopwatch.sent_s]
    orders, used = len(result.submitted), scene.desk.ready.used
    return Run(min(took), max(took), own_ms, orders, prepared, used, preparing_ms)


async def played(*, ahead: bool) -> Run:
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="keeper-bench-") as folder, pytest.MonkeyPatch.context() as patch:
        async with (
            started_bed(Recipe("3.6", BORROWERS)) as bed,
            updating(bed, Path(folder), patch, observer=stopwatch) as scene,
        ):
            return await fall(scene, stopwatch, ahead=ahead)


def main() -> None:
    runs: dict[bool, list[Run]] = {True: [], False: []}
    for _ in range(RUNS):
        for ahead, each in runs.items():
            each.append(asyncio.run(played(ahead=ahead)))
    first = {ahead: statistics.median(run.first_ms for run in each) for ahead, each in runs.items()}
    last = {ahead: statistics.median(run.last_ms for run in each) for ahead, each in runs.items()}
    own = {ahead: statistics.median(run.own_ms for run in each) for ahead, each in runs.items()}
    one = runs[True][-1]
    measure.record("updates", "orders, prepared, prepared and used", f"{one.orders}, {one.prepared}, {one.used}")
    measure.record("updates", "preparing them, ms", f"{statistics.median(run.preparing_ms for run in runs[True]):.0f}")
    for what, figures in (
        ("head to first order sent", first),
        ("head to last order sent", last),
        ("own processor time of that round", own),
    ):
        measure.record(
            "updates",
            f"{what}, ms: prepared, planned at the head",
            f"{figures[True]:.1f}, {figures[False]:.1f} ({figures[True] / figures[False]:.2f}×)",
        )


if __name__ == "__main__":
    main()
