"""One fault run: a market that moves, providers that misbehave, a chain that reorganises, and the whole daemon between them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from keeper.app import build
from keeper.app.plan import RunPlan
from keeper.app.run import run_keeper
from keeper.chain.blocks import read_header
from keeper.core.events import Event, Kind
from keeper.core.standing import Standing
from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.actions import random_action
from keeper.devnet.market import Bed
from keeper.devnet.spec import Version
from keeper.devnet.state import Recipe, started_bed
from keeper.pipeline.desk import Desk
from tests.devnet.keeping import Keeping, keeping
from tests.fault_runs.honest import HonestChain
from tests.fault_runs.troubles import LIES, SOCKET_TROUBLES, TROUBLES, Provider
from tests.socket_faults import SocketManners, SocketProxy

BORROWERS = 24
STEPS = 14
CALM_BLOCKS = 3
DEEPEST_REORG = 64
PATIENCE_S = 60.0
MOVED = ("WETH", "WBTC", "wstETH")
UNDECIDED = {"intended", "unknown"}
ACTIONS = ("supply", "borrow", "repay", "withdraw")


@dataclass
class Witness:
    """Hears all that the daemon journals."""

    events: list[Event] = field(default_factory=list)
    judged_block: int = 0

    async def record(self, events: Sequence[Event]) -> None:
        self.events += events

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        self.judged_block = block_number

    def sent(self) -> list[Event]:
        """The decisions whose orders left."""
        attempts = {event.attempt for event in self.events if event.kind is Kind.SENT}
        return [event for event in self.events if event.kind is Kind.DECIDED and event.attempt in attempts]


@dataclass(frozen=True)
class FaultRun:
    """How a run ended. `problems` is empty when all held."""

    seed: int
    problems: tuple[str, ...]
    orders: int
    reorgs: tuple[int, ...]
    troubles: Counter[str]
    seconds: float


async def play(seed: int, folder: Path) -> FaultRun:
    """Play one seed to its end. The folder takes the keeper's files."""
    began_s = time.monotonic()
    rng = random.Random(f"fault run {seed}")
    versions: tuple[Version, ...] = ("3.6", "3.0.2")
    version = rng.choice(versions)
    async with AsyncExitStack() as stack:
        bed = await stack.enter_async_context(started_bed(Recipe(version, BORROWERS)))
        providers = [Provider(bed.url), Provider(bed.url)]
        for provider in providers:
            await stack.enter_async_context(provider)
        kept = await keeping(bed, folder, funded=True)
        kept.chain["rpc_url"] = [provider.url for provider in providers]
        socket = await stack.enter_async_context(SocketProxy(bed.url.replace("http", "ws")))
        if rng.random() < 0.7:
            kept.chain["ws_url"] = socket.url
        floor_block = await bed.chain.block_number()
        await bed.chain.rpc.request("anvil_mine", [hex(DEEPEST_REORG + 6)])
        honest = await HonestChain.started(bed, [opening.borrower for opening in bed.openings])
        run = _Run(rng, bed, kept, providers, socket, honest, floor_block)
        return await run.to_its_end(seed, began_s)


