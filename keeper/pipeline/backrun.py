"""Ready before a price lands: pending updates of a market's feeds, simulated, and plans for whoever they would bring below 1.

What a pending transaction would do is not decoded but asked: the node simulates it on top of the head, and then answers for
the oracle. So it works through every proxy and adapter, and a transaction that reverts changes nothing. Nothing is sent
ahead of the update: its plans are only waiting (`keeper.pipeline.ready`) for a head that shows those very prices. One that
is replaced, or never lands, leaves plans that nobody asks for.

All of it is a hint and must cost the heads nothing: it is done between heads, a few transactions and borrowers at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from keeper.concurrency import Group, check_wanted
from keeper.core import event_build
from keeper.core.block import BlockRef, PendingTransaction
from keeper.core.errors import ChainError
from keeper.core.events import Severity
from keeper.core.lending import Position
from keeper.core.outcome import Skip
from keeper.core.plan import Window
from keeper.core.planner import Unfinished
from keeper.core.prepared import Prepared
from keeper.core.units import HEALTH_ONE_WAD, Address, Hash32, to_hex
from keeper.pipeline.desk import Desk
from keeper.pipeline.round import OUR_FAULT
from keeper.pipeline.tasks import Slices, leading_error, together
from keeper.ports import Chain, Journal, Pending

MOST_WAITING = 64
"""So many pending updates are kept in mind: in a crash every feed of a market is updated at once."""
KEPT_BLOCKS = 3
"""One that has not landed by then is forgotten."""
MOST_PREPARED = 64
"""So many borrowers are planned for one update at one head, the largest debt first."""
MOST_SIMULATED = 32
"""So many updates are simulated on one head: anybody can send to a feed what it will refuse."""
TELL_AGAIN_S = 3_600
"""How often it is told that there are more than that."""
LOOK_S = 0.2
"""How often it is seen whether there is a new head, or other feeds."""


ActBehind = Callable[[Desk, PendingTransaction, Mapping[Address, Prepared]], Awaitable[object]]
"""Sends what was prepared for an update right behind it, for the next block."""


@dataclass(slots=True)
class Heard:
    """A pending update."""

    transaction: PendingTransaction
    heard_block: int
    looked_at: BlockRef | None = None
    """The head on which it was simulated last."""


class UpdateWatch:
    """Watches one market's feeds for pending updates."""

    def __init__(
        self,
        name: str,
        chain: Chain,
        pending: Pending,
        desk: Desk,
        journal: Journal,
        calm: asyncio.Event,
        block_s: float,
        now_s: Callable[[], float],
        behind: ActBehind | None = None,
    ) -> None:
        self._name = name
        self._chain = chain
        self._pending = pending
        self._desk = desk
        self._journal = journal
        self._calm = calm
        self._block_s = max(1, math.ceil(block_s))
        self._now_s = now_s
        self._behind = behind
        self._waiting: dict[Hash32, Heard] = {}
        self._simulated: tuple[BlockRef | None, int] = (None, 0)
        """How many were simulated on which head."""
        self._news = asyncio.Event()
        self._unknown: tuple[str, ...] = ()
        self._told_dropped_s: float | None = None

    async def run(self) -> None:
        """For ever, or until no node tells of pending transactions."""
        listening: asyncio.Task[None] | None = None
        heard: frozenset[Address] = frozenset()
        head: BlockRef | None = None
        async with Group() as group:
            preparing = group.create_task(self._prepare_for_ever())
            while listening is None or not listening.done():
                check_wanted()
                targets = frozenset(self._desk.follower.reader.watch.feeds.updated_by)
                if targets and targets != heard:
                    if listening is not None:
                        listening.cancel()
                    listening, heard = group.create_task(self._listen(targets)), targets
                    await self._tell_unknown()
                if self._desk.follower.applied is not head:
                    head = self._desk.follower.applied
                    self._news.set()  # what is still pending is looked at again, on top of the new head
                await asyncio.sleep(LOOK_S)
            preparing.cancel()

    async def _listen(self, targets: frozenset[Address]) -> None:
        async with aclosing(self._pending.pending(targets)) as told:
            async for transaction in told:
                head = self._desk.follower.applied
                if head is None:
                    continue
                self._waiting[transaction.hash] = Heard(transaction, head.number)
                if len(self._waiting) > MOST_WAITING:
                    last = self._in_turn()[-1].transaction
                    del self._waiting[last.hash]
                    await self._tell_dropped(last)
                self._news.set()

    def _in_turn(self) -> list[Heard]:
        """The newest of each feed that a known writer sent, the newest of each that others sent, then the ones before them:
        whoever floods one feed holds up no other."""
        writers = self._desk.follower.reader.watch.feeds.updated_by
        counted: Counter[tuple[Address | None, bool]] = Counter()
        ranked: list[tuple[int, bool, Heard]] = []
        for heard in reversed(self._waiting.values()):
            of = heard.transaction.to, heard.transaction.sender not in writers
            ranked.append((counted[of], of[1], heard))
            counted[of] += 1
        return [heard for _, _, heard in sorted(ranked, key=lambda each: each[:2])]

    async def _tell_dropped(self, transaction: PendingTransaction) -> None:
        """That an update is not looked at; not for each of them."""
        now_s = self._now_s()
        if self._told_dropped_s is not None and abs(now_s - self._told_dropped_s) < TELL_AGAIN_S:
            return
        self._told_dropped_s = now_s
        to = to_hex(transaction.to) if transaction.to is not None else "a new contract"
        limits = f"{MOST_WAITING} are kept in mind, {MOST_SIMULATED} simulated on one head"
        detail = (
            f"more pending updates are heard than can be looked at ({limits}): older ones are passed over, one to {to}"
        )
        severity, market = Severity.WARNING, self._desk.market
        note = event_build.alert(self._name, "updates_dropped", detail, market=market, severity=severity)
        await self._journal.record([note])

    async def _tell_unknown(self) -> None:
        """Of whose prices no update is seen coming; said once."""
        unknown = self._desk.follower.reader.watch.feeds.unknown
        if unknown and unknown != self._unknown:
            detail = f"pending updates are not seen for {', '.join(unknown)}: the price source is of no known kind"
            severity, market = Severity.WARNING, self._desk.market
            note = event_build.alert(self._name, "feeds_unknown", detail, market=market, severity=severity)
            await self._journal.record([note])
        self._unknown = unknown

    # -- prepare -------------------------------------------------------------------------------------------------

    async def _prepare_for_ever(self) -> None:
        while True:
            await self._news.wait()
            check_wanted()
            self._news.clear()
            for heard in self._in_turn():
                await self._calm.wait()
                head = self._desk.follower.applied
                if head is None or self._desk.follower.verified is None:
                    break
                if head.number > heard.heard_block + KEPT_BLOCKS:
                    self._waiting.pop(heard.transaction.hash, None)
                elif heard.looked_at != head:
                    heard.looked_at = head
                    await self._prepare_or_tell(heard.transaction, head)

    async def _prepare_or_tell(self, transaction: PendingTransaction, head: BlockRef) -> None:
        """A hint that cannot be had is none; it is told, and the head will show the price all the same."""
        done = self._simulated[1] if self._simulated[0] == head else 0
        if done == MOST_SIMULATED:
            await self._tell_dropped(transaction)
            return
        self._simulated = head, done + 1
        try:
            await self.prepare(transaction, head)
        except (ChainError, *OUR_FAULT) as error:
            self._waiting.pop(transaction.hash, None)
            trouble = event_build.trouble(self._name, error, block_number=head.number, market=self._desk.market)
            await self._journal.record([trouble])

    async def prepare(self, transaction: PendingTransaction, head: BlockRef) -> int:
        """Plans for whoever the transaction would bring below 1 if the next block held it; how many there are."""
        next_s = max(head.timestamp_s + self._block_s, int(self._now_s()))
        window = Window(next_s, next_s + self._desk.terms.inclusion_s)
        expected = await self._expected(transaction, head, window)
        if self._disturbed(head):
            return 0  # it is looked at again on the new head
        if expected is None:
            self._waiting.pop(transaction.hash, None)
            return 0
        prepared: dict[Address, Prepared] = {}
        slices = Slices()
        for position in await self._falling(expected, head, next_s):
            await slices.breathe()
            if self._disturbed(head):
                return 0
            plan = await self._planned(position, expected, head, window, slices)
            if plan is not None:
                prepared[position.borrower] = plan
            if len(prepared) == MOST_PREPARED:
                break
        self._desk.ready.put(head, window.latest_s, prepared)
        if self._behind is not None and prepared:
            await self._behind(self._desk, transaction, prepared)
        return len(prepared)

    async def _expected(self, transaction: PendingTransaction, head: BlockRef, window: Window) -> Any:
        """The state with the prices that the transaction would leave; None when it would leave those that there are, or no
        node can tell."""
        follower = self._desk.follower
        adapter, market, state = follower.adapter, follower.market, follower.state
        calls = adapter.encode_prices(market)
        early, late = await together(
            self._chain.read_after(calls, head, window.earliest_s, [transaction]),
            self._chain.read_after(calls, head, window.latest_s, [transaction]),
        )
        if early is None or late is None:
            return None
        prices_base: Mapping[Address, int | None] = adapter.decode_prices(market, early)
        if prices_base == adapter.prices(state):
            return None
        expected = adapter.with_prices(state, prices_base)
        return adapter.with_later_prices(expected, window.latest_s, adapter.decode_prices(market, late))

    def _disturbed(self, head: BlockRef) -> bool:
        """Whether a head is being handled, or was since: book and state may be others now."""
        return not self._calm.is_set() or self._desk.follower.applied != head

    async def _falling(self, expected: Any, head: BlockRef, next_s: int) -> list[Position]:
        """Who is at 1 or above now and would not be, the largest debt first. Nobody once it is disturbed."""
        follower = self._desk.follower
        book, adapter = follower.book, follower.adapter
        naming = book.naming(adapter.screen_terms(expected, book.columns, next_s))
        try:
            while not self._disturbed(head):
                next(naming)
                await asyncio.sleep(0)
            return []
        except StopIteration as done:
            named: Sequence[Address] = done.value.accounts
        positions = [book.position(borrower) for borrower in named[: 2 * MOST_PREPARED]]
        return [
            position
            for position in positions
            if self._below_one(expected, position, next_s)
            and not self._below_one(follower.state, position, head.timestamp_s)
        ]

    def _below_one(self, state: Any, position: Position, timestamp_s: int) -> bool:
        health = self._desk.follower.adapter.health(state, position, timestamp_s)
        return not isinstance(health, Skip) and health.health_factor_wad < HEALTH_ONE_WAD

    async def _planned(
        self, position: Position, expected: Any, head: BlockRef, window: Window, slices: Slices
    ) -> Prepared | None:
        planner = self._desk.planner(expected, head, window)
        plans = planner.begin(position)
        if isinstance(plans, Unfinished):
            plans = await slices.run(planner.finish(plans))
        if isinstance(plans, Skip):
            return None
        return Prepared.of(position, self._desk.follower.adapter.relevant_prices(expected, position), plans)


class Runs(Protocol):
    """Something that goes on beside the heads."""

    async def run(self) -> None: ...


async def watching(watches: Sequence[Runs], following: Coroutine[Any, Any, None]) -> None:
    """Follow a chain with its pending updates watched beside it, and other venues asked; what ends the one ends the others."""
    try:
        async with Group() as group:
            tasks = [group.create_task(watch.run()) for watch in watches]
            await following
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None
