"""How long from a fall that is mined to liquidations that are mined: `python -m tests.devnet.bench_reaction`.

A live daemon on a chain that mines a block a second, 206 borrowers, the demo's crash. Prints, for each fall, how long after
the block with the new prices the first and the last order was handed to the node, and in which block after it they were mined.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.market import Bed
from keeper.devnet.script import set_prices
from keeper.devnet.specials import DEMO_CRASH
from keeper.devnet.state import Recipe, specials_for, started_bed
from tests.devnet.commands import happens
from tests.devnet.daemons import live_daemon, settled
from tests.devnet.keeping import Keeping

BORROWERS = 200
FURTHER_FALLS_PERCENT = (98, 98, 97)


async def main() -> None:
    recipe = Recipe("3.6", BORROWERS, crash=specials_for(DEMO_CRASH))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            started_bed(recipe, AnvilOptions(gas_limit=60_000_000)) as bed,
            live_daemon(bed, Path(folder)) as kept,
        ):
            kept.top["log_level"] = "error"
            async with kept.daemon("--live") as daemon:
                await kept.until("caught_up", count=2)
                prices = dict(DEMO_CRASH)
                await measured(bed, kept, prices)
                for percent in FURTHER_FALLS_PERCENT:
                    prices = {symbol: price * percent // 100 for symbol, price in prices.items()}
                    await measured(bed, kept, prices)
                await daemon.stopped()


async def measured(bed: Bed, kept: Keeping, prices: dict[str, int]) -> None:
    before = kept.events()[-1].seq
    await set_prices(bed, prices)
    known_at = time.time()
    block = await bed.chain.block_number()
    await asyncio.sleep(2)
    await settled(kept)
    await happens(lambda: kept.judged_block() >= block + 4)
    news = [row for row in kept.events() if row.seq > before]
    sent = [datetime.fromisoformat(row.at).timestamp() - known_at for row in news if row.kind == "sent"]
    mined = [(row.block_number or 0) - block for row in news if row.kind == "mined"]
    if not sent:
        sys.stdout.write(f"block {block}: nobody fell\n")
        return
    restored = sum(row.kind == "restored" for row in news)
    sys.stdout.write(
        f"block {block}: {len(sent)} orders, {len(mined)} transactions, {restored} restored;"
        f" handed over {min(sent):.2f} to {max(sent):.2f} s after the prices were mined;"
        f" mined {min(mined)} to {max(mined)} blocks after\n"
    )


if __name__ == "__main__":
    asyncio.run(main())