@dataclass
class _Run:
    rng: random.Random
    bed: Bed
    kept: Keeping
    providers: Sequence[Provider]
    socket: SocketProxy
    honest: HonestChain
    floor_block: int
    """What the node started from: nothing below it can be taken back."""
    witness: Witness = field(default_factory=Witness)
    troubles: Counter[str] = field(default_factory=Counter)
    reorgs: list[int] = field(default_factory=list)

    async def to_its_end(self, seed: int, began_s: float) -> FaultRun:
        settings = self.kept.settings(mode="live")
        with built_desks() as desks:
            async with asyncio.TaskGroup() as group:
                daemon = group.create_task(
                    run_keeper(settings, RunPlan(once=False, live=True, fork=False), observer=self.witness)
                )
                try:
                    problems = await self._played(desks)
                finally:
                    daemon.cancel()
        return FaultRun(
            seed,
            tuple(problems),
            len(self.witness.sent()),
            tuple(self.reorgs),
            self.troubles,
            time.monotonic() - began_s,
        )

    async def _played(self, desks: Sequence[Desk]) -> list[str]:
        if self.rng.random() < 0.8:
            await self._until(self._caught_up)
        for _ in range(STEPS):
            await self._trouble()
            await self._move()
            await self.honest.catch_up()
            await asyncio.sleep(self.rng.uniform(0.02, 0.15))
        for provider in self.providers:
            provider.calm()
        self.socket.manners = SocketManners()
        await self.bed.chain.mine(CALM_BLOCKS)
        return await self._verdict(desks)

    async def _caught_up(self) -> bool:
        return any(event.kind is Kind.CAUGHT_UP for event in self.witness.events)

    # -- what happens ----------------------------------------------------------------------------------------------
    async def _trouble(self) -> None:
        head = await self.bed.chain.block_number()
        for provider in self.providers:
            if self.rng.random() < 0.5:
                provider.calm()
            elif self.rng.random() < 0.6:
                provider.calm()
                if self.rng.random() < 0.25:
                    provider.lie = self.rng.choice(LIES)
                    provider.prices = tuple([await self.bed.price_base(symbol) for symbol in MOVED])
                    self.troubles[provider.lie] += 1
                else:
                    name = self.rng.choice(list(TROUBLES))
                    provider.manners = TROUBLES[name](self.rng, head)
                    self.troubles[name] += 1

        if self.rng.random() < 0.5:
            name = self.rng.choice(list(SOCKET_TROUBLES))
            self.socket.manners = SOCKET_TROUBLES[name]()
            self.troubles[name] += 1
        if self.rng.random() < 0.1:
            await self.socket.hang_up()
            self.troubles["socket hung up"] += 1

    async def _move(self) -> None:
        pick = self.rng.random()
        if pick < 0.35:
            symbol = self.rng.choice(MOVED[:2])
            price_base = await self.bed.price_base(symbol)
            await admin.set_answer(self.bed, symbol, price_base * self.rng.randint(93, 104) // 100)
        elif pick < 0.65:
            accounts = [opening.borrower for opening in self.bed.openings]
            await random_action(self.rng, self.bed, accounts, ACTIONS)
        elif pick < 0.8:
            await self._reorganise()
        else:
            await self.bed.chain.mine(self.rng.randint(1, 3))

    async def _reorganise(self) -> None:
        """Replace the last blocks; what the keeper had in them is gone with them."""
        rpc = self.bed.chain.rpc
        depth = self.rng.choice((1, 1, 2, 3, 5, 8, 20, DEEPEST_REORG))
        await rpc.request("evm_setAutomine", [False])
        await self.honest.catch_up()
        head = await self.bed.chain.block_number()
        depth = min(depth, head - self.floor_block)
        if self.rng.random() < 0.5:
            await rpc.request("anvil_reorg", [depth, []])
        else:
            await rpc.request("anvil_rollback", [depth])
        await rpc.request("evm_setAutomine", [True])
        self.honest.forget_above(head - depth)
        self.reorgs.append(depth)
        await self.bed.chain.mine()

    # -- what must be true -----------------------------------------------------------------------------------------
    async def _verdict(self, desks: Sequence[Desk]) -> list[str]:
        problems = []
        try:
            await self._until(lambda: self._at_rest(desks))
        except TimeoutError:
            problems.append(await self._unrest(desks))
            return problems
        follower = desks[-1].follower
        assert follower.applied is not None
        await self.honest.catch_up()
        truth = await self.honest.rows_at(follower.applied)
        ours = {position.borrower: position for position in follower.book.positions()}
        owing = {who: row for who, row in truth.items() if row.debt_scaled}
        if ours != owing:
            problems.append(f"the book differs for {[who.hex() for who in owing if ours.get(who) != owing[who]]}")
        assert self.kept.account is not None
        for decided in self.witness.sent():
            why_not = self.honest.why_not(decided, self.kept.account.address, desks[-1].terms.policy)
            if why_not is not None:
                problems.append(why_not)
        return problems

    async def _unrest(self, desks: Sequence[Desk]) -> str:
        applied = desks[-1].follower.applied if desks else None
        last = [f"{event.kind} {event.block_number} {dict(event.fields)}" for event in self.witness.events[-3:]]
        return (
            f"did not come to rest: applied {applied and applied.number}, head {await self.bed.chain.block_number()},"
            f" intents {Counter(self.kept.intents().values())}; at last {last}"
        )

    async def _at_rest(self, desks: Sequence[Desk]) -> bool:
        """The daemon stands at the head, and no answer to a transaction of its own is owed to it."""
        applied = desks[-1].follower.applied if desks else None
        if applied is None or applied.hash != (await read_header(self.bed.chain.rpc, "latest")).hash:
            return False
        if not set(self.kept.intents().values()) & UNDECIDED:
            return True
        await self.bed.chain.mine()
        await self.honest.catch_up()
        return False

    async def _until(self, true: Callable[[], Awaitable[bool]]) -> None:
        """Blocks go on coming: an approval at the start waits for them."""
        deadline_s = time.monotonic() + PATIENCE_S
        for turn in count(1):
            if await true():
                return
            if time.monotonic() > deadline_s:
                raise TimeoutError
            if not turn % 20:
                await self.bed.chain.mine()
                await self.honest.catch_up()
            await asyncio.sleep(0.05)


@contextmanager
def built_desks() -> Iterator[list[Desk]]:
    """The desks that the daemon builds, the present one last: a restarted chain builds another."""
    desks: list[Desk] = []
    original = build.desk_of

    def noted(*args: Any) -> Desk:
        desks.append(original(*args))
        return desks[-1]

    with patch.object(build, "desk_of", noted):
        yield desks
