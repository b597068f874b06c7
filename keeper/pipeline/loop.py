"""One chain's loop: head → read → judge and act → settle → record.

Everything that deciding and signing need is read at once, so that between a head and its first signature lie two trips to the
node: this reading, and the simulation. Heads coalesce (a slow round simply meets a later head), logs never (they are read as a
range). A borrower with an open attempt gets no second one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from keeper.core import event_build
from keeper.core.block import BlockRef, PendingTransaction
from keeper.core.errors import ChainError, Defect, MarketError
from keeper.core.event_build import AssetLabel
from keeper.core.order import Behind, FeeQuote, Submission
from keeper.core.outcome import Skip
from keeper.core.prepared import Prepared
from keeper.core.standing import Funds
from keeper.core.units import Address, Hash32
from keeper.pipeline.acting import Actor
from keeper.pipeline.attempts import Attempts
from keeper.pipeline.budget import Budget, Budgets, FundKey
from keeper.pipeline.desk import Candidate, Desk, fix_windows
from keeper.pipeline.elsewhere import Elsewhere
from keeper.pipeline.head_age import HeadAge
from keeper.pipeline.progress import Progress, unwatched
from keeper.pipeline.railing import Railing
from keeper.pipeline.round import TRANSIENT, UNFORESEEN, Key, Moment, Round
from keeper.pipeline.standings import Standings
from keeper.pipeline.stops import Stops
from keeper.pipeline.tasks import all_together, together
from keeper.pipeline.turn import LARGEST_WAVE, Sick, Turn
from keeper.ports import Chain, Funding, Journal, Simulator, Submitter

USUAL_BLOCK_S = 12.0

__all__ = ["TRANSIENT", "ChainLoop", "Round"]


@dataclass(frozen=True, slots=True)
class Money:
    """What one signer has."""

    gas_money_wei: int | None
    funds: Mapping[FundKey, Funds]


@dataclass(frozen=True, slots=True)
class Means:
    """What one head allows: fees and money, read beside its state."""

    fees: FeeQuote
    money: Mapping[Address, Money]
    """By signer, in the configured order."""
    asked: frozenset[FundKey]
    """A token that was asked and did not answer is not among the funds."""


class ChainLoop:
    """Everything the keeper does on one chain."""

    def __init__(
        self,
        name: str,
        chain: Chain,
        desks: Sequence[Desk],
        funding: Mapping[Address, Funding],
        simulator: Simulator,
        submitter: Submitter,
        journal: Journal,
        now_s: Callable[[], float],
        max_head_age_s: float,
        labels: Mapping[Address, Sequence[AssetLabel]],
        rails: Railing,
    ) -> None:
        """`funding`: of each signer, in the configured order."""
        self.name = name
        self.desks = list(desks)
        self.refusals: dict[Address, str] = {}
        """Markets that cannot be trusted, with why."""
        self.calm = asyncio.Event()
        """Set while no head is being handled: what can wait goes on then."""
        self._chain = chain
        self._funding = funding
        self._submitter = submitter
        self._journal = journal
        self.age = HeadAge(now_s)
        self._labels = labels
        self._rails = rails
        self._started: set[Address] = set()
        self._turn: Turn | None = None
        """Of the head handled last, once it was acted on to its end."""
        self._spending = asyncio.Lock()
        """Held by whoever decides what is spent: two at a time would count on the same money."""
        self._block_s = USUAL_BLOCK_S
        """How far apart the last blocks were."""
        self._stops = Stops(name, journal)
        self._standings = Standings(name, journal, rehearses=submitter.rehearses)
        self._attempts = Attempts(name, submitter, journal, self._stops, rails.ledger)
        self._actor = Actor(
            name,
            simulator,
            submitter,
            journal,
            self._attempts,
            self._standings,
            self._stops,
            max_head_age_s,
            self.age,
            rails,
        )

    @property
    def head(self) -> BlockRef | None:
        """Of the last round that began."""
        return self._stops.head

    @property
    def open(self) -> Mapping[Key, Submission]:
        """The attempts under way."""
        return self._attempts.open

    @property
    def cut_short(self) -> bool:
        """Whether outcomes or rows are still unread only because a head may not wait for them."""
        return self._attempts.cut_short or self.is_mending

    @property
    def asked(self) -> list[Elsewhere]:
        """The venues that are asked beside the heads."""
        return [desk.carrier.elsewhere for desk in self.desks if desk.carrier.elsewhere is not None]

    @property
    def is_asking(self) -> bool:
        """Whether somebody below 1 waits for what they answer."""
        return any(each.is_waiting for each in self.asked)

    @property
    def is_mending(self) -> bool:
        """Whether a market waits for nothing but rows that are still to be read."""
        return any(desk.follower.is_reading for desk in self.desks if desk.market not in self.stopped)

    @property
    def paused(self) -> str | None:
        """Why nothing is sent on this chain, in words."""
        return self._rails.paused

    @property
    def paused_signers(self) -> Mapping[Address, str]:
        """Who of the signers may not send, with why."""
        return self._rails.paused_signers

    @property
    def stopped(self) -> Mapping[Address, str]:
        """Markets that a defect stopped, with what broke."""
        return self._stops.markets

    async def on_head(self, head: BlockRef, progress: Progress = unwatched) -> Round:
        """One round. Raises `ChainError` when the world is unwell (or what nobody foresaw), once everything that has nothing
        to do with it is done: the next head tries again, nothing is lost."""
        now_s = self.age.begin(head)
        await self._rewind(await self._chain.extend(head), head)
        result = Round(head)
        trouble: list[Exception] = []
        fix_windows(self.desks, head, int(now_s))
        means, ready = await together(self._means(head, trouble), self._follow_all(head, progress, trouble))
        turn = await self._act(ready, head, now_s, means, result, trouble)
        freed = await self._settle(head, trouble)
        if turn is not None:
            await self._act_again(ready, turn, freed, trouble)
        self._turn = turn
        async with self._spending:  # else what is under way behind an update would lose its reservation
            await self._rails.refresh(head)
        for desk in ready:
            if turn is not None and desk.market not in self.stopped:
                await self._standings.record(desk.market, head, result)
            if desk.market not in self.stopped:
                await self._audit(desk)
                await desk.follower.save_when_due()
            if desk.market not in self.stopped:
                await self._actor.tidy(desk)
        if trouble:
            raise trouble[0]
        self._attempts.hand_over(result)
        return result

    async def _rewind(self, common_block: int, head: BlockRef) -> None:
        rewound = [desk.follower for desk in self.desks if desk.follower.rewind(common_block)]
        old, self._stops.head = self.head, head
        if old is not None and head.number > old.number:
            self._block_s = (head.timestamp_s - old.timestamp_s) / (head.number - old.number)
        if rewound and old is not None:
            ancestor_block = common_block if all(follower.built for follower in rewound) else None
            await self._journal.record([event_build.reorg(self.name, old, head, ancestor_block)])

    # -- read ----------------------------------------------------------------------------------------------------

    async def _means(self, head: BlockRef, trouble: list[Exception]) -> Means | None:
        """Fees, money and nonces, all at once; None when one of them cannot be had: then nobody gets an order."""
        keys = [key for desk in self.desks for key in desk.fund_keys()]
        try:
            (fees, money), _ = await together(
                together(self._chain.fees(), all_together([self._money(each, keys, head) for each in self._funding])),
                together(self._submitter.prepare(head), self._rails.look(head)),
            )
        except (ChainError, *UNFORESEEN) as error:
            trouble.append(error)
            return None
        return Means(fees, dict(zip(self._funding, money, strict=True)), frozenset(keys))

    async def _money(self, signer: Address, keys: Sequence[FundKey], head: BlockRef) -> Money:
        funding = self._funding[signer]
        return Money(*await together(funding.gas_money_wei(head), funding.spendable(keys, head)))

    async def _follow_all(self, head: BlockRef, progress: Progress, trouble: list[Exception]) -> list[Desk]:
        """The desks whose markets stand at the head and may be judged."""
        stand = await all_together([self._follow(desk, head, progress, trouble) for desk in self.desks])
        return [desk for desk, there in zip(self.desks, stand, strict=True) if there]

    async def _follow(self, desk: Desk, head: BlockRef, progress: Progress, trouble: list[Exception]) -> bool:
        """Bring one market to the head; False when that cannot be done, or it is refused or stopped."""
        market, follower = desk.market, desk.follower
        if market in self.stopped:
            return False
        try:
            if market not in self._started:
                advance = await follower.start(head, progress)
                self._started.add(market)
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
            await self._stops.stop(market, defect)
            return False
        self.refusals.pop(market, None)
        events = event_build.built(self.name, market, head, follower.book.borrowers, advance.origin, advance.notices)
        events += [event_build.market_changed(self.name, market, head.number, change) for change in advance.changes]
        events += [event_build.mismatch(self.name, market, each) for each in advance.mismatches]
        events += [
            event_build.alert(self.name, each.doubt.value, each.detail, block_number=head.number, market=market)
            for each in desk.doubts(head)
        ]
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

    async def _audit(self, desk: Desk) -> None:
        """One step of the audit, now that the head was acted on. What it cannot read keeps nobody waiting."""
        try:
            mismatches = await desk.follower.audit(busy=bool(self.open))
            found = [event_build.mismatch(self.name, desk.market, each) for each in mismatches]
            await desk.tend(self._chain)
        except (ChainError, TimeoutError, *UNFORESEEN) as error:
            found = [event_build.audit_blind(self.name, desk.market, error)]
        except Defect as defect:
            await self._stops.stop(desk.market, defect)
            return
        await self._journal.record(found)

    async def act_behind(
        self,
        desk: Desk,
        transaction: PendingTransaction,
        prepared: Mapping[Address, Prepared],
        raw_of: Callable[[Hash32], Awaitable[bytes | None]],
    ) -> Sequence[Submission]:
        """Orders right behind a pending transaction, for the block after the head handled last, of what is left to spend at
        it; while no head is being handled. Whoever needs more than one call waits until the transaction is mined."""
        raw = await raw_of(transaction.hash)
        async with self._spending:
            turn = self._turn
            if raw is None or turn is None or not self.calm.is_set() or turn.moment.head != desk.follower.applied:
                return []
            if self._rails.paused is not None or desk.follower.verified is None or desk.market in self.stopped:
                return []
            busy, reserved = self._submitter.open_borrowers(), self._submitter.reserved()
            moment = replace(turn.moment, busy=busy, reserved=reserved)
            behind = turn.behind_of(Behind(transaction, raw), moment)
            found = [self._behind_one(desk, each, moment) for each in prepared.values()]
            await self._actor.act_behind([each for each in found if each is not None][:LARGEST_WAVE], behind)
            return [self.open[key] for key in behind.ordered if key in self.open]

    def _behind_one(self, desk: Desk, prepared: Prepared, moment: Moment) -> tuple[Sick, Candidate] | None:
        borrower = prepared.position.borrower
        if (desk.market, borrower) in self.open or borrower in moment.busy or len(prepared.plans[0].calls) != 1:
            return None
        candidate = desk.candidate_behind(prepared, moment.fees)
        if isinstance(candidate, Skip) or any(len(offer.gas) != 1 for offer in candidate.offers):
            return None
        window = prepared.plans[0].window
        return Sick(desk, borrower, desk.health_of(borrower), window.earliest_s, prepared.prices_base), candidate

    # -- act and settle ------------------------------------------------------------------------------------------

    async def _act(
        self,
        ready: Sequence[Desk],
        head: BlockRef,
        now_s: float,
        means: Means | None,
        result: Round,
        trouble: list[Exception],
    ) -> Turn | None:
        """None when not everybody could be judged."""
        if means is None:
            return None
        try:
            async with self._spending:
                busy, reserved = self._submitter.open_borrowers(), self._submitter.reserved()
                moment = Moment(head, now_s, means.fees, busy, reserved)
                turn = Turn(moment, await self._budgets(ready, head, means, moment), result)
                await self._actor.act(ready, turn)
        except (ChainError, *UNFORESEEN) as error:
            trouble.append(error)
            return None
        return turn

    async def _budgets(self, ready: Sequence[Desk], head: BlockRef, means: Means, moment: Moment) -> Budgets:
        """What the head's orders may spend: what is there, less what open attempts may still take of it."""
        keys = [key for desk in ready for key in desk.fund_keys() if key not in means.asked]
        held = {key: funds for desk in ready for key, funds in desk.carrier.funds.items()}
        shared: dict[FundKey, int] = {}
        by_signer: dict[Address, Budget] = {}
        for signer, money in means.money.items():
            rails = self._rails.by_signer[signer]
            funds = dict(money.funds) | (dict(await self._funding[signer].spendable(keys, head)) if keys else {}) | held
            # What the executor holds all signers' orders take from.
            reserved_raw = shared if held else {}
            budget = Budget(funds, rails.spare_wei(money.gas_money_wei), reserved_raw, rails.least_wei)
            budget.set_aside(self._submitter.promised(signer))
            by_signer[signer] = budget
        budgets = Budgets(by_signer)
        by_market = {desk.market: desk for desk in self.desks}
        for (market, borrower), submission in self.open.items():
            if borrower in moment.busy:
                by_market[market].promise(submission.order, budgets)
        return budgets

    async def _settle(self, head: BlockRef, trouble: list[Exception]) -> set[Key]:
        """After acting: what became of earlier orders is told, but nobody waits for it with an order."""
        before = len(trouble)
        try:
            await self._attempts.tell_others(await self._submitter.follow_up(head), head)
        except (ChainError, *UNFORESEEN) as error:
            trouble.append(error)
        untold = len(trouble) > before
        try:
            if self._rails.killed:
                await self._submitter.cancel_open(head)
        except (ChainError, *UNFORESEEN) as error:
            trouble.append(error)
        return set() if untold else await self._attempts.settle(head, self._block_s, trouble)

    async def _act_again(self, ready: Sequence[Desk], turn: Turn, freed: set[Key], trouble: list[Exception]) -> None:
        """Whoever is free again and still below 1 gets its next order at this very head, unless it was given one already (a
        rehearsal settles what it has just sent)."""
        below = {key for key in freed - turn.ordered if key[1] in turn.seen.get(key[0], ())}
        if not below:
            return
        try:
            await self._actor.act_again(ready, turn, below)
        except (ChainError, *UNFORESEEN) as error:
            trouble.append(error)
        if self._submitter.rehearses:
            await self._attempts.settle(turn.moment.head, self._block_s, trouble)
