"""From a head with a crash to signed orders: own time, trips, and how near that is to the bare requests.

4,000 borrowers of the real contracts (BENCH_BORROWERS sets another number; with 10,000, blocks of this node take so long that
it may time out itself); ether falls and 5 % are below 1. Measured on the head that shows it, several times over:
after each the sick are restored, and ether falls again. Own time is the processor time of the loop's thread: it counts what
is done while a request is out, too. With 20 ms added to every exchange, the first order's time on the wall is set
against the same exchanges replayed bare, in the same order of dependency.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keeper.app.ground import Ground
from keeper.chain.jsonrpc import JsonRpc
from keeper.devnet.market import Bed
from keeper.pipeline.loop import ChainLoop
from tests.bench.crash_bed import Trip, Trips, awaiting_s, crash, crash_bed, live_keeper, signatures, stages
from tests.bench.measure import record, say

BORROWERS = int(os.environ.get("BENCH_BORROWERS", "4000"))
SICK = BORROWERS // 20
ROUNDS = 4
ADDED_S = 0.02
MOST_HEADS = 100


@dataclass(frozen=True, slots=True)
class Reaction:
    """One head with a crash."""

    first_own_s: float
    first_wall_s: float
    first_awaiting_s: float
    each_further_own_s: float
    orders: int
    stages: tuple[int, ...]
    """Exchanges before the first signature, by how many answers they had to wait for."""
    bare_s: float
    """The same exchanges, replayed."""


async def measured() -> tuple[list[Reaction], list[Reaction]]:
    """Without and with the added delay."""
    with tempfile.TemporaryDirectory(prefix="keeper-bench-") as folder:
        async with (
            crash_bed(SICK, BORROWERS - SICK) as bed,
            live_keeper(bed, Path(folder), inclusion_blocks=24) as (ground, loop, _),
        ):
            say(f"{len(bed.openings)} borrowers are open")
            await loop.on_head(await ground.client.latest())
            await reaction(bed, ground, loop, 0.0)  # the first touches code and connections for the first time
            plain = [await reaction(bed, ground, loop, 0.0) for _ in range(ROUNDS)]
            slow = [await reaction(bed, ground, loop, ADDED_S) for _ in range(ROUNDS)]
            return plain, slow


async def reaction(bed: Bed, ground: Ground, loop: ChainLoop, delay_s: float) -> Reaction:
    await crash(bed)
    await bed.chain.rpc.request("evm_setAutomine", [False])
    head = await ground.client.latest()
    with Trips(delay_s).watched() as trips, signatures() as signed:
        wall_s, own_s = time.perf_counter(), time.thread_time()
        await loop.on_head(head)
    before = trips.before(signed[0].wall_s, wall_s)
    result = Reaction(
        signed[0].own_s - own_s,
        signed[0].wall_s - wall_s,
        awaiting_s(before),
        (signed[-1].own_s - signed[0].own_s) / max(1, len(signed) - 1),
        len(signed),
        tuple(len(stage) for stage in stages(before)),
        await replayed(bed.url, stages(before), delay_s),
    )
    await worked_off(bed, ground, loop)
    return result


async def replayed(url: str, levels: Sequence[Sequence[Trip]], delay_s: float) -> float:
    """How long the same exchanges take when nothing is done between them: the best of a few."""

    async def again(client: JsonRpc, trip: Trip) -> None:
        await asyncio.sleep(delay_s)
        await client._post(trip.body, trip.what, None)

    times = []
    async with JsonRpc(url) as client:
        await client.request("eth_chainId")
        for _ in range(3):
            start_s = time.perf_counter()
            for level in levels:
                await asyncio.gather(*(again(client, trip) for trip in level))
            times.append(time.perf_counter() - start_s)
    return min(times)


async def worked_off(bed: Bed, ground: Ground, loop: ChainLoop) -> None:
    """Everybody is restored and told, and the chain mines by itself again. Whoever is left has an attempt under way when the
    next crash comes, and gets its order only once that is settled: no reaction to the crash."""
    for _ in range(MOST_HEADS):
        await bed.chain.rpc.request("evm_mine")
        result = await loop.on_head(await ground.client.latest())
        if not loop.open and not result.standings:
            break
    else:
        raise RuntimeError(f"{len(loop.open)} attempts are still open after {MOST_HEADS} heads")
    await bed.chain.rpc.request("evm_setAutomine", [True])
    await loop.on_head(await ground.client.latest())


def main() -> None:
    plain, slow = asyncio.run(measured())
    orders = statistics.median(each.orders for each in plain)
    what = f"{BORROWERS} borrowers, {SICK} sick, {orders:.0f} orders at the first head"
    first_ms = 1_000 * statistics.median(each.first_own_s for each in plain)
    record("latency", f"head → first order signed, own p50 ({what})", f"{first_ms:.1f} ms", "10 ms", met=first_ms <= 10)
    further_ms = 1_000 * statistics.median(each.each_further_own_s for each in plain)
    record("latency", "each further order, own p50", f"{further_ms:.2f} ms", "3 ms", met=further_ms <= 3)
    wall_ms = 1_000 * statistics.median(each.first_wall_s for each in plain)
    waited_ms = 1_000 * statistics.median(each.first_awaiting_s for each in plain)
    record("latency", "the same on the wall, of that awaiting the node", f"{wall_ms:.1f} ms, {waited_ms:.1f} ms")
    deepest = max(len(each.stages) for each in [*plain, *slow])
    shapes = ", ".join(sorted({"+".join(map(str, each.stages)) for each in slow}))
    record("latency", f"sequential trips before signing ({shapes} exchanges)", str(deepest), "2", met=deepest <= 2)
    ratio = statistics.median(each.first_wall_s / each.bare_s for each in slow)
    bare_ms = 1_000 * statistics.median(each.bare_s for each in slow)
    record(
        "latency",
        f"first order with {1_000 * ADDED_S:.0f} ms more per exchange ÷ bare replay ({bare_ms:.0f} ms), p50",
        f"{ratio:.2f} ×",
        "1.3 ×",
        met=ratio <= 1.3,
    )


if __name__ == "__main__":
    main()
