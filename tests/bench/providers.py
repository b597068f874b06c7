"""What the pool of endpoints costs, and what a hedged read saves where a provider stalls now and then.

Two servers on loopback answer after 10 ms; the first takes 500 ms for one in fifty requests. The same reads go through the
pool without hedging and with it; and, without any delay, through the pool and through the bare client.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from keeper.chain.endpoints import HEDGED_SHARE, Endpoints
from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.line import Endpoint
from keeper.chain.rpc import Rpc
from tests.bench.measure import record

USUAL_S, STALLED_S = 0.010, 0.5
STALLS_ONE_IN = 50
READS = 1_500
AT_ONCE = 4
BARE_READS = 1_500
CALL = ("eth_call", [{"to": "0x" + "11" * 20, "data": "0x"}, "latest"])


class Server:
    """A node that answers everything alike."""

    def __init__(self, usual_s: float, stalls: bool) -> None:
        self.requests = 0
        self._usual_s = usual_s
        self._stalls = stalls
        self._random = random.Random(7)

    async def answer(self, request: web.Request) -> web.Response:
        entry = await request.json()
        self.requests += 1
        if self._usual_s:
            stalled = self._stalls and self._random.randrange(STALLS_ONE_IN) == 0
            await asyncio.sleep(STALLED_S if stalled else self._usual_s)
        result = "0x1" if entry["method"] == "eth_chainId" else "0x"
        return web.json_response({"jsonrpc": "2.0", "id": entry["id"], "result": result})


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def latencies_s(rpc: Rpc, reads: int, at_once: int) -> list[float]:
    taken_s: list[float] = []

    async def one_after_the_other() -> None:
        for _ in range(reads // at_once):
            begun_s = time.perf_counter()
            await rpc.request(*CALL)
            taken_s.append(time.perf_counter() - begun_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_the_other())
    return taken_s


async def stalling(hedged_share: float) -> tuple[list[float], float]:
    """Latencies, and requests per read."""
    first, second = Server(USUAL_S, stalls=True), Server(USUAL_S, stalls=False)
    async with (
        listening(first) as one,
        listening(second) as two,
        Endpoints([Endpoint(one), Endpoint(two)], 1, hedged_share=hedged_share) as rpc,
    ):
        await rpc.check()
        taken_s = await latencies_s(rpc, READS, AT_ONCE)
    return taken_s, (first.requests + second.requests - 2) / len(taken_s)


async def overhead() -> tuple[float, float]:
    """Median of a read without delay: through the bare client, and through the pool."""
    async with (
        listening(Server(0, stalls=False)) as one,
        listening(Server(0, stalls=False)) as two,
        JsonRpc(one) as bare,
        Endpoints([Endpoint(one), Endpoint(two)], 1) as pool,
    ):
        await pool.check()
        await latencies_s(bare, 200, 1)
        await latencies_s(pool, 200, 1)
        return (
            statistics.median(await latencies_s(bare, BARE_READS, 1)),
            statistics.median(await latencies_s(pool, BARE_READS, 1)),
        )


def at(taken_s: list[float], share: float) -> float:
    return sorted(taken_s)[int(share * (len(taken_s) - 1))]


async def measure() -> None:
    plain_s, _ = await stalling(0)
    hedged_s, requests = await stalling(HEDGED_SHARE)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        before_s, after_s = at(plain_s, share), at(hedged_s, share)
        record(
            "providers",
            f"{name} of a read, one in {STALLS_ONE_IN} stalls: hedged ÷ not",
            f"{after_s / before_s:.2f} ({1e3 * after_s:.1f} ms, {1e3 * before_s:.1f} ms)",
        )
    bound = 1 + HEDGED_SHARE + 0.01
    record("providers", "requests per read, hedged", f"{requests:.3f}", f"at most {bound:.2f}", met=requests <= bound)
    bare_s, pooled_s = await overhead()
    record(
        "providers",
        "a read through the pool ÷ through the bare client, no delay",
        f"{pooled_s / bare_s:.2f} (+{1e6 * (pooled_s - bare_s):.0f} µs)",
    )


def main() -> None:
    asyncio.run(measure())
