"""One chain's loop: head → follow → judge → plan → price → admit → simulate → submit → settle → record.

Heads coalesce (a slow round simply meets a later head), logs never (they are read as a range). A borrower with an open
attempt gets no second one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from keeper.core import attempt_build, event_build
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, Defect, MarketError, Refused
from keeper.core.event_build import AssetLabel
from keeper.core.events import Event
from keeper.core.order import Order, Outcome, Simulation, Submission, attempt_name
from keeper.core.outcome import Reason, Skip
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address
from keeper.pipeline.desk import Budget, Candidate, Desk, FundKey
from keeper.pipeline.market import Progress, unwatched
from keeper.pipeline.round import (
    OUR_FAULT,
    TRANSIENT,
    UNFORESEEN,
    Key,
    Moment,
    Round,
    standing,
    unused_name,
)
from keeper.ports import Chain, Funding, Journal, Simulator, Submitter

Decided = TypeVar("Decided")

MOST_SETTLE_TRIES = 20
MOST_UNREPORTED = 10_000
"""With a market that never gets to the head no round is returned: what the others did is journaled, not kept for ever."""
NAMES_KEPT_BLOCKS = 1_000
"""Longer than any reorg."""

__all__ = ["TRANSIENT", "ChainLoop", "Round"]


class ChainLoop:
    """Everything the keeper does on one chain."""

    def __init__(
        self,
        name: str,
        chain: Chain,
        desks: Sequence[Desk],
        funding: Funding,
        simulator: Simulator,
        submitter: Submitter,
        journal: Journal,
        now_s: Callable[[], float],
        max_head_age_s: float,
        labels: Mapping[Address, Sequence[AssetLabel]],
    ) -> None:
        self.name = name
        self.desks = list(desks)
        self.open: dict[Key, Submission] = {}
        """The attempts under way."""
        self.stopped: dict[Address, str] = {}
        """Markets that a defect stopped, with what broke."""
        self.head: BlockRef | None = None
        self._chain = chain
        self._funding = funding
        self._simulator = simulator
        self._submitter = submitter
        self._journal = journal
        self._now_s = now_s
        self._max_head_age_s = max_head_age_s
        self._labels = labels
        self._started: set[Address] = set()
        self._standings: dict[Address, dict[Address, Standing]] = {}
        self._submitted: deque[Submission] = deque(maxlen=MOST_UNREPORTED)
        self._settled: deque[Outcome] = deque(maxlen=MOST_UNREPORTED)
        self._decided_on: dict[Key, object] = {}
        """What the open attempts of a rehearsal were decided on."""
        self._done: dict[Key, tuple[object, str]] = {}
        """Below 1 upstream but restored in a rehearsal: what that was decided on, and the attempt."""
        self._names: dict[str, int] = {}
        """Attempts named lately, with the head that named them: another head of that number may follow a reorg."""
        self._unread: dict[Key, int] = {}
        """How often in a row the outcome of an open attempt could not be read."""
        self._behind: set[Key] = set()
        """Whose last order came to nothing: others are served first, or one such order could keep all the money idle."""
        self.refusals: dict[Address, str] = {}
        """Markets that cannot be trusted, with why."""

    async def on_head(self, head: BlockRef, progress: Progress = unwatched) -> Round:
        """One round. Raises `ChainError` when the world is unwell (or what nobody foresaw), once everything that has nothing
        to do with it is done: the next head tries again, nothing is lost."""
        await self._rewind(await self._chain.extend(head), head)
        result = Round(head)
        trouble: list[Exception] = []
        await self._submitter.follow_up(head)
        await self._settle(head, trouble)
        now_s = int(self._now_s())
        for desk in self.desks:
            desk.follower.latest_s = desk.latest_s(head, now_s)
        ready = [desk for desk in self.desks if await self._follow(desk, head, progress, trouble)]
        await self._act(ready, head, result)
        await self._settle(head, trouble)
        for desk in ready:
            if desk.market not in self.stopped:
                await self._record_standings(desk, head, result)
        if trouble:
            raise trouble[0]
        result.submitted, result.settled = list(self._submitted), list(self._settled)
        self._submitted.clear()
        self._settled.clear()
        return result

    async def _rewind(self, common_block: int, head: BlockRef) -> None:
        rewound = [desk.follower for desk in self.desks if desk.follower.rewind(common_block)]
        old, self.head = self.head, head
        if rewound and old is not None:
            ancestor_block = common_block if all(follower.built for follower in rewound) else None
            await self._journal.record([event_build.reorg(self.name, old, head, ancestor_block)])

    # -- follow --------------------------------------------------------------------------------------------------

    async def _follow(self, desk: Desk, head: BlockRef, progress: Progress, trouble: list[Exception]) -> bool:
        """Bring one market to the head; False when that cannot be done, or it is refused or stopped."""
        market, follower = desk.market, desk.follower
        if market in self.stopped:
            return False
        try:
            if market not in self._started:
                advance = await follower.start(head, progress)
                self._started.add(market)
                borrowers = sum(1 for _ in follower.book.positions())
                await self._journal.record([event_build.caught_up(self.name, market, head, borrowers)])
            else:
                advance = await follower.advance(head)
        except MarketError as error:
            known = market in self.refusals  # its words hold this head's numbers: they would be news at every head
            self.refusals[market] = str(error)
            if not known:
                await self._journal.record([event_build.market_refused(self.name, market, head.number, str(error))])
            return False
        except (ChainError, *UNFORESEEN) as error:
            trouble.append(error)
            return False
        except Defect as defect:
            await self._stop(market, defect)
            return False
        self.refusals.pop(market, None)
        events = [event_build.market_changed(self.name, market, head.number, change) for change in advance.changes]
        if advance.mended:
            detail = f"{advance.mended}: every row was read again"
            events.append(
                event_build.alert(self.name, "rows_differed", detail, block_number=head.number, market=market)
            )
        if advance.verified is not None and advance.verified.checked_borrowers:
            events.append(
                event_build.market_verified(
                    self.name,
                    market,
                    head.number,
                    protocol=follower.adapter.protocol,
                    revision=advance.verified.rules,
                    checked_borrowers=advance.verified.checked_borrowers,
                    base_decimals=len(str(follower.adapter.base_unit(follower.market))) - 1,
                    assets=self._labels[market],
                )
            )
        await self._journal.record(events)
        return True

    async def _stop(self, market: Address, fault: BaseException) -> None:
        detail = str(fault) if isinstance(fault, Defect) else f"{type(fault).__name__}: {fault}"
        self.stopped[market] = detail
        block_number = self.head.number if self.head else None
        await self._journal.record([event_build.market_refused(self.name, market, block_number, f"defect: {detail}")])

    async def _guarded(self, market: Address, decide: Callable[[], Decided]) -> Decided | None:
        """What pure code decides; None when it is wrong, which stops its market."""
        try:
            return decide()
        except OUR_FAULT as fault:
            await self._stop(market, fault)
            return None

    # -- act -----------------------------------------------------------------------------------------------------

    async def _act(self, desks: Sequence[Desk], head: BlockRef, result: Round) -> None:
        """From everybody below 1 to submissions; whoever gets no order gets a standing."""
        sick: dict[Address, dict[Address, int | Skip]] = {}
        for desk in desks:
            below = await self._guarded(desk.market, desk.below_one)
            if below is not None:
                sick[desk.market] = below
        self._forget_all_but(sick)
        if not any(sick.values()):
            return
        moment = Moment(head, self._now_s(), await self._chain.fees(), self._submitter.open_borrowers())
        chosen: list[tuple[Desk, Candidate]] = []
        for desk in desks:
            if desk.market in sick:
                await self._record_seen(desk.market, head, sick[desk.market])
                chosen += await self._judge(desk, sick[desk.market], moment, result)
        orders = await self._admit(chosen, head, result)
        if orders:
            await self._submit(orders, head, result)

    def _forget_all_but(self, sick: Mapping[Address, Mapping[Address, object]]) -> None:
        """What is remembered of somebody who is no longer below 1 is not true of the next fall."""

        def goes_on(key: Key) -> bool:
            return key[0] not in sick or key[1] in sick[key[0]]

        self._done = {key: done for key, done in self._done.items() if goes_on(key)}
        self._behind = {key for key in self._behind if goes_on(key)}

    async def _judge(
        self, desk: Desk, sick: Mapping[Address, int | Skip], moment: Moment, result: Round
    ) -> list[tuple[Desk, Candidate]]:
        """The candidates of one market; none when a decision shows that we are wrong about it."""
        chosen: list[tuple[Desk, Candidate]] = []
        standings: dict[Key, Standing] = {}
        for borrower, health in sick.items():
            decision = await self._guarded(desk.market, partial(self._decide, desk, borrower, health, moment))
            if decision is None:
                return []
            if isinstance(decision, Candidate):
                chosen.append((desk, decision))
            else:
                standings[desk.market, borrower] = decision
            await asyncio.sleep(0)  # a crash means many plans: let signals and the health page through
        result.standings |= standings
        return chosen

    def _decide(self, desk: Desk, borrower: Address, health: int | Skip, moment: Moment) -> Candidate | Standing:
        key = (desk.market, borrower)
        if isinstance(health, Skip):
            return standing(health, None)
        if key in self.open:
            attempt = self.open[key].order.attempt
            return Standing(ORDERED, "an attempt is under way", None, health, attempt)
        if borrower in moment.busy:
            return standing(Skip(Reason.RESERVED, "another transaction for this borrower may still be mined"), health)
        done = self._done.get(key)
        if done is not None:
            decided_on, attempt = done
            if decided_on == self._fingerprint(desk, borrower):
                return Standing(ORDERED, "restored in the rehearsal; unchanged since", None, health, attempt)
            del self._done[key]
        age_s = moment.now_s - moment.head.timestamp_s
        if age_s > self._max_head_age_s:
            return standing(Skip(Reason.STALE_HEAD, f"the newest head is {age_s:.0f} s old"), health)
        if desk.follower.verified is None:
            return standing(Skip(Reason.MARKET_UNVERIFIED, desk.follower.refused or "not verified yet"), health)
        decision = desk.candidate(borrower, moment.head, int(moment.now_s), moment.fees)
        return standing(decision, health) if isinstance(decision, Skip) else decision

    def _fingerprint(self, desk: Desk, borrower: Address) -> object:
        """What must change upstream before a borrower restored in a rehearsal counts again: its row, its assets' prices."""
        follower = desk.follower
        position = follower.book.position(borrower)
        return position, follower.adapter.relevant_prices(follower.state, position)

    async def _admit(
        self, chosen: Sequence[tuple[Desk, Candidate]], head: BlockRef, result: Round
    ) -> list[tuple[Desk, Order]]:
        """Orders within one shared budget, the largest debt first."""
        keys: list[FundKey] = sorted({key for desk, candidate in chosen for key in desk.fund_keys([candidate])})
        if not keys:
            return []
        budget = Budget(await self._funding.spendable(keys, head), await self._funding.gas_money_wei(head))
        for submission in self.open.values():
            budget.reserve(submission.order.plan, submission.order.spender)
        oldest_block = head.number - NAMES_KEPT_BLOCKS
        self._names = {name: block for name, block in self._names.items() if block >= oldest_block}
        orders: list[tuple[Desk, Order]] = []
        for desk, candidate in sorted(chosen, key=self._rank):
            admitted = desk.admit(candidate, budget)
            if isinstance(admitted, Skip):
                health_wad = candidate.offers[0].plan.health_before.health_factor_wad
                result.standings[desk.market, candidate.position.borrower] = standing(admitted, health_wad)
                continue
            name = unused_name(attempt_name(head.number, candidate.position.borrower), self._names)
            self._names[name] = head.number
            order = await self._guarded(desk.market, partial(desk.order, admitted, name))
            if order is not None:
                orders.append((desk, order))
        return orders

    def _rank(self, entry: tuple[Desk, Candidate]) -> tuple[bool, int, Address]:
        desk, candidate = entry
        borrower = candidate.position.borrower
        return (desk.market, borrower) in self._behind, -candidate.offers[0].plan.health_before.debt_base, borrower

    async def _submit(self, orders: Sequence[tuple[Desk, Order]], head: BlockRef, result: Round) -> None:
        latest_s = max(order.plan.window.latest_s for _, order in orders)
        simulations = await self._simulator.simulate([order for _, order in orders], head, latest_s)
        for (desk, order), simulation in zip(orders, simulations, strict=True):
            final: Order | Skip | None
            if isinstance(simulation, Skip):
                final = simulation
            else:
                final = await self._guarded(desk.market, partial(desk.reprice, order, simulation))
            if final is None or desk.market in self.stopped:
                continue
            key = (desk.market, order.borrower)
            self._behind.add(key)
            if isinstance(final, Skip) or isinstance(simulation, Skip):
                assert isinstance(final, Skip), "a failed simulation has no order"
                if final.reason is Reason.MARKET_UNVERIFIED:
                    desk.follower.read_again(order.borrower)
                result.standings[key] = standing(final, order.plan.health_before.health_factor_wad)
                continue
            result.standings[key] = await self._send(desk, final, simulation, head)

    async def _send(self, desk: Desk, order: Order, simulation: Simulation, head: BlockRef) -> Standing:
        plan, key = order.plan, (desk.market, order.borrower)
        health_wad = plan.health_before.health_factor_wad
        await self._journal.record([attempt_build.decided(self.name, order.attempt, plan)])
        try:
            submission = await self._submitter.submit(order, simulation, head)
        except Refused as error:
            await self._trouble(error, head, desk.market, order)
            return standing(
                Skip(Reason.RESERVED, f"the node refused the transaction: {error}", plan.verdict), health_wad
            )
        self.open[key] = submission
        self._submitted.append(submission)
        self._behind.discard(key)
        if self._submitter.rehearses:
            self._decided_on[key] = self._fingerprint(desk, order.borrower)
        await self._journal.record([attempt_build.sent(self.name, submission)])
        return Standing(ORDERED, "sent", plan.verdict, health_wad, order.attempt)

    # -- settle --------------------------------------------------------------------------------------------------

    async def _settle(self, head: BlockRef, trouble: list[Exception]) -> None:
        """Ask after every open attempt; a settled one is recorded and its borrower free for a new plan."""
        for key, submission in list(self.open.items()):
            try:
                outcome = await self._submitter.settle(submission, head)
            except (ChainError, *UNFORESEEN) as error:
                trouble.append(error)
                await self._give_up_when_hopeless(key, submission, head, error)
                continue
            except Defect as defect:
                del self.open[key]  # it would fail again; its market gets no more orders
                await self._stop(key[0], defect)
                continue
            self._unread.pop(key, None)
            if outcome is None:
                continue
            del self.open[key]
            self._settled.append(outcome)
            decided_on = self._decided_on.pop(key, None)
            if outcome.restored and self._submitter.rehearses:
                self._done[key] = (decided_on, submission.order.attempt)
            if outcome.mined or not self._submitter.rehearses:
                await self._journal.record(attempt_build.outcome_events(self.name, outcome))

    async def _give_up_when_hopeless(self, key: Key, submission: Submission, head: BlockRef, error: Exception) -> None:
        """What is mined may be unreadable for ever: a pruned block, a price that failed in it. Once nothing can be mined any
        more the borrower is free for a new plan, and a person is told."""
        self._unread[key] = self._unread.get(key, 0) + 1
        if self._unread[key] < MOST_SETTLE_TRIES or key[1] in self._submitter.open_borrowers():
            return
        del self.open[key], self._unread[key]
        self._decided_on.pop(key, None)
        detail = f"what came of attempt {submission.order.attempt} cannot be read: {error}"
        await self._journal.record(
            [event_build.alert(self.name, "outcome_unread", detail, block_number=head.number, market=key[0])]
        )

    async def _record_seen(self, market: Address, head: BlockRef, sick: Mapping[Address, int | Skip]) -> None:
        """First what is seen, then what is made of it."""
        previous = self._standings.setdefault(market, {})
        for borrower, health in sick.items():
            if borrower not in previous:
                health_wad = None if isinstance(health, Skip) else health
                previous[borrower] = Standing(ORDERED, "being judged", None, health_wad)
                await self._journal.record([event_build.seen(self.name, market, head.number, borrower, health_wad)])

    async def _record_standings(self, desk: Desk, head: BlockRef, result: Round) -> None:
        current = {borrower: stands for (market, borrower), stands in result.standings.items() if market == desk.market}
        previous = self._standings.get(desk.market, {})
        await self._journal.record(event_build.standing_events(self.name, desk.market, head.number, previous, current))
        await self._journal.record_standing(self.name, desk.market, head.number, current)
        self._standings[desk.market] = current

    async def _trouble(self, error: Refused | ChainError, head: BlockRef, market: Address, order: Order) -> None:
        event: Event = event_build.trouble(
            self.name, error, block_number=head.number, market=market, borrower=order.borrower, attempt=order.attempt
        )
        await self._journal.record([event])
