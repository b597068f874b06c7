"""A saved book of 100,000 borrowers starts, proven against the chain: all indexes, all totals, 500 random rows."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from keeper.book.book import Book
from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.chain.jsonrpc import JsonRpc
from keeper.core.units import Address
from keeper.pipeline.market import Advance, MarketFollower
from keeper.pipeline.progress import unwatched
from keeper.pipeline.saved import Identity, Shelf
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.store import Store
from tests.bench import measure
from tests.bench.synthetic_aave import CHAIN_ID, PROVIDER, Size, SyntheticMarket, header
from tests.bench.synthetic_node import synthetic_node

BORROWERS = 100_000
BEHIND_BLOCKS = 300
"""The book was saved so long before the head: an hour of Ethereum."""
TARGET_S = 5.0


async def first_block(entry: Address) -> int:
    return 1


async def save(path: Path, size: Size, wrong_by: int = 0) -> int:
    """A store with the whole market's book, as of the last block with logs; how many bytes it takes."""
    made = SyntheticMarket(size)
    block = header(size.blocks)
    adapter = AaveV3()
    book = Book(lambda change, previous: adapter.next_scaled(made.market(), change, previous))
    rows = list(made.rows.values())
    if wrong_by:
        debt = {reserve_id: scaled + wrong_by for reserve_id, scaled in rows[0].debt_scaled.items()}
        rows[0] = replace(rows[0], debt_scaled=debt)
    book.load(rows, block.number)
    async with Store.open(path) as store:
        identity = Identity("bench", CHAIN_ID, PROVIDER, adapter.protocol)
        # The shelf reads nothing while it saves.
        async with JsonRpc("http://127.0.0.1:1") as rpc:
            chain = ChainClient(rpc, poll_s=1, fee_cap_wei=1, priority_percentile=50)
            shelf: Shelf[Market, State] = Shelf(chain, adapter, store, identity)
            assert await shelf.save_book(made.market(), made.state(block), book, block)
    return len(await asyncio.to_thread(path.read_bytes))


async def start(url: str, path: Path) -> tuple[Advance, int]:
    """From nothing to a verified book at the head; and how many it holds."""
    async with JsonRpc(url) as rpc, Store.open(path) as store:
        client = ChainClient(rpc, poll_s=1, fee_cap_wei=1, priority_percentile=50)
        follower: MarketFollower[Market, State] = MarketFollower(
            client, "bench", AaveV3(), PROVIDER, store, first_block, chain_id=CHAIN_ID
        )
        head = await read_header(rpc, "latest")
        await client.extend(head)
        result = await follower.advance(head, unwatched)
        assert result.verified is not None
        return result, len(follower.book)


async def run() -> None:
    size = Size(BORROWERS)
    with tempfile.TemporaryDirectory(prefix="keeper-bench-") as folder:
        path = Path(folder) / "keeper.db"
        stored_bytes = await save(path, size)
        async with synthetic_node(size) as url:
            async with JsonRpc(url) as rpc:
                await rpc.request("synthetic_mine", [BEHIND_BLOCKS])
            times = []
            for _ in range(3):
                begun_s = time.perf_counter()
                result, borrowers = await start(url, path)
                times.append(time.perf_counter() - begun_s)
                assert borrowers == BORROWERS
                assert result.origin.endswith("proven at that block")
    took_s = sorted(times)[1]
    what = f"{BORROWERS:,} borrowers, saved {BEHIND_BLOCKS} blocks ago, proven and at the head"
    measure.record("saved_book", what, f"{took_s:.2f} s", f"under {TARGET_S:g} s", met=took_s < TARGET_S)
    measure.record("saved_book", "store", f"{stored_bytes / BORROWERS:.0f} bytes a borrower")


def main() -> None:
    asyncio.run(run())
