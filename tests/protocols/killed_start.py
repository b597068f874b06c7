"""Processes that build a book and tell how far they are, until they are killed: `python -m tests.protocols.killed_start`.

One is forked for each line of standard input, so that the imports are paid for once. Each first tells its pid; "ended" follows
its end.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.chain.jsonrpc import JsonRpc
from keeper.core.checkpoint import Start
from keeper.core.units import Address, address_from_hex
from keeper.pipeline import backfill
from keeper.pipeline.market import MarketFollower
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.store import Store

SPAN = 1


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def build(url: str, provider: Address, chain_id: int, start: Start, store_path: Path) -> None:
    async def first_block(entry: Address) -> int:
        return 0

    backfill.MARK_EVERY_S, backfill.MARK_COST = 0.0, 0
    async with JsonRpc(url) as rpc, Store.open(store_path) as store:
        client = ChainClient(rpc, poll_s=1, fee_cap_wei=1, priority_percentile=50, log_span=SPAN)
        follower: MarketFollower[Market, State] = MarketFollower(
            client, "bed", AaveV3(), provider, store, first_block, chain_id=chain_id, start=start
        )
        head = await read_header(rpc, "latest")
        await client.extend(head)
        result = await follower.start(head, lambda first, reached, last: tell(f"{first} {reached} {last}"))
    tell(f"done {result.origin}")


def main() -> None:
    url, provider, chain_id, start, store_path = sys.argv[1:]
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            tell(f"pid {os.getpid()}")
            asyncio.run(build(url, address_from_hex(provider), int(chain_id), Start(start), Path(store_path)))
            return
        os.waitpid(child, 0)
        tell("ended")


if __name__ == "__main__":
    main()
