"""What stands in the way of sending anything, and what the next order may still spend.

What was spent is read from the ledger of the store, what is on its way from its intents: both outlast the process. Orders that
were let through and are not written down yet are reserved here. `judge` and the reservation happen without a break between
them, so that chains that act at the same time cannot pass a limit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keeper.core import event_build
from keeper.core.block import BlockRef
from keeper.core.errors import Paused, Refused
from keeper.core.intent import Intent
from keeper.core.ledger import Purpose, Stake
from keeper.core.order import Order
from keeper.core.outcome import Reason, Skip
from keeper.core.pauses import EVERYBODY, KILL_FILE, Pause, Scope, StandingPause, words
from keeper.core.rails import (
    DAY_S,
    NOTHING,
    Limit,
    Limits,
    Spent,
    Trip,
    added,
    judge,
    judge_prices,
    spent_by,
    tripped,
    whole,
)
from keeper.core.spending import Spending
from keeper.core.units import Address
from keeper.ports import Journal, Ledger, Pauses

LOOK_AGAIN_S = 60
"""Chain time after which the windows are measured again, though nothing was mined or sent."""
FILE_ID = 0
"""Of the pause that a kill file is; those of the store count from 1."""


class SharedPurse:
    """What all chains of a process spend together."""

    def __init__(self, ledger: Ledger, together: Limits, kill_file: Path | None = None) -> None:
        self.ledger = ledger
        self.together = together
        self.kill_file = kill_file
        self.spending = Spending((), (), ())
        self.changes: int | None = None
        """Of the ledger, when `spending` was read."""
        self._reserved: dict[tuple[Scope, str], Stake] = {}
        """Let through and not seen in the store yet: per signer and attempt."""
        self._totals: dict[Scope, Stake] = {}

    async def read(self, since_s: int) -> None:
        changes = self.ledger.spending_changes
        self.spending = await self.ledger.spending(since_s)
        self.changes = changes

    def reserve(self, signer: Scope, attempt: str, stake: Stake) -> None:
        self.release(signer, attempt)
        self._reserved[signer, attempt] = stake
        for scope in _levels_of(signer):
            self._totals[scope] = added(self._totals.get(scope, NOTHING), stake)

    def release(self, signer: Scope, attempt: str) -> None:
        stake = self._reserved.pop((signer, attempt), None)
        if stake is None:
            return
        back = Stake(-stake.gas_wei, -stake.notional_wad, -stake.loss_wad)
        for scope in _levels_of(signer):
            self._totals[scope] = added(self._totals[scope], back)

    def release_all(self, signer: Scope) -> None:
        for each in [attempt for scope, attempt in self._reserved if scope == signer]:
            self.release(signer, each)

    def reserved(self, scope: Scope) -> Stake:
        return self._totals.get(scope, NOTHING)


@dataclass(frozen=True, slots=True)
class _Level:
    """Whom some limits hold, and what they spent by the store."""

    scope: Scope
    limits: Limits
    spent: Spent


class Rails:
    """One signer's on one chain. `look` comes first."""

    def __init__(
        self,
        name: str,
        chain_id: int,
        signer: Address,
        limits: Limits,
        least_native_wei: int,
        purse: SharedPurse,
        pauses: Pauses,
        journal: Journal,
        told: set[int] | None = None,
    ) -> None:
        """`told`: the pauses that were journaled, shared by the signers of a chain: one may hold them all."""
        self.paused: str | None = None
        """Why nothing may be sent, in words."""
        self.killed = False
        """Whether what is on its way is to be cancelled, too."""
        self._name = name
        self._chain_id = chain_id
        self._limits = limits
        self.least_wei = least_native_wei
        """Of the native coin: so much stays in the account."""
        self._purse = purse
        self._pauses = pauses
        self._journal = journal
        self._told = set() if told is None else told
        self._signer = signer
        self._me = Scope(chain_id, signer)
        self._levels: list[_Level] = []
        self._measured: tuple[Spending, int] | None = None
        """What the levels were made of, and as of which second."""
        self._standing: dict[int, StandingPause] = {}

    @property
    def ledger(self) -> Ledger:
        return self._purse.ledger

    @property
    def lost_wad(self) -> int:
        """Of this signer within the last day; what is on its way, or let through, counts with the most that it can lose."""
        me = self._levels[0]
        return me.spent.day.loss_wad + me.spent.on_its_way.loss_wad + self._purse.reserved(me.scope).loss_wad

    # -- pauses ------------------------------------------------------------------------------------------------------

    async def look(self, head: BlockRef) -> None:
        """Which pauses stand; once per head, before anything is decided. News are journaled."""
        if self._measured is None:
            await self._measure(head.timestamp_s)
            self._purse.release_all(self._me)  # an earlier start's: by now the store tells of them
        found = await self._found()
        before, self._standing = self._standing, found
        self.paused = "; ".join(words(each.pause) for each in found.values()) or None
        self.killed = any(each.pause.kills for each in found.values())
        over = {id_: each for id_, each in before.items() if id_ not in found}
        news = [event_build.paused(self._name, head.number, found[id_]) for id_ in found if id_ not in self._told]
        news += [event_build.resumed(self._name, head.number, over[id_]) for id_ in over if id_ in self._told]
        self._told.update(found)
        self._told.difference_update(over)
        if over:
            await self._measure(head.timestamp_s)  # what was lifted is forgiven
        if news:
            await self._journal.record(news)

    async def halted(self) -> bool:
        """Whether a pause stands at this moment, for what goes on between the looks."""
        return bool(await self._found())

    async def _found(self) -> dict[int, StandingPause]:
        found = {each.id: each for each in await self._pauses.standing_pauses()}
        found = {id_: each for id_, each in found.items() if each.pause.scope.covers(self._chain_id, self._signer)}
        file = self.kill_file_stands()
        if file is not None:
            found[FILE_ID] = StandingPause(FILE_ID, Pause(EVERYBODY, KILL_FILE, file), "")
        return found

    def kill_file_stands(self) -> str | None:
        """While it does, not even a cancellation is sent."""
        file = self._purse.kill_file
        return f"the file {file} exists" if file is not None and file.exists() else None

    async def _pause(self, scope: Scope, trip: Trip, head: BlockRef) -> None:
        """Durable before anything else happens."""
        self.paused = words(Pause(scope, trip.rail, trip.detail))
        await self._pauses.pause(Pause(scope, trip.rail, trip.detail, head.number))
        await self.look(head)

    # -- what may be spent -------------------------------------------------------------------------------------------

    def spare_wei(self, gas_money_wei: int | None) -> int | None:
        """What of the native coin may be spent."""
        return None if gas_money_wei is None else max(0, gas_money_wei - self.least_wei)

    async def judge(self, order: Order, head: BlockRef) -> Skip | None:
        """Why an order may not be sent; None when it may: then it is reserved until it is released, or seen in the store."""
        answer = judge_prices(order.swaps, self._limits) or self._judge(order.stakes)
        if isinstance(answer, tuple):
            await self._measure(head.timestamp_s)  # time may have passed since
            answer = self._judge(order.stakes)
        if isinstance(answer, tuple):
            await self._pause(*answer, head)
            answer = Skip(Reason.PAUSED, self.paused or "")
        if answer is not None and answer.reason is Reason.PAUSED:
            return answer  # in the same words as for those who are not even planned
        if answer is not None:
            return replace(answer, verdict=order.plan.verdict)
        self._purse.reserve(self._me, order.attempt, whole(order.stakes))
        return None

    def _judge(self, stakes: Sequence[Stake]) -> Skip | tuple[Scope, Trip] | None:
        if self.paused is not None:
            return Skip(Reason.PAUSED, self.paused)
        if any(each.stake is None for each in self._purse.spending.on_their_way):
            return Skip(
                Reason.RESERVED, "what an older keeper's open transaction may cost is not known: waits for its end"
            )
        if self._measured is not None and self._measured[0] is not self._purse.spending:
            self._remeasure(self._measured[1])  # what another chain sent is no longer reserved, but in what it has read
        for level in self._levels:
            answer = judge(level.spent.plus(self._purse.reserved(level.scope)), level.limits, stakes)
            if isinstance(answer, Trip):
                return level.scope, answer
            if answer is not None:
                return answer
        return None

    def release(self, order: Order) -> None:
        """Nothing of it was sent."""
        self._purse.release(self._me, order.attempt)

    async def refresh(self, head: BlockRef) -> None:
        """After acting: what was sent is in the store now, and what was mined counts as it was. A rail that is reached pauses
        at once."""
        stale = self._measured is None or not 0 <= head.timestamp_s - self._measured[1] < LOOK_AGAIN_S
        if stale or self._purse.changes != self._purse.ledger.spending_changes:
            await self._purse.read(head.timestamp_s - DAY_S)
        self._purse.release_all(self._me)
        if stale or self._measured is None or self._measured[0] is not self._purse.spending:
            self._remeasure(head.timestamp_s)
        for level in self._levels:
            trip = tripped(level.spent, level.limits)
            if trip is not None and not self._stands(level.scope, trip):
                await self._pause(level.scope, trip, head)

    def _stands(self, scope: Scope, trip: Trip) -> bool:
        return any((each.pause.scope, each.pause.reason) == (scope, trip.rail) for each in self._standing.values())

    async def _measure(self, now_s: int) -> None:
        await self._purse.read(now_s - DAY_S)
        self._remeasure(now_s)

    def _remeasure(self, now_s: int) -> None:
        spending = self._purse.spending
        together = self._purse.together
        limits = [
            # Native coins of several chains cannot be added up.
            self._limits,
            Limits(gas_wei=together.gas_wei),
            replace(together, gas_wei=Limit()),
        ]
        self._levels = [
            _Level(scope, limit, _spent(spending, scope, now_s))
            for scope, limit in zip(_levels_of(self._me), limits, strict=True)
        ]
        self._measured = spending, now_s

    # -- upkeep ------------------------------------------------------------------------------------------------------

    def check(self, intents: Sequence[Intent]) -> None:
        """For what is written down without being an order. Raises `Paused` while the kill file is there, and `Refused` for an
        allowance that costs more than may be spent; cancellations are never too dear."""
        file = self.kill_file_stands()
        if file is not None:
            raise Paused(f"{KILL_FILE}: {file}")
        for intent in intents:
            if intent.purpose is not Purpose.ALLOWANCE or intent.stake is None:
                continue
            if self.paused is not None:
                raise Paused(self.paused)
            answer = self._judge([intent.stake])
            if answer is not None:
                raise Refused(answer.detail if isinstance(answer, Skip) else answer[1].detail)
            self._purse.reserve(self._me, intent.transaction_hash.hex(), intent.stake)


def _levels_of(signer: Scope) -> tuple[Scope, Scope, Scope]:
    """The signer, its chain, everybody."""
    return signer, Scope(signer.chain_id), EVERYBODY


def _spent(spending: Spending, scope: Scope, now_s: int) -> Spent:
    settled = [each for each in spending.settled if scope.covers(each.chain_id, each.signer)]
    on_their_way = [each for each in spending.on_their_way if scope.covers(each.chain_id, each.signer)]
    return spent_by(settled, on_their_way, spending.lifts, now_s)
