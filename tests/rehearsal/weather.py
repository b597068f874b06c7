"""A public endpoint's good and bad moments, in front of the node: by turns slow, behind, broken; never generous."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from keeper.devnet.market import Bed
from tests.faults import FaultProxy, Manners
from tests.rehearsal.terms import CALLS_PER_S, LOG_RANGE, STATE_DEPTH

USUAL = Manners(
    delay_s=0.02,
    calls_per_s=CALLS_PER_S,
    retry_after="1",
    batches=False,
    max_log_range=LOG_RANGE,
    state_depth=STATE_DEPTH,
    hung_up_every=97,
)
_BEHIND_BLOCKS = 2


@dataclass
class Traffic:
    """What the daemon asked for, by the second."""

    by_second: Counter[int] = field(default_factory=Counter)
    by_method: Counter[str] = field(default_factory=Counter)
    lowest_range: int | None = None
    """The lowest first block of all log ranges."""
    log_ranges: int = 0

    def hear(self, method: str, params: list[Any]) -> dict[str, Any] | None:
        """An `Override` that never answers."""
        self.by_second[int(time.monotonic())] += 1
        self.by_method[method] += 1
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            first = int(params[0]["fromBlock"], 16)
            self.log_ranges += 1
            self.lowest_range = first if self.lowest_range is None else min(first, self.lowest_range)
        return None


async def weather(proxy: FaultProxy, bed: Bed, seed: int, every_s: float, spells: Counter[str]) -> None:
    """For ever: a while of the usual manners, then a spell of something worse. `spells` counts them."""
    rng = random.Random(f"weather {seed}")
    while True:
        proxy.manners = USUAL
        await asyncio.sleep(every_s * rng.uniform(0.7, 1.3))
        kind = rng.choice(("slow", "slow", "behind", "bad gateway", "cut short"))
        spells[kind] += 1
        if kind == "slow":
            proxy.manners = replace(USUAL, delay_s=1.0)
        elif kind == "behind":
            proxy.manners = replace(USUAL, head_number=await bed.chain.block_number() - _BEHIND_BLOCKS)
        elif kind == "bad gateway":
            proxy.manners = replace(USUAL, status=502)
        else:
            proxy.manners = replace(USUAL, truncated=True)
        await asyncio.sleep(rng.uniform(0.5, 3.0))
