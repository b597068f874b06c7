"""One chain's loop: head → follow → judge → plan → price → admit → simulate → submit → settle → record.

Heads coalesce (a slow round simply meets a later head), logs never (they are read as a range). A borrower with an open
attempt gets no second one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from keeper.core import attempt_build, event_build
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, Defect, MarketError, Refused
from keeper.core.event_build import AssetLabel
from keeper.core.events import Event
from keeper.core.order import FeeQuote, Order, Outcome, Simulation, Submission
from keeper.core.outcome import Reason, Skip
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address
from keeper.pipeline.desk import Budget, Candidate, Desk, FundKey
from keeper.pipeline.market import Progress
from keeper.ports import Chain, Funding, Journal, Simulator, Submitter

TRANSIENT = frozenset(
    {
        Reason.NO_INVENTORY,
        Reason.NO_ALLOWANCE,
        Reason.FEE_CAP,
        Reason.RESERVED,
        Reason.STALE_HEAD,
        Reason.MARKET_UNVERIFIED,
        Reason.CANNOT_SIMULATE,
        Reason.SIMULATION_REVERTED,
        Reason.UNPRICEABLE,
    }
)
"""Reasons that leave work behind: something outside the rules of the market stood in the way."""


@dataclass(slots=True)
class Round:
    """What one head came to."""

    head: BlockRef
    standings: dict[tuple[Address, Address], Standing] = field(default_factory=dict)
    """Per (market, borrower) below 1."""
    submitted: list[Submission] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)


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
        self.open: dict[tuple[Address, Address], Submission] = {}
        """Per (market, borrower): the attempt under way."""
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
        self._done: dict[tuple[Address, Address], tuple[object, Submission]] = {}
        self.refusals: dict[Address, str] = {}
        """Markets that cannot be trusted, with why."""

    async def on_head(self, head: BlockRef, progress: Progress = lambda first, reached, last: None) -> Round:
        """One round. Raises `ChainError` when the world is unwell: the next head tries again, nothing is lost."""
        common = await self._chain.extend(head)
        for desk in self.desks:
            if desk.follower.rewind(common) and self.head is not None:
                await self._journal.record([event_build.reorg(self.name, self.head, head, common)])
        self.head = head
        result = Round(head)
        await self._submitter.follow_up(head)
        await self._settle(head, result)
        ready = [desk for desk in self.desks if await self._follow(desk, head, progress)]
        await self._act(ready, head, result)
        await self._settle(head, result)
        for desk in ready:
            await self._record_standings(desk, head, result)
        return result

    # -- follow --------------------------------------------------------------------------------------------------

    async def _follow(self, desk: Desk, head: BlockRef, progress: Progress) -> bool:
        """Bring one market to the head; False when it is refused or stopped."""
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
            if self.refusals.get(market) != str(error):
                self.refusals[market] = str(error)
                await self._journal.record([event_build.market_refused(self.name, market, head.number, str(error))])
            return False
        except Defect as defect:
            await self._stop(market, defect)
            return False
        self.refusals.pop(market, None)
        events = [event_build.market_changed(self.name, market, head.number, change) for change in advance.changes]
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

    async def _stop(self, market: Address, defect: Defect) -> None:
        self.stopped[market] = str(defect)
        await self._journal.record(
            [
                event_build.market_refused(
                    self.name, market, self.head.number if self.head else None, f"defect: {defect}"
                )
            ]
        )

    # -- act -----------------------------------------------------------------------------------------------------

    async def _act(self, desks: Sequence[Desk], head: BlockRef, result: Round) -> None:
        """From everybody below 1 to submissions; whoever gets no order gets a standing."""
        sick = {desk.market: desk.below_one() for desk in desks}
        if not any(sick.values()):
            return
        fees = await self._chain.fees()
        now_s = self._now_s()
        candidates: dict[Address, list[Candidate]] = {}
        for desk in desks:
            chosen = candidates[desk.market] = []
            for borrower, health in sick[desk.market].items():
                decision = self._decide(desk, borrower, health, head, fees, now_s)
                if isinstance(decision, Candidate):
                    chosen.append(decision)
                else:
                    result.standings[desk.market, borrower] = decision
        orders = await self._admit(desks, candidates, head, result)
        if orders:
            await self._submit(orders, head, result)

    def _decide(
        self, desk: Desk, borrower: Address, health: int | Skip, head: BlockRef, fees: FeeQuote, now_s: float
    ) -> Candidate | Standing:
        key = (desk.market, borrower)
        if isinstance(health, Skip):
            return standing(health, 0)
        if key in self.open:
            attempt = self.open[key].order.attempt
            return Standing(ORDERED, "an attempt is under way", None, health, attempt)
        if borrower in self._submitter.open_borrowers():
            return standing(Skip(Reason.RESERVED, "a transaction of an earlier run may still be mined"), health)
        done = self._done.get(key)
        if done is not None:
            if done[0] == self._fingerprint(desk, borrower):
                attempt = done[1].order.attempt
                return Standing(ORDERED, "restored in the rehearsal; unchanged since", None, health, attempt)
            del self._done[key]
        age_s = now_s - head.timestamp_s
        if age_s > self._max_head_age_s:
            return standing(Skip(Reason.STALE_HEAD, f"the newest head is {age_s:.0f} s old"), health)
        if desk.follower.verified is None:
            return standing(Skip(Reason.MARKET_UNVERIFIED, desk.follower.refused or "not verified yet"), health)
        decision = desk.candidate(borrower, head, int(now_s), fees)
        return standing(decision, health) if isinstance(decision, Skip) else decision

    def _fingerprint(self, desk: Desk, borrower: Address) -> object:
        """What must change upstream before a borrower restored in a rehearsal counts again: its row, its assets' prices."""
        follower = desk.follower
        position = follower.book.position(borrower)
        return position, follower.adapter.relevant_prices(follower.state, position)

    async def _admit(
        self, desks: Sequence[Desk], candidates: Mapping[Address, Sequence[Candidate]], head: BlockRef, result: Round
    ) -> list[tuple[Desk, Order]]:
        """Orders within one shared budget, the largest debt first."""
        keys: list[FundKey] = sorted({key for desk in desks for key in desk.fund_keys(candidates[desk.market])})
        if not keys:
            return []
        budget = Budget(await self._funding.spendable(keys, head), await self._funding.gas_money_wei(head))
        for submission in self.open.values():
            for asset, needed_raw in submission.order.plan.debts_raw.items():
                budget.reserved_raw[asset] = budget.reserved_raw.get(asset, 0) + needed_raw
        ranked = [(desk, candidate) for desk in desks for candidate in candidates[desk.market]]
        ranked.sort(key=lambda entry: (-entry[1].offers[0].plan.health_before.debt_base, entry[1].position.borrower))
        orders: list[tuple[Desk, Order]] = []
        for desk, candidate in ranked:
            refusal: Skip | None = None
            for offer in candidate.offers:
                taken = budget.take(
                    offer.plan, desk.follower.adapter.spender(desk.follower.market), desk.gas_wei(offer)
                )
                if taken is None:
                    orders.append((desk, desk.order(offer)))
                    break
                refusal = refusal or taken
            else:
                assert refusal is not None, "a candidate has at least one offer"
                health_wad = candidate.offers[0].plan.health_before.health_factor_wad
                result.standings[desk.market, candidate.position.borrower] = standing(refusal, health_wad)
        return orders

    async def _submit(self, orders: Sequence[tuple[Desk, Order]], head: BlockRef, result: Round) -> None:
        latest_s = max(order.plan.window.latest_s for _, order in orders)
        simulations = await self._simulator.simulate([order for _, order in orders], head, latest_s)
        for (desk, order), simulation in zip(orders, simulations, strict=True):
            health_wad = order.plan.health_before.health_factor_wad
            key = (desk.market, order.borrower)
            final = simulation if isinstance(simulation, Skip) else desk.reprice(order, simulation)
            if isinstance(final, Skip) or isinstance(simulation, Skip):
                assert isinstance(final, Skip), "a failed simulation has no order"
                result.standings[key] = standing(final, health_wad)
                continue
            result.standings[key] = await self._send(desk, final, simulation, head, result)

    async def _send(self, desk: Desk, order: Order, simulation: Simulation, head: BlockRef, result: Round) -> Standing:
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
        await self._journal.record([attempt_build.sent(self.name, submission)])
        self.open[key] = submission
        result.submitted.append(submission)
        return Standing(ORDERED, "sent", plan.verdict, health_wad, order.attempt)

    # -- settle --------------------------------------------------------------------------------------------------

    async def _settle(self, head: BlockRef, result: Round) -> None:
        """Ask after every open attempt; a settled one is recorded and its borrower free for a new plan."""
        for key, submission in list(self.open.items()):
            outcome = await self._submitter.settle(submission, head)
            if outcome is None:
                continue
            if outcome.mined or not self._submitter.rehearses:
                await self._journal.record(attempt_build.outcome_events(self.name, outcome))
            result.settled.append(outcome)
            del self.open[key]
            if outcome.restored and self._submitter.rehearses:
                desk = next(desk for desk in self.desks if desk.market == key[0])
                self._done[key] = (self._fingerprint(desk, key[1]), submission)

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


def standing(skip: Skip, health_factor_wad: int) -> Standing:
    return Standing(skip.reason.value, skip.detail, skip.verdict, health_factor_wad)


def leaves_work(stands: Standing) -> bool:
    """Whether a borrower's standing means that something is left to do."""
    return stands.reason == ORDERED or stands.reason in TRANSIENT
