"""500 borrowers fall below 1 in one block; a block holds 30 M gas and comes every 2 s: how full does the keeper fill them?

The real contracts on anvil with automine off, a live keeper in this process. Counted on the chain: successful liquidations in
each block after the crash against what a block can hold, failures, borrowers served twice, and whether transactions were mined
in the order of urgency: first by the head that decided, then the larger debt (base currency, at that head), then the lower
address. BENCH_SICK sets another number of borrowers.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from keeper.app.ground import Ground
from keeper.core.errors import KeeperError
from keeper.core.order import Submission
from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from keeper.pipeline.loop import ChainLoop
from keeper.pipeline.round import OUR_FAULT, Round
from tests.bench.crash_bed import crash, crash_bed, live_keeper
from tests.bench.measure import record, say

SICK = int(os.environ.get("BENCH_SICK", "500"))
BLOCK_S = 2
BLOCK_GAS = 30_000_000
PATIENCE_S = 240.0
FULL = 0.9
MOST_FAILED = 0.02


@dataclass
class Witness:
    """Hears every round; what breaks is kept to be told."""

    submitted: list[Submission] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    served: int = 0
    all_served: asyncio.Event = field(default_factory=asyncio.Event)

    def on_round(self, loop: ChainLoop, result: Round) -> None:
        self.submitted += result.submitted
        self.served += len(result.settled)
        if self.served >= SICK:
            self.all_served.set()

    def on_error(self, loop: ChainLoop, error: Exception) -> None:
        self.troubles.append(f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class Mined:
    """One transaction of the keeper's, where it was mined."""

    block: int
    place: int
    succeeded: bool
    gas: int
    submission: Submission


async def measured() -> tuple[int, list[Mined], Witness]:
    """The crash's block, what was mined after it, and what the keeper said."""
    with tempfile.TemporaryDirectory(prefix="keeper-bench-") as folder:
        async with (
            crash_bed(SICK, 0) as bed,
            live_keeper(bed, Path(folder), block_time_s=BLOCK_S, inclusion_blocks=4) as (ground, loop, _),
        ):
            await loop.on_head(await ground.client.latest())
            await bed.chain.rpc.request("evm_setAutomine", [False])
            await bed.chain.rpc.request("evm_setIntervalMining", [BLOCK_S])
            witness = Witness()
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(followed(ground, loop, witness))
                await crash(bed)
                crashed_block = await bed.chain.block_number()
                say(f"{SICK} borrowers fall in block {crashed_block}")
                async with asyncio.timeout(PATIENCE_S):
                    await witness.all_served.wait()
                keeper.cancel()
            return crashed_block, await mined_since(bed, crashed_block, witness.submitted), witness


async def followed(ground: Ground, loop: ChainLoop, witness: Witness) -> None:
    """The daemon's loop, without its back-off."""
    async for head in ground.client.heads():
        try:
            witness.on_round(loop, await loop.on_head(head))
        except (KeeperError, *OUR_FAULT) as error:
            witness.on_error(loop, error)


async def mined_since(bed: Bed, crashed_block: int, submitted: Sequence[Submission]) -> list[Mined]:
    by_hash = {
        to_hex(sent.transaction_hash): submission
        for submission in submitted
        for sent in submission.transactions
        if sent.transaction_hash is not None
    }
    found: list[Mined] = []
    for block in range(crashed_block + 1, await bed.chain.block_number() + 1):
        for receipt in await bed.chain.rpc.request("eth_getBlockReceipts", [hex(block)]):
            if receipt["transactionHash"] in by_hash:
                place, gas = int(receipt["transactionIndex"], 16), int(receipt["gasUsed"], 16)
                succeeded = int(receipt["status"], 16) == 1
                found.append(Mined(block, place, succeeded, gas, by_hash[receipt["transactionHash"]]))
    return sorted(found, key=lambda each: (each.block, each.place))


def urgency(submission: Submission) -> tuple[int, int, bytes]:
    plan = submission.order.plan
    return submission.submitted_block, -plan.health_before.debt_base, plan.borrower


def main() -> None:
    crashed_block, mined, witness = asyncio.run(measured())
    median_gas = int(statistics.median(each.gas for each in mined))
    holds = BLOCK_GAS // median_gas
    per_block = Counter(each.block for each in mined if each.succeeded)
    last_block = max(per_block)
    full = [per_block[block] for block in range(crashed_block + 1, last_block)]
    told = " ".join(str(per_block[block]) for block in range(crashed_block + 1, last_block + 1))
    what = f"liquidations in each block after the crash ({SICK} sick; median {median_gas} gas, a block holds {holds})"
    record("mass_event", what, told)
    fullness = min(full, default=per_block[last_block]) / holds
    record(
        "mass_event",
        "least of any block before the last ÷ what it holds",
        f"{fullness:.2f}",
        "0.90",
        met=fullness >= FULL,
    )
    failed = sum(not each.succeeded for each in mined) / len(mined)
    record("mass_event", "failed", f"{100 * failed:.1f} %", "2 %", met=failed < MOST_FAILED)
    attempts = {each.submission.order.attempt: each.submission.order.borrower for each in mined}
    served = Counter(attempts.values())
    twice = sum(times > 1 for times in served.values())
    record("mass_event", f"borrowers served twice, of {len(served)}", str(twice), "0", met=twice == 0)
    order = [urgency(each.submission) for each in mined]
    swapped = sum(later < earlier for earlier, later in pairwise(order))
    record("mass_event", "mined out of the order of urgency", str(swapped), "0", met=swapped == 0)
    if witness.troubles:
        say("troubles: " + "; ".join(witness.troubles[:10]))


if __name__ == "__main__":
    main()
