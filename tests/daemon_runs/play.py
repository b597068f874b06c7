"""One daemon run: `keeper run --live` as a process on the real contracts, ten blocks of trouble, quiet, then the accounts."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.devnet.state import Recipe, started_bed
from keeper.devnet.throwaway import write_throwaway
from tests.crash.killing import die_after_write
from tests.daemon_runs.between import MANNERS, SEND, Between
from tests.daemon_runs.verdict import at_rest, problems_of, unrest
from tests.daemon_runs.world import World, prepare_competitor
from tests.devnet.accounts import Money, money_of
from tests.devnet.commands import Running, started
from tests.devnet.keeping import Keeping, keeping
from tests.relays.local_relay import LocalRelay

BORROWERS = 24
BLOCKS = 10
TWO_SIGNERS = 0.3
"""Share of the seeds."""
EARLIER_BLOCKS = 3
CALM_BLOCKS = 2
HEARD_WITHIN_S = 1.0
"""So long a block waits for the keeper to judge the one before; a keeper that is down keeps nobody waiting."""
LOOK_EVERY_S = 0.04
PATIENCE_S = 90.0
SIDES: tuple[Literal["before", "after"], ...] = ("before", "after")


@dataclass(frozen=True)
class DaemonRun:
    """How a run ended. `problems` is empty when all held."""

    seed: int
    problems: tuple[str, ...]
    orders: int
    happened: Counter[str]
    seconds: float


async def play(seed: int, folder: Path) -> DaemonRun:
    """Play one seed to its end. The folder takes the keeper's files."""
    began_s = time.monotonic()
    rng = random.Random(f"daemon run {seed}")
    async with AsyncExitStack() as stack:
        version: Literal["3.6", "3.0.2"] = rng.choice(("3.6", "3.6", "3.0.2"))
        bed = await stack.enter_async_context(started_bed(Recipe(version, BORROWERS)))
        between = Between(bed.url)
        await stack.enter_async_context(between)
        signers = 2 if random.Random(f"daemon run {seed}, signers").random() < TWO_SIGNERS else 1
        kept = await keeping(bed, folder, between.url, funded=True, signers=signers)
        await prepare_competitor(bed)
        kept.signing["expiry_blocks"] = rng.choice((2, 4))
        _limit(rng, kept)
        relay = await _relay(rng, kept, bed, stack)
        await bed.chain.mine(EARLIER_BLOCKS)
        before = await money_of(bed, kept)
        await bed.chain.rpc.request("evm_setAutomine", [False])
        floor_block = await bed.chain.block_number()
        world = World(rng, bed, between, [account.address for account in kept.accounts], relay, floor_block)
        world.happened[f"signers: {signers}"] += 1
        run = _Run(seed, rng, world, kept, before, stack)
        problems = await run.to_its_end()
        orders = len(kept.events("sent"))
    return DaemonRun(seed, tuple(problems), orders, world.happened, time.monotonic() - began_s)


def _limit(rng: random.Random, kept: Keeping) -> None:
    """At times rails so near that they are reached."""
    pick = rng.random()
    if pick < 0.15:
        kept.unlimited = ["loss"]
        kept.tables["rails.notional"] = {"per_transaction": "200000", "per_hour": "300000", "per_day": "300000"}
    elif pick < 0.3:
        kept.tables["rails.gas"] = {"per_hour": rng.choice(("0.1", "0.3"))}


async def _relay(rng: random.Random, kept: Keeping, bed: Bed, stack: AsyncExitStack) -> LocalRelay | None:
    if rng.random() >= 0.25:
        return None
    relay = LocalRelay(node=bed.chain.rpc)
    known = kept.folder / "known"
    await asyncio.to_thread(known.mkdir)
    reputation = write_throwaway(known)
    kept.tables["relays"] = {
        "urls": [await stack.enter_async_context(relay.serving())],
        "keystore": str(reputation.keystore),
        "password_file": str(reputation.password_file),
        "method": rng.choice(("bundle", "private")),
        "for_blocks": rng.choice((1, 3)),
        "fallback": rng.choice(("never", "public")),
    }
    return relay


