"""The liquidation map over a whole market: everything exact, as `keeper map` and `keeper positions --near` compute it.

The yardstick is valuing everybody once, exactly, timed in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.stress.shock import curve, volatile_collateral
from keeper.stress.snapshot import take_snapshot
from keeper.stress.trigger import nearest
from tests.bench.measure import record, say
from tests.bench.synthetic_market import synthetic

SIZES = (10_000, 100_000)
NEAREST = 20
USD = 10**8
IN_SECONDS = 10.0
Answer = TypeVar("Answer")


def main() -> None:
    for borrowers in SIZES:
        measure_size(borrowers)


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    started_s = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - started_s


def measure_size(borrowers: int) -> None:
    made, adapter, size = synthetic(borrowers), AaveV3(), f"{borrowers:,} borrowers"
    state, at_s = made.state, made.state.block.timestamp_s
    rows = list(made.book.positions())
    _, valuing_s = timed(lambda: [adapter.health(state, row, at_s) for row in rows])
    snapshot, snapshot_s = timed(lambda: take_snapshot(adapter, state, rows, at_s))
    near, near_s = timed(lambda: nearest(adapter, snapshot, NEAREST))
    keys = sorted(snapshot.collateral_keys())
    _, alone_s = timed(lambda: [curve(adapter, snapshot, frozenset((key,))) for key in keys])
    joint, joint_s = timed(lambda: curve(adapter, snapshot, volatile_collateral(snapshot, USD)))
    whole_s = snapshot_s + alone_s + joint_s
    say(f"{size}: valuing everybody once takes {valuing_s:.2f} s")
    bench = "liquidation_map"
    record(bench, f"{size}: {NEAREST} nearest", told(snapshot_s + near_s, valuing_s))
    record(
        bench,
        f"{size}: {len(keys)} prices alone, all together, {len(joint.points)} steps",
        told(whole_s, valuing_s),
        f"under {IN_SECONDS:g} s" if borrowers == SIZES[0] else "",
        met=whole_s < IN_SECONDS if borrowers == SIZES[0] else None,
    )
    assert len(near) == NEAREST


def told(seconds: float, valuing_s: float) -> str:
    return f"{seconds:.2f} s, {seconds / valuing_s:.1f}× valuing everybody once"
