"""How soon a new block is in our hands: announced over IPC or a WebSocket, or asked for."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import cast

from keeper.chain.announced import Announcements
from keeper.chain.heads import heads
from keeper.chain.sockets import IpcAddress, SocketAddress, WebSocketAddress
from keeper.core.block import BlockRef
from tests.bench.measure import record
from tests.chain.bench import CHAIN_ID, Bench, running_bench
from tests.faults import FaultProxy
from tests.socket_faults import SocketProxy

BLOCKS = 100
POLL_S = 0.5
"""Half the block time of a fast chain."""


async def seen_after_ms(bench: Bench, *addresses: SocketAddress) -> tuple[list[float], int]:
    """Milliseconds from the order to mine to the head, for each block; and how many requests all of it took."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(bench.url))
        rpc = await stack.enter_async_context(bench.endpoints(proxy.url))
        announced = Announcements(addresses, CHAIN_ID) if addresses else None
        if announced is not None:
            await stack.enter_async_context(announced.followed())
        watch = cast(
            AsyncGenerator[BlockRef, None], heads(rpc, interval_s=POLL_S, quiet_after_s=60, announced=announced)
        )
        stack.push_async_callback(watch.aclose)
        while announced is not None and announced.latest is None:
            await bench.mine()
            await asyncio.sleep(0.05)
        head, newest = await anext(watch), await bench.head()
        rng, took_ms, asked = random.Random(1), [], proxy.http_requests
        for _ in range(BLOCKS if addresses else BLOCKS // 5):
            await asyncio.sleep(0.01 if addresses else rng.uniform(0, POLL_S))
            begun_s = time.perf_counter()
            await bench.node.request("evm_mine")
            while head.number <= newest.number:
                head = await anext(watch)
            took_ms.append((time.perf_counter() - begun_s) * 1_000)
            newest = head
        return took_ms, proxy.http_requests - asked


async def measured() -> None:
    async with running_bench() as bench, SocketProxy(bench.url) as sockets:
        ways: dict[str, tuple[SocketAddress, ...]] = {
            "WebSocket": (WebSocketAddress(bench.url.replace("http", "ws")),),
            "WebSocket through a proxy": (WebSocketAddress(sockets.url),),
            "IPC through a proxy": (IpcAddress(sockets.ipc_path),),
            f"asked for every {POLL_S:g} s": (),
        }
        for way, addresses in ways.items():
            took_ms, asked = await seen_after_ms(bench, *addresses)
            worst_ms = sorted(took_ms)[int(0.95 * len(took_ms))]
            record(
                "heads",
                f"{way}: mined until seen, p50 / p95",
                f"{statistics.median(took_ms):.1f} / {worst_ms:.1f} ms, {asked / len(took_ms):.1f} requests a head",
            )


def main() -> None:
    asyncio.run(measured())
