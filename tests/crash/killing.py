"""A keeper that is killed outright at a chosen request or store write, on a market that falls again and again."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from aiohttp import web

from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.devnet.state import Recipe, started_bed
from keeper.store.writer import Writer
from tests.devnet.chain_facts import emptied, mined_by, nonce
from tests.devnet.commands import PATIENCE_S, Running, happens, started
from tests.devnet.daemons import CLOSED, LIQUIDATION_CALL, assert_nothing_twice, fall, worked_off
from tests.devnet.keeping import Keeping, keeping
from tests.faults import FaultProxy

BORROWERS = 60
FALL_PERCENT = 98
"""Each fall takes a few borrowers below 1."""

AT_REST_S = 20.0
"""So long after its start a run is at rest, and writes little more."""

RESTS = 3

Side = Literal["before", "after"]
"""Of the request: killed before it is passed on, or before its answer is handed over."""


class KillingProxy(FaultProxy):
    """Kills a process at one of the HTTP requests that reach it from now on, or at one of those with a method."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._victim: Running | None = None
        self._at = 0
        self._side: Side = "before"
        self._method = ""
        self._reached = 0

    def arm(self, victim: Running, at: int, side: Side, method: str = "") -> None:
        """`at` counts from 1."""
        self._victim, self._at, self._side, self._method, self._reached = victim, at, side, method, 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._method.encode() not in await request.read():
            return await super()._handle(request)
        self._reached += 1
        hit = self._victim is not None and self._reached == self._at
        if hit and self._side == "before":
            return self._kill(request)
        response = await super()._handle(request)
        return self._kill(request) if hit else response

    def _kill(self, request: web.Request) -> web.Response:
        assert self._victim is not None, "armed"
        if self._victim.alive:
            self._victim.send(signal.SIGKILL)
        self._victim = None
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


def die_after_write(number: int) -> None:
    """In the keeper's own process: killed as soon as so many transactions of the store are on the disk, from 1."""
    written = 0
    transaction = Writer._transaction

    async def counted(writer: Writer, *arguments: object) -> object:
        nonlocal written
        unmatched = await transaction(writer, *arguments)  # type: ignore[arg-type]
        written += 1
        if written == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return unmatched

    Writer._transaction = counted  # type: ignore[assignment,method-assign]


@dataclass
class Lineage:
    """One store and one market, through any number of kills."""

    bed: Bed
    kept: Keeping
    proxy: KillingProxy
    first_block: int
    sick: set[Address] = field(default_factory=set)

    async def killed_at_request(self, number: int, side: Side, method: str = "") -> bool:
        """A run that meets a fall is killed there."""
        return await self._killed(None, lambda victim: self.proxy.arm(victim, number, side, method), PATIENCE_S)

    async def killed_after_write(self, number: int) -> bool:
        """The same. False when it came to rest with fewer."""
        return await self._killed(partial(die_after_write, number), lambda victim: None, AT_REST_S)

    async def _killed(self, first: Callable[[], None] | None, arm: Callable[[Running], None], within_s: float) -> bool:
        self.sick |= set((await fall(self.bed, FALL_PERCENT)).sick)
        async with started(
            ["run", "--live", "--config", str(self.kept.write(mode="live"))], self.kept.folder, first=first
        ) as victim:
            arm(victim)
            try:
                ended = await victim.ended(within_s)
            except AssertionError:
                ended = await victim.stopped(within_s=PATIENCE_S)
                assert ended.code in (0, -signal.SIGKILL), (ended.code, ended.err[-2_000:])
                return ended.code != 0  # it may write as it stops
        assert ended.code == -signal.SIGKILL, ended.err
        return True

    async def finish(self) -> None:
        """A daemon works off what is left, and everything must be right then. What it sends as it is stopped (interest takes
        somebody below 1, an allowance is raised) is another one's to tell."""
        for _ in range(RESTS):
            await self._work_off()
            if self._at_rest():
                return
        raise AssertionError(f"it does not come to rest: {self._tale()}")

    async def _work_off(self) -> None:
        starts = len(self.kept.events("started"))
        async with self.kept.daemon("--live") as daemon:
            # Where nothing is left to do it would be asked to stop before its interpreter is up, and that ends any process.
            await happens(lambda: len(self.kept.events("started")) > starts)
            try:
                await worked_off(self.bed, self.kept, sorted(self.sick))
                await happens(self._at_rest)
            except AssertionError as error:
                raise AssertionError(f"{error}: {self._tale()}") from None
            ended = await daemon.stopped(within_s=PATIENCE_S)
            assert ended.code == 0, (ended.code, ended.err[-2_000:])

    def _at_rest(self) -> bool:
        return set(self.kept.intents().values()) <= CLOSED and self._all_told()

    def _tale(self) -> str:
        """The end of the journal, and what is open: why it does not come to rest."""
        rows = [f"{row.kind} {row.block_number} {row.borrower} {dict(row.fields)}" for row in self.kept.events()[-12:]]
        statuses = [status for status in self.kept.intents().values() if status not in CLOSED]
        return "\n".join([*rows, f"open: {statuses}", f"told: {self._all_told()}"])

    def _all_told(self) -> bool:
        told = {row.attempt for row in self.kept.events("restored", "not_restored")}
        return {row.attempt for row in self.kept.events("sent")} <= told

    async def verdict(self) -> None:
        """By the chain's word: nothing twice, no nonce left out; and the book is what the chain stores."""
        await emptied(self.bed)
        await assert_nothing_twice(self.bed, self.kept, self.first_block)
        await self._assert_one_call_for_each_planned()
        audit = await self.kept.run("audit", "--config", str(self.kept.config))
        for _ in range(3):
            if "at another block" not in audit.err:  # a chain that mines meanwhile may have answered of the next one
                break
            audit = await self.kept.run("audit", "--config", str(self.kept.config))
        assert audit.code == 0, (audit.out, audit.err)

    async def _assert_one_call_for_each_planned(self) -> None:
        """No two of our calls are mined for one call of one plan."""
        assert self.kept.account is not None
        mined = await mined_by(self.bed, self.kept.account.address, self.first_block)
        planned = planned_calls(self.kept)
        liquidations = [each for each in mined if each.selector == LIQUIDATION_CALL]
        counted = Counter(planned[each.hash] for each in liquidations)
        assert all(count == 1 for count in counted.values()), counted
        assert await nonce(self.bed, self.kept.account.address) == len(
            await mined_by(self.bed, self.kept.account.address, 0)
        )


def planned_calls(kept: Keeping) -> dict[str, tuple[str, int]]:
    """By transaction hash, which call of which attempt it was signed for."""
    with closing(sqlite3.connect(f"file:{kept.store}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT transaction_hash, attempt, call_index FROM intents").fetchall()
    return {transaction_hash: (attempt, call_index) for transaction_hash, attempt, call_index in rows}


@asynccontextmanager
async def lineage(folder: Path) -> AsyncIterator[Lineage]:
    """A funded keeper with its allowances set, behind the proxy, on a chain that mines by itself: what is sent waits."""
    async with AsyncExitStack() as stack:
        bed = await stack.enter_async_context(started_bed(Recipe("3.6", BORROWERS)))
        proxy = KillingProxy(bed.url)
        await stack.enter_async_context(proxy)
        kept = await keeping(bed, folder, proxy.url, funded=True)
        assert (await kept.run_once("--live")).code == 0
        await bed.chain.rpc.request("evm_setIntervalMining", [1])
        yield Lineage(bed, kept, proxy, await bed.chain.block_number() + 1)
