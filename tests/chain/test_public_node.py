"""A chain followed through a proxy with the manners of a free public endpoint: nothing is missed, nothing is invented."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from random import Random
from typing import cast

from keeper.chain.adaptive import AdaptiveSize
from keeper.chain.endpoints import Endpoints
from keeper.chain.header_chain import HeaderChain
from keeper.chain.heads import heads
from keeper.chain.line import Endpoint, Exchange
from keeper.chain.logs import read_block_logs, read_logs
from keeper.chain.reads import PinnedReads
from keeper.core.block import BlockRef, Call, Log
from tests.chain.bench import CHAIN_ID, LOGS, NUMBER, Bench
from tests.faults import FaultProxy, Manners

PUBLIC = Manners(
    calls_per_s=10, retry_after="1", batches=False, max_log_range=500, state_depth=128, hung_up_every=13, delay_s=0.01
)
STEPS = 15


async def _step(bench: Bench, random: Random, word: int) -> None:
    """Something happens on the chain."""
    kind = random.choice(("log", "log", "logs", "mine", "reorg", "rollback"))
    if kind == "log":
        await bench.log(word)
    elif kind == "logs":
        await bench.log_in_one_block([word, word + 1, word + 2])
    elif kind == "mine":
        await bench.mine(random.randint(1, 5))
    elif kind == "reorg":
        await bench.reorg(random.randint(1, 3))
        await bench.log(word)
    else:
        await bench.rollback(1)
        await bench.log_in_one_block([word])


class Follower:
    """The least that a book does: logs by block, unwound to the common ancestor."""

    def __init__(self, rpc: Endpoints, start: BlockRef, logs: list[Log]) -> None:
        self._rpc = rpc
        self._headers = HeaderChain(rpc, start)
        self._reads = PinnedReads(rpc)
        self.logs = logs

    async def follow(self, head: BlockRef) -> None:
        extension = await self._headers.extend(head)
        self.logs = [log for log in self.logs if log.block_number <= extension.ancestor.number]
        self.logs += await read_block_logs(self._rpc, LOGS, extension.added)
        [number] = await self._reads.read([Call(NUMBER, b"")], head)
        assert int.from_bytes(number.returndata) == head.number


async def test_nothing_is_missed_through_a_public_endpoint(bench: Bench) -> None:
    random = Random(11)
    for word in range(30):
        await bench.log(1_000 + word)
        await bench.mine(40)
    seen: list[Exchange] = []
    async with FaultProxy(bench.url, PUBLIC) as proxy:
        endpoint = Endpoint(proxy.url, timeout_s=2, calls_per_s=9)
        async with Endpoints([endpoint], CHAIN_ID, attempts=6, observer=seen.append) as rpc:
            watch = cast(AsyncGenerator[BlockRef, None], heads(rpc, interval_s=0.05))
            start = await anext(watch)
            caught_up: list[Log] = []
            async for chunk in read_logs(rpc, LOGS, 0, start, span=AdaptiveSize(10_000)):
                caught_up += chunk.logs
            assert len(caught_up) == 30
            follower = Follower(rpc, start, caught_up)
            for step in range(STEPS):
                await _step(bench, random, 10 * step)
                await follower.follow(await anext(watch))
            await watch.aclose()
            proxy.assert_none("eth_send")
    last = await bench.head()
    [truth] = [chunk.logs async for chunk in read_logs(bench.node, LOGS, 0, last)]
    assert tuple(follower.logs) == truth
    assert {each.error for each in seen} >= {None, "RpcUnreachable"}
