"""The rate of a back-fill, by search and by replay, against the bare time to fetch and parse the same logs."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

from keeper.app.parts import NullCheckpoints
from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.chain.flight import MOST_IN_FLIGHT
from keeper.chain.jsonrpc import JsonRpc
from keeper.core.block import BlockRef
from keeper.core.checkpoint import Start
from keeper.core.lending import LogFilter
from keeper.core.units import Address, to_hex
from keeper.pipeline.backfill import BackFill
from keeper.pipeline.market import MarketFollower
from keeper.pipeline.progress import unwatched
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from tests.bench import measure
from tests.bench.synthetic_aave import CHAIN_ID, PROVIDER, Size
from tests.bench.synthetic_node import synthetic_node

SIZE = Size(borrowers=20_000, blocks=20_000)
SPAN = 200
"""Blocks a query, so that an answer is near the length that answers are kept to."""
ROUNDS = 3


async def first_block(entry: Address) -> int:
    return 1


async def bare(url: str, log_filter: LogFilter, to: BlockRef) -> tuple[float, int]:
    """Seconds to fetch and parse all logs of the filter with as many requests in flight, and nothing else; and how many."""
    criteria = {
        "address": [to_hex(address) for address in log_filter.addresses],
        "topics": [[to_hex(topic) for topic in log_filter.topics]],
    }
    spans = [(first, min(first + SPAN - 1, to.number)) for first in range(1, to.number + 1, SPAN)][::-1]
    count = 0

    async def fetch(session: aiohttp.ClientSession) -> None:
        nonlocal count
        while spans:
            first, last = spans.pop()
            wanted = {**criteria, "fromBlock": hex(first), "toBlock": hex(last)}
            body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [wanted]}
            async with session.post(url, json=body) as answer:
                found = json.loads(await answer.read())["result"]
                count += len(found)

    begun_s = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(fetch(session) for _ in range(MOST_IN_FLIGHT)))
    return time.perf_counter() - begun_s, count


async def back_fill(url: str, way: Start, log_filter: LogFilter) -> float:
    """Seconds until every borrower is known, or every row is replayed; reading rows is not counted."""
    async with JsonRpc(url) as rpc:
        client = ChainClient(rpc, poll_s=1, fee_cap_wei=1, priority_percentile=50, log_span=SPAN)
        follower: MarketFollower[Market, State] = MarketFollower(
            client, "bench", AaveV3(), PROVIDER, NullCheckpoints(), first_block, chain_id=CHAIN_ID, start=way
        )
        head = await read_header(rpc, "latest")
        await client.extend(head)
        found: BackFill[Market, State] = follower._building._back_fill
        follower._market, _ = await follower._discovery.find(head, None)
        begun_s = time.perf_counter()
        await found._begin(follower.book, head, 0)
        await found._each_chunk(log_filter, follower.market, follower.book, head, unwatched)
        took_s = time.perf_counter() - begun_s
        assert len(found.borrowers) == SIZE.borrowers
        assert len(follower.book) == (SIZE.borrowers if way is Start.LOGS else 0)
    return took_s


async def run() -> None:
    async with synthetic_node(SIZE) as url, JsonRpc(url) as rpc:
        head = await read_header(rpc, "latest")
        client = ChainClient(rpc, poll_s=1, fee_cap_wei=1, priority_percentile=50)
        adapter = AaveV3()
        market = await client.drive(adapter.discover(PROVIDER), head)
        filters = {Start.SNAPSHOT: adapter.borrower_filter(market), Start.LOGS: adapter.log_filter(market)}
        for way, log_filter in filters.items():
            rounds, count = [], 0
            for _ in range(ROUNDS):
                bare_s, count = await bare(url, log_filter, head)
                rounds.append((await back_fill(url, way, log_filter), bare_s))
            ours_s, bare_s = (sorted(column)[ROUNDS // 2] for column in zip(*rounds, strict=True))
            ratio = sorted(ours / alone for ours, alone in rounds)[ROUNDS // 2]
            name = {Start.SNAPSHOT: "search for borrowers", Start.LOGS: "replay of every log"}[way]
            what = f"{name}, {count:,} logs in {head.number:,} blocks"
            measure.record("backfill", what, f"{count / ours_s:,.0f} logs/s")
            measure.record(
                "backfill", f"{name} / bare fetch and parse ({count / bare_s:,.0f} logs/s)", f"{ratio:.2f} ×"
            )


def main() -> None:
    asyncio.run(run())
