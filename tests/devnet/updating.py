"""A chain's loop head by head under a test's own clock, with a feed whose updates wait in the pool until the test mines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import keeper.app.build
from keeper.app.build import built_chain
from keeper.app.ground import Ground
from keeper.app.keys import KeyRing
from keeper.app.modes import Acting
from keeper.app.parts import ObservedJournal
from keeper.core.block import PendingTransaction
from keeper.core.units import Address
from keeper.devnet.chain import Tx, tx_body
from keeper.devnet.feeds import TRANSMITTER, PushedFeed, push_root
from keeper.devnet.market import Bed
from keeper.pipeline.backrun import UpdateWatch
from keeper.pipeline.desk import Desk
from keeper.pipeline.loop import ChainLoop
from keeper.pipeline.round import Round
from keeper.ports import Journal
from keeper.store import Store
from keeper.telemetry.redact import Redactor
from tests.devnet.inside import Deaf
from tests.devnet.keeping import Keeping, keeping

BLOCK_S = 2
INCLUSION_BLOCKS = 10
PATIENCE_S = 20.0


@dataclass
class Clock:
    """In the place of the module `time`."""

    now_s: float = 0.0

    def time(self) -> float:
        return self.now_s


@dataclass
class Updating:
    """Blocks come when the test says; the keeper's clock is the newest block's."""

    bed: Bed
    kept: Keeping
    ground: Ground
    loop: ChainLoop
    watch: UpdateWatch
    pushed: PushedFeed
    clock: Clock

    @property
    def desk(self) -> Desk:
        [desk] = self.loop.desks
        return desk

    async def head(self) -> Round:
        """The loop sees the newest block."""
        head = await self.ground.client.latest()
        self.clock.now_s = head.timestamp_s
        return await self.loop.on_head(head)

    async def next_head(self) -> Round:
        """One more block, with what waits in the pool."""
        await self.bed.chain.mine(1, seconds=BLOCK_S)
        return await self.head()

    async def announced(self, transaction: Tx) -> PendingTransaction:
        """Send it into the pool; as the node tells of it."""
        targets = self.desk.follower.reader.watch.feeds.updated_by
        async with aclosing(self.ground.client.pending(targets)) as told:
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                first = group.create_task(anext(told))
                while not first.done():
                    await self.bed.chain.rpc.request("eth_sendTransaction", [tx_body(transaction)])
                    await asyncio.sleep(0.3)
            return first.result()

    async def prepare(self, transaction: PendingTransaction) -> int:
        head = self.desk.follower.applied
        assert head is not None
        return await self.watch.prepare(transaction, head)

    def sent(self, result: Round) -> set[Address]:
        return {submission.order.borrower for submission in result.submitted}


@asynccontextmanager
async def updating(
    bed: Bed,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    forwarded: bool = False,
    observer: Journal | None = None,
    transmitter: Address = TRANSMITTER,
    relays: Mapping[str, Any] | None = None,
) -> AsyncIterator[Updating]:
    """Ether is priced by an aggregator behind a proxy, wrapped staked ether by a ratio over that; a live keeper that has
    approved what it needs, and stands at the head."""
    kept = await keeping(bed, folder, funded=True)
    kept.chain = {
        "ws_url": bed.url.replace("http", "ws"),
        "block_time_s": BLOCK_S,
        "inclusion_blocks": INCLUSION_BLOCKS,
    }
    if relays is not None:
        kept.tables["relays"] = dict(relays)
    pushed = await push_root(bed, "WETH", forwarded=forwarded, transmitter=transmitter)
    clock = Clock()
    monkeypatch.setattr(keeper.app.build, "time", clock)
    settings = kept.settings(mode="live")
    chain, acting = settings.chains["devnet"], Acting("live", KeyRing(Redactor()))
    async with (
        Store.open(settings.store) as store,
        built_chain("devnet", settings, chain, acting, store, store, ObservedJournal(store, observer or Deaf())) as (
            ground,
            means,
            loop,
        ),
    ):
        loop.calm.set()
        [desk] = loop.desks
        behind = partial(loop.act_behind, raw_of=ground.client.raw) if means.stands_behind else None
        watch = UpdateWatch("devnet", ground.client, ground.client, desk, store, loop.calm, BLOCK_S, clock.time, behind)
        scene = Updating(bed, kept, ground, loop, watch, pushed, clock)
        await bed.chain.mine(1, seconds=BLOCK_S)
        await scene.head()
        await bed.chain.rpc.request("evm_setAutomine", [False])
        yield scene