@dataclass
class _Run:
    seed: int
    rng: random.Random
    world: World
    kept: Keeping
    before: Mapping[Address, Money]
    stack: AsyncExitStack
    daemon: Running | None = None
    has_caught_up: bool = False

    async def to_its_end(self) -> list[str]:
        await self._start()
        if self.rng.random() < 0.8:
            await self._caught_up()
        await self.world.move_price("WETH", self.rng.randint(80, 95))
        for block in range(BLOCKS):
            # However much the blocks before drew: a replay meets the same kinds of trouble at the same blocks.
            self.rng.seed(f"daemon run {self.seed}, block {block}")
            await self._trouble()
            await self.world.mine()
            await self._heard()
        await self.world.calm()
        await self._ensure_alive()
        deadline_s = time.monotonic() + PATIENCE_S
        while not await self._settled():
            if time.monotonic() > deadline_s:
                return [await unrest(self.world, self.kept)]
            if self.daemon is not None and not self.daemon.alive:
                code = (await self.daemon.ended()).code
                if code != -signal.SIGKILL:
                    return [f"the keeper ended by itself with {code}: {self.daemon.errors[-800:]}"]
                await self._start_with(None)
            await self.world.mine()
            await self._heard()
        assert self.daemon is not None
        ended = await self.daemon.stopped()
        problems = [] if ended.code == 0 else [f"the keeper ended with {ended.code}: {ended.err[-500:]}"]
        return problems + await problems_of(self.world, self.kept, self.before)

    async def _settled(self) -> bool:
        """At rest, and still so once two more blocks were judged: a builder tries blocks that it takes back, and the keeper may
        have settled something by one of those."""
        for _ in range(CALM_BLOCKS):
            if not await at_rest(self.world, self.kept):
                return False
            await self.world.bed.chain.mine()
            await self._heard()
        head = await self.world.bed.chain.block_number()
        return self._alive and self._judged(head) and await at_rest(self.world, self.kept)

    # -- the keeper ----------------------------------------------------------------------------------------------------
    @property
    def _alive(self) -> bool:
        return self.daemon is not None and self.daemon.alive

    async def _start(self) -> None:
        """At times it is to die after some write to its store."""
        dies, at = self.rng.random() < 0.1, self.rng.randint(2, 25)
        await self._start_with(partial(die_after_write, at) if dies else None)

    async def _start_with(self, first: partial[None] | None) -> None:
        if first is not None:
            self.world.happened["to die after a write"] += 1
        arguments = ["run", "--live", "--config", str(self.kept.write(mode="live"))]
        self.daemon = await self.stack.enter_async_context(started(arguments, self.kept.folder, first=first))

    async def _caught_up(self) -> None:
        """Its approvals need blocks."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self._alive and not self.kept.events("caught_up") and time.monotonic() < deadline_s:
            await self.world.mine()
            await asyncio.sleep(0.2)

    async def _ensure_alive(self) -> None:
        """No request is to kill it any more; one that was killed is back."""
        if not self._alive:
            await self._start_with(None)
        assert self.daemon is not None
        self.world.between.arm(self.daemon, 0, "before")

    async def _heard(self) -> None:
        """Until it has judged the newest block, or has had its time."""
        head = await self.world.bed.chain.block_number()
        tries = int(HEARD_WITHIN_S / LOOK_EVERY_S)
        for _ in range(tries):
            if not self._alive or self._judged(head):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _judged(self, head: int) -> bool:
        self.has_caught_up = self.has_caught_up or bool(self.kept.events("caught_up"))
        return self.has_caught_up and self.kept.judged_block() >= head

    # -- the troubles ----------------------------------------------------------------------------------------------------
    async def _trouble(self) -> None:
        rng, world = self.rng, self.world
        if rng.random() < 0.5:
            await world.move_price(rng.choice(("WETH", "WBTC")), rng.randint(84, 103))
        back = rng.random() < 0.7
        if rng.random() < 0.25:
            world.change_manners(rng.choice(MANNERS))
        elif rng.random() < 0.5:
            world.change_manners("passes")
            await world.between.release(world.bed.chain.rpc)
        if rng.random() < 0.3:
            world.change_relay()
        pick = rng.random()
        if back and not self._alive:
            await self._start()
        if pick < 0.12:
            await world.reorganise()
        elif pick < 0.24:
            await world.forget()
        elif pick < 0.36:
            await world.fee_spike()
        elif pick < 0.55:
            await world.compete()
        elif pick < 0.67:
            await self._kill()

    async def _kill(self) -> None:
        """Now, or at its next raw transaction."""
        if self.daemon is None or not self.daemon.alive:
            return
        if self.rng.random() < 0.4:
            self.world.happened["killed"] += 1
            self.daemon.send(signal.SIGKILL)
            await self.daemon.ended()
        else:
            self.world.happened["to be killed at a transaction"] += 1
            self.world.between.arm(self.daemon, 1, self.rng.choice(SIDES), SEND)
