"""From everybody below 1 at one head to submissions, in waves.

The most urgent come first: the largest debt (base currency, as of the head), then the lower address; whoever's last order came
to nothing goes behind the others, or one such order could keep all the money idle. Borrowers whom one call restores go
before those who need a sequence, which takes far longer to plan.

A wave is planned, admitted to the head's one budget, simulated in one request and sent in one go. The first is small, so that
the first order leaves early; the later ones share the cost of a round trip among many. Each is simulated on top of those of
this head that are on their way already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

from keeper.core import attempt_build, event_build
from keeper.core.errors import Paused, Refused
from keeper.core.events import Event
from keeper.core.order import Order, Simulation, Submission, attempt_name
from keeper.core.outcome import Reason, Skip
from keeper.core.planner import Unfinished
from keeper.core.standing import ORDERED, Standing
from keeper.core.steps import Steps
from keeper.core.units import Address
from keeper.pipeline.attempts import Attempts
from keeper.pipeline.budget import NO_ROOM
from keeper.pipeline.desk import Admitted, Candidate, Desk
from keeper.pipeline.head_age import HeadAge
from keeper.pipeline.railing import Railing
from keeper.pipeline.round import OUR_FAULT, Key, standing, unused_name
from keeper.pipeline.standings import Standings
from keeper.pipeline.stops import Stops
from keeper.pipeline.tasks import Slices
from keeper.pipeline.turn import FIRST_WAVE, LARGEST_WAVE, Sick, Turn, Unit, below_one, fingerprint, prices_base
from keeper.ports import Journal, Simulator, Submitter

Decided = TypeVar("Decided")

WAVE_GROWTH = 4
FIRST_VALUED = 8
MOST_VALUED = 64
"""So many of the named are valued exactly before the most urgent of them is planned; few at first, as with the waves."""
NAMES_KEPT_BLOCKS = 1_000
"""Longer than any reorg."""


class Actor:
    """Decides and sends for all markets of a chain."""

    def __init__(
        self,
        name: str,
        simulator: Simulator,
        submitter: Submitter,
        journal: Journal,
        attempts: Attempts,
        standings: Standings,
        stops: Stops,
        max_head_age_s: float,
        age: HeadAge,
        rails: Railing,
    ) -> None:
        self._name = name
        self._rails = rails
        self._simulator = simulator
        self._submitter = submitter
        self._journal = journal
        self._attempts = attempts
        self._standings = standings
        self._stops = stops
        self._max_head_age_s = max_head_age_s
        self._age = age
        self._names: dict[str, int] = {}
        """Attempts named lately, with the head that named them: another head of that number may follow a reorg."""
        self._behind: set[Key] = set()
        """Whose last order came to nothing."""

    async def act(self, desks: Sequence[Desk], turn: Turn) -> None:
        """Everybody below 1 gets an order or a standing. Raises `ChainError` when the node cannot be asked."""
        oldest_block = turn.moment.head.number - NAMES_KEPT_BLOCKS
        self._names = {name: block for name, block in self._names.items() if block >= oldest_block}
        named: dict[Desk, Sequence[Address]] = {}
        for desk in desks:
            names = await self._sliced(desk.market, desk.naming(), turn.slices)
            if names is not None:
                named[desk] = names
                turn.seen[desk.market] = set()
        await self._act_on(named, turn)
        complete = {market: seen for market, seen in turn.seen.items() if market not in self._stops.markets}
        self._attempts.forget_all_but(complete)
        self._behind = {
            (market, who) for market, who in self._behind if market not in complete or who in complete[market]
        }

    async def act_again(self, desks: Sequence[Desk], turn: Turn, freed: Set[Key]) -> None:
        """The same for those whose attempt was settled meanwhile: it may not have restored them."""
        turn.moment = replace(turn.moment, busy=self._submitter.open_borrowers(), reserved=self._submitter.reserved())
        turn.wave_size = FIRST_WAVE
        await self._act_on({desk: [who for market, who in freed if market == desk.market] for desk in desks}, turn)

    async def act_behind(self, chosen: Sequence[tuple[Sick, Candidate]], turn: Turn) -> None:
        """Orders for these, in this order, to stand right behind the transaction of the turn."""
        for sick, candidate in chosen:
            await self._take(sick, candidate, turn)
        await self._send(turn)

    async def tidy(self, desk: Desk) -> None:
        """Put the desk's book in order for the next heads, now that nothing is urgent."""
        await self._sliced(desk.market, desk.tidying(), Slices())

    async def _act_on(self, named: Mapping[Desk, Sequence[Address]], turn: Turn) -> None:
        try:
            await self._order_all(named, turn)
        finally:
            await self._tell(turn, [])

    async def _order_all(self, named: Mapping[Desk, Sequence[Address]], turn: Turn) -> None:
        sequences: list[tuple[Sick, Unfinished]] = []
        async for sick in self._by_urgency(named, turn):
            if sick.desk.market in self._stops.markets:
                continue
            decided = await self._sliced(sick.desk.market, self._decide(sick, turn), turn.slices)
            if isinstance(decided, Unfinished):
                sequences.append((sick, decided))
            elif decided is not None:
                await self._take(sick, decided, turn)
            await turn.slices.breathe()
        for sick, unfinished in sequences:
            refused = self._full(turn) or await self._finished(sick, unfinished, turn)
            if refused is not None:
                await self._take(sick, refused, turn)
        await self._send(turn)

    # -- who ----------------------------------------------------------------------------------------------------------

    async def _by_urgency(self, named: Mapping[Desk, Sequence[Address]], turn: Turn) -> AsyncIterator[Sick]:
        """Everybody below 1, valued a few at a time and exactly. The names come with the largest debt first but for what
        floats make of it; among those valued together the order is exact."""
        waiting = {desk: iter(self._behind_last(desk, names)) for desk, names in named.items()}
        at_once = FIRST_VALUED
        while waiting:
            valued: list[Sick] = []
            for desk in list(waiting):
                some = list(islice(waiting[desk], at_once))
                if not some or desk.market in self._stops.markets:
                    del waiting[desk]
                    continue
                healths = await self._stops.guarded(desk.market, partial(below_one, desk, some))
                valued += healths or []
                self._see(desk, healths or [], turn)
            valued.sort(key=lambda sick: (sick.key in self._behind, sick.urgency))
            at_once = min(MOST_VALUED, at_once * WAVE_GROWTH)
            for sick in valued:
                yield sick

    def _behind_last(self, desk: Desk, names: Sequence[Address]) -> list[Address]:
        return sorted(names, key=lambda borrower: (desk.market, borrower) in self._behind)

    def _see(self, desk: Desk, sick: Sequence[Sick], turn: Turn) -> None:
        turn.seen[desk.market] |= {each.borrower for each in sick}
        found = {each.borrower: (each.health_wad, each.since_s) for each in sick}
        turn.news += self._standings.see(desk.market, turn.moment.head, found)

    async def _tell(self, turn: Turn, events: Sequence[Event]) -> None:
        """After whoever was seen first."""
        told, turn.news = [*turn.news, *events], []
        if told:
            await self._journal.record(told)

    # -- what ---------------------------------------------------------------------------------------------------------

    def _decide(self, sick: Sick, turn: Turn) -> Steps[Candidate | Skip | Standing | Unfinished]:
        desk, moment, health = sick.desk, turn.moment, sick.health
        if isinstance(health, Skip):
            return health
        if sick.key in self._attempts.open:
            attempt = self._attempts.open[sick.key].order.attempt
            return Standing(ORDERED, "an attempt is under way", None, health.health_factor_wad, attempt)
        if sick.borrower in moment.busy:
            return Skip(Reason.RESERVED, "another transaction for this borrower may still be mined")
        restored_by = self._attempts.restored_by(sick.key, fingerprint(desk, sick.borrower))
        if restored_by is not None:
            detail = "restored in the rehearsal; unchanged since"
            return Standing(ORDERED, detail, None, health.health_factor_wad, restored_by)
        if self._rails.paused is not None:
            return Skip(Reason.PAUSED, self._rails.paused)
        if self._age.age_s() > self._max_head_age_s:
            return Skip(Reason.STALE_HEAD, f"the newest head is {self._age.age_s():.0f} s old")
        late = self._too_late(desk, turn)
        if late is not None:
            return late
        if desk.follower.verified is None:
            return Skip(Reason.MARKET_UNVERIFIED, desk.follower.refused or "not verified yet")
        return self._full(turn) or (yield from desk.begin(sick.borrower, moment, sick.since_s))

    def _full(self, turn: Turn) -> Skip | None:
        """Why no more transactions may be put on their way at this head."""
        if any(room is None or room > 0 for room in self._rooms(turn).values()):
            return None
        return Skip(Reason.RESERVED, NO_ROOM)

    def _rooms(self, turn: Turn) -> dict[Address, int | None]:
        """How many more transactions each signer that is not paused may put on their way, those of the wave set aside."""
        rooms = {signer: self._submitter.room(signer, turn.moment.head) for signer in self._rails.unpaused}
        for _, order in turn.wave:
            room = rooms.get(order.signer)
            if room is not None:
                rooms[order.signer] = room - len(order.calls)
        return rooms

    async def _finished(self, sick: Sick, unfinished: Unfinished, turn: Turn) -> Candidate | Skip | None:
        """A sequence; None when planning it shows that we are wrong about the market."""
        if sick.desk.market in self._stops.markets:
            return None
        steps = sick.desk.finish(unfinished, turn.moment, sick.since_s)
        return await self._sliced(sick.desk.market, steps, turn.slices)

    async def _sliced(self, market: Address, steps: Steps[Decided], slices: Slices) -> Decided | None:
        """What long work comes to, done in slices; None when it is wrong, which stops its market."""
        try:
            return await slices.run(steps)
        except OUR_FAULT as fault:
            await self._stops.stop(market, fault)
            return None

    async def _take(self, sick: Sick, decided: Candidate | Skip | Standing, turn: Turn) -> None:
        """Admit a candidate to the wave, which leaves when it is full; or write down how its borrower stands."""
        if isinstance(decided, Candidate):
            admitted = sick.desk.admit(decided, turn.budgets, self._rooms(turn), turn.moment)
            if not isinstance(admitted, Skip):
                await self._order(sick, admitted, turn)
                return
            decided = admitted
        if isinstance(decided, Skip):
            decided = standing(decided, sick.health_wad)
        turn.result.standings[sick.key] = decided

    async def _order(self, sick: Sick, admitted: Admitted, turn: Turn) -> None:
        head = turn.moment.head
        name = unused_name(attempt_name(head.number, sick.borrower), self._names)
        self._names[name] = head.number
        order = await self._guarded(sick, partial(sick.desk.order, admitted, name, turn.behind))
        if order is None:
            return
        turn.wave.append((sick, order))
        if len(turn.wave) >= turn.wave_size:
            await self._send(turn)

    async def _guarded(self, sick: Sick, decide: Callable[[], Decided]) -> Decided | None:
        """None also for a market that is stopped already."""
        market = sick.desk.market
        return None if market in self._stops.markets else await self._stops.guarded(market, decide)

    # -- send ---------------------------------------------------------------------------------------------------------

    async def _send(self, turn: Turn) -> None:
        """Simulate the wave, and send what the simulation confirms. Of an order of several borrowers that comes to nothing each
        is tried by itself, after the others."""
        wave = [(sick, order) for sick, order in turn.wave if sick.desk.market not in self._stops.markets]
        turn.wave.clear()
        turn.wave_size = min(LARGEST_WAVE, turn.wave_size * WAVE_GROWTH)
        if not wave:
            return
        units = [Unit((sick,), order, (order,)) for sick, order in wave]
        if turn.behind is None and len(wave) > 1:
            units = await self._joined(wave, turn)
        apart = await self._send_units(units, turn)
        await self._send_units([each for unit in apart for each in unit.apart], turn)

    async def _joined(self, wave: Sequence[tuple[Sick, Order]], turn: Turn) -> list[Unit]:
        """By the place of the most urgent; nobody's place is later than it was."""
        found: list[tuple[int, Unit]] = []
        for desk in dict.fromkeys(sick.desk for sick, _ in wave):
            places = [place for place, (sick, _) in enumerate(wave) if sick.desk is desk]
            apart = {who for market, who in self._attempts.reverted_together if market == desk.market}
            apart |= turn.moment.reserved.keys()
            steps = desk.joined([wave[place][1] for place in places], apart)
            for together, order in await self._sliced(desk.market, steps, turn.slices) or []:
                own = [wave[places[each]] for each in together]
                unit = Unit(tuple(sick for sick, _ in own), order, tuple(order for _, order in own))
                found.append((places[together[0]], unit))
        return [unit for _, unit in sorted(found, key=lambda each: each[0])]

    async def _send_units(self, units: Sequence[Unit], turn: Turn) -> list[Unit]:
        """Returns those of several borrowers that came to nothing."""
        if not units:
            return []
        confirmed, apart = await self._confirmed(units, turn)
        if not confirmed:
            return apart
        head = turn.moment.head
        decided = [
            attempt_build.decided(
                self._name, part.attempt, part.plan, sick.expected_base or prices_base(sick.desk, sick.borrower)
            )
            for unit, order, _ in confirmed
            for sick, part in zip(unit.sick, order.parts, strict=True)
        ]
        await self._tell(turn, decided)
        answers = await self._submitter.submit([(order, simulation) for _, order, simulation in confirmed], head)
        events: list[Event | None] = []
        for (unit, order, _), answer in zip(confirmed, answers, strict=True):
            if isinstance(answer, Submission):
                turn.on_their_way.append(order)
                events += [self._sent(sick, part, turn) for sick, part in zip(unit.sick, answer.parts, strict=True)]
            else:
                events += self._refused(unit, order, answer, turn)
        await self._journal.record([event for event in events if event is not None])
        return apart

    async def _confirmed(
        self, units: Sequence[Unit], turn: Turn
    ) -> tuple[list[tuple[Unit, Order, Simulation]], list[Unit]]:
        """The orders that do in the simulation what was planned, to the wei, and still pay; and those of several borrowers that
        do not."""
        latest_s = max(unit.order.plan.window.latest_s for unit in units)
        orders = [unit.order for unit in units]
        simulations = await self._simulator.simulate(orders, turn.moment.head, latest_s, turn.on_their_way)
        confirmed: list[tuple[Unit, Order, Simulation]] = []
        apart: list[Unit] = []
        for unit, simulation in zip(units, simulations, strict=True):
            self._behind.update(sick.key for sick in unit.sick)
            final = await self._final(unit, simulation, turn)
            if final is None:
                continue
            if isinstance(final, Skip):
                if len(unit.sick) > 1:
                    apart.append(unit)
                else:
                    self._drop(unit, unit.admitted, final, turn)
                continue
            assert isinstance(simulation, Simulation), "what was not simulated has no final order"
            for order in unit.admitted:
                unit.desk.free(order, turn.budgets)
            unit.desk.promise(final, turn.budgets)
            confirmed.append((unit, final, simulation))
            await turn.slices.breathe()
        return [each for each in confirmed if each[0].desk.market not in self._stops.markets], apart

    async def _final(self, unit: Unit, simulation: Simulation | Skip, turn: Turn) -> Order | Skip | None:
        """The order as it may be sent; None when judging it shows that we are wrong about the market."""
        if isinstance(simulation, Skip):
            return simulation
        final = await self._guarded(unit.sick[0], partial(unit.desk.reprice, unit.order, simulation))
        if not isinstance(final, Order):
            return final
        return self._too_late(unit.desk, turn) or await self._rails.judge(final, turn.moment.head) or final

    def _too_late(self, desk: Desk, turn: Turn) -> Skip | None:
        """Why nothing planned on this head may leave any more: its window is over, and what it says of prices and interest."""
        if self._age.chain_s() <= desk.window(turn.moment).latest_s:
            return None
        return Skip(Reason.STALE_HEAD, f"judging this head took {self._age.taken_s():.0f} s")

    def _drop(self, unit: Unit, promised: Sequence[Order], why: Skip, turn: Turn) -> None:
        """Nothing of the order is on its way: what was promised for it is free for the others."""
        for order in promised:
            unit.desk.free(order, turn.budgets)
            self._rails.release(order)
        for sick in unit.sick:
            if why.reason is Reason.MARKET_UNVERIFIED:
                sick.desk.follower.read_again(sick.borrower)
            turn.result.standings[sick.key] = standing(why, sick.health_wad)
        if why.reason is Reason.SIMULATION_REVERTED:
            unit.desk.carrier.failed(unit.order)

    def _sent(self, sick: Sick, submission: Submission, turn: Turn) -> Event:
        order = submission.order
        self._attempts.add(sick.key, submission, fingerprint(sick.desk, sick.borrower))
        self._behind.discard(sick.key)
        turn.ordered.add(sick.key)
        turn.result.standings[sick.key] = Standing(ORDERED, "sent", order.plan.verdict, sick.health_wad, order.attempt)
        return attempt_build.sent(self._name, submission)

    def _refused(self, unit: Unit, order: Order, error: Refused, turn: Turn) -> list[Event]:
        """Nothing to tell where the pause that came between was told already, or will be."""
        if isinstance(error, Paused):
            self._drop(unit, [order], Skip(Reason.PAUSED, str(error)), turn)
            return []
        self._drop(unit, [order], Skip(Reason.RESERVED, f"nothing was sent: {error}", order.plan.verdict), turn)
        return [
            event_build.trouble(
                self._name,
                error,
                block_number=turn.moment.head.number,
                market=unit.desk.market,
                borrower=part.borrower,
                attempt=part.attempt,
            )
            for part in order.parts
        ]
