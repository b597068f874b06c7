"""From a borrower below 1 to the least sequence of calls that restores it, or the reason why there is none.

Order of preference: one call that reaches the target, on the pair that costs the borrower least (seized − repaid value);
else the shortest sequence that reaches it; else the most health that the rules allow.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic, TypeVar

from keeper.core.block import BlockRef
from keeper.core.lending import Health, LendingAdapter, Pair, Position, Refusal
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Clip, Plan, PlannedCall, Window
from keeper.core.size import ROUNDED_UNITS, PairSizer, Scenario
from keeper.core.sized import (
    CallSequence,
    Sized,
    clip_of,
    follow,
    foremost,
    largest_below_one,
    rank,
    sized,
    units_worse,
)
from keeper.core.target import TargetPolicy
from keeper.core.units import BPS, HEALTH_ONE_WAD, Address

Market = TypeVar("Market")
State = TypeVar("State")

MOST_SECONDS = 30
"""Of a long window so many seconds are looked at, besides its ends."""
MOST_ALTERNATIVES = 3
"""So many sequences are sized when no single call suffices; the others are only estimated."""
MOST_PAIRS = 12
"""Of a position with more pairs those are sized that may repay the most: anybody can hold a little of every asset."""
MOST_COLLATERALS = 6
"""Of such a position only the pairs of the heaviest collaterals are compared."""
MOST_BEGINNINGS = 24
"""So many ways to begin a sequence are followed, those that raise health most first: their number grows with the square of
the pairs."""


@dataclass(frozen=True, slots=True)
class PlanPolicy:
    """What the operator decides about plans."""

    target: TargetPolicy = field(default_factory=TargetPolicy)
    most_calls: int = 3
    minimum_repay_base: int = 0
    """Plans that repay less in total are left alone (`below_minimum`)."""
    skip_borrowers: frozenset[Address] = frozenset()
    only_borrowers: frozenset[Address] | None = None
    skip_assets: frozenset[Address] = frozenset()

    def admits_borrower(self, borrower: Address) -> bool:
        if self.only_borrowers is not None and borrower not in self.only_borrowers:
            return False
        return borrower not in self.skip_borrowers


@dataclass(frozen=True, slots=True)
class Finish:
    """A sequence that can be finished on `pair`, not sized yet."""

    loss_base: int
    """Estimated loss of the borrower over the whole sequence."""
    before: CallSequence
    scenarios: tuple[Scenario, ...]
    pair: Pair


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A borrower whom no single call brings to the target: what is known of it when the search for a sequence begins."""

    position: Position
    before: Health
    scenarios: tuple[Scenario, ...]
    pairs: tuple[Pair, ...]
    target_wad: int


class Planner(Generic[Market, State]):
    """Plans one head: pure, the same arguments give the same plans."""

    def __init__(
        self,
        adapter: LendingAdapter[Market, State],
        state: State,
        market: Address,
        block: BlockRef,
        window: Window,
        liquidator: Address,
        policy: PlanPolicy,
    ) -> None:
        self._adapter = adapter
        self._state = state
        self._market = market
        self._block = block
        self._window = window
        self._liquidator = liquidator
        self._policy = policy
        self._pairs: list[Pair] = []
        """Of the position being planned: what is sized. Later calls of a sequence choose among the same."""

    def plan(self, position: Position) -> tuple[Plan, ...] | Skip:
        """Plans for one borrower, best first (the others serve when the best cannot be funded); or why there are none."""
        begun = self.begin(position)
        if not isinstance(begun, Unfinished):
            return begun
        steps = self.finish(begun)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                plans: tuple[Plan, ...] | Skip = done.value
                return plans

    def begin(self, position: Position, least_gain_base: int | None = None) -> tuple[Plan, ...] | Skip | Unfinished:
        """The quick part of `plan`: plans of one call each, or why there can be none at all; `Unfinished` when only a
        sequence may do. Whoever cannot bring `least_gain_base` even if all of the debt were repaid is not sized."""
        before = self._adapter.health(self._state, position, self._block.timestamp_s)
        if isinstance(before, Skip):
            return before
        if not self._policy.admits_borrower(position.borrower):
            return Skip(Reason.FILTERED, "borrower is excluded by configuration")
        scenarios = self._scenarios(position)
        healths = self._healths(scenarios)
        if isinstance(healths, Skip):
            return healths
        if any(health.health_factor_wad >= HEALTH_ONE_WAD for health in (before, *healths)):
            return Skip(Reason.HEALTHY_NOW, "at or above 1 within the inclusion window")
        pairs = self._usable_pairs(position, scenarios)
        if isinstance(pairs, Skip):
            return pairs if before.collateral_base else replace(pairs, verdict=Verdict.BAD_DEBT)
        hopeless = self._hopeless(healths[-1], pairs)
        if hopeless is None and least_gain_base is not None:
            hopeless = self._too_small(healths[-1], pairs, least_gain_base)
        if hopeless is not None:
            return hopeless
        assets = {asset for pair in pairs for asset in (pair.collateral_asset, pair.debt_asset)}
        target_wad = self._policy.target.target_wad(before, position.category, assets)
        sized_pairs = tuple(self._weightiest(pairs, scenarios))
        found: list[CallSequence] = [
            (call,)
            for pair in sized_pairs
            if (call := self._least_call(pair, scenarios, target_wad, (), position)) is not None
        ]
        begun = Unfinished(position, before, scenarios, sized_pairs, target_wad)
        return self._ranked(begun, Verdict.REACHES_TARGET, found) if found else begun

    def finish(self, begun: Unfinished) -> Generator[None, None, tuple[Plan, ...] | Skip]:
        """The long part: sequences. Yields between its steps, so that whoever runs it may do something else meanwhile."""
        self._pairs = list(begun.pairs)
        scenarios, position, target_wad = begun.scenarios, begun.position, begun.target_wad
        found: list[CallSequence] = []
        for calls in range(2, self._policy.most_calls + 1):
            found = found or self._sequences(scenarios, target_wad, calls, position)
            yield
        if found:
            return self._ranked(begun, Verdict.REACHES_TARGET, found)
        best = self._most_health(scenarios, begun.before)
        if isinstance(best, Skip):
            return best
        safe = best[-1].worst.health_factor_wad >= HEALTH_ONE_WAD
        return self._ranked(begun, Verdict.REACHES_SAFETY if safe else Verdict.IMPROVES, [best])

    def _ranked(self, begun: Unfinished, verdict: Verdict, found: Sequence[CallSequence]) -> tuple[Plan, ...] | Skip:
        plans = tuple(
            self._as_plan(begun.position, begun.before, begun.target_wad, verdict, calls) for calls in rank(found)
        )
        if self._repaid_base(plans[0]) < self._policy.minimum_repay_base:
            return Skip(Reason.BELOW_MINIMUM, f"repays {self._repaid_base(plans[0])} base", verdict)
        return plans

    # -- the position and its pairs ------------------------------------------------------------------------------

    def _scenarios(self, position: Position) -> tuple[Scenario, ...]:
        return (Scenario(self._window.earliest_s, position), Scenario(self._window.latest_s, position))

    def _healths(self, scenarios: Sequence[Scenario]) -> tuple[Health, ...] | Skip:
        healths = []
        for scenario in scenarios:
            health = self._adapter.health(self._state, scenario.position, scenario.timestamp_s)
            if isinstance(health, Skip):
                return health
            healths.append(health)
        return tuple(healths)

    def _usable_pairs(self, position: Position, scenarios: Sequence[Scenario]) -> list[Pair] | Skip:
        """Pairs that the contract accepts at both ends and the operator wants; else the foremost reason."""
        usable: dict[tuple[int, int], Pair] = {}
        refusals: list[Skip] = []
        filtered = False
        for turn, scenario in enumerate(scenarios):
            now: dict[tuple[int, int], Pair] = {}
            for pair in self._adapter.pairs(self._state, position, self._liquidator, scenario.timestamp_s):
                if isinstance(pair, Refusal):
                    refusals.append(pair.skip)
                elif {pair.collateral_asset, pair.debt_asset} & self._policy.skip_assets:
                    filtered = True
                else:
                    now[pair.collateral_id, pair.debt_id] = pair
            usable = now if turn == 0 else {key: pair for key, pair in usable.items() if key in now}
        if usable:
            return list(usable.values())
        if filtered:
            return Skip(Reason.FILTERED, "every usable pair touches an excluded asset")
        return foremost(refusals)

    def _weightiest(self, pairs: list[Pair], scenarios: Sequence[Scenario]) -> list[Pair]:
        """At most `MOST_PAIRS` of the pairs: those whose largest allowed call repays the most."""
        if len(pairs) <= MOST_PAIRS:
            return pairs
        legs = self._adapter.collateral_legs(self._state, scenarios[-1].position, scenarios[-1].timestamp_s)
        heaviest = sorted(legs, key=lambda leg: leg.balance_base, reverse=True)[:MOST_COLLATERALS]
        held = {leg.reserve_id for leg in heaviest}

        def most_repaid_base(pair: Pair) -> int:
            sizer = self._sizer(pair, scenarios)
            quotes = [sizer.quotes(high) for _, high in sizer.allowed()]
            return max((each[-1].repaid_base for each in quotes if not isinstance(each, Refusal)), default=0)

        compared = [pair for pair in pairs if pair.collateral_id in held]
        return sorted(compared, key=most_repaid_base, reverse=True)[:MOST_PAIRS]

    def _hopeless(self, health: Health, pairs: Sequence[Pair]) -> Skip | None:
        """Health ≤ threshold × bonus on every usable pair, so that each call makes it worse: bad debt already when all
        collateral is worth less than the debt, toxic when only the bonus would make it so.

        W ÷ D ≤ t·λ, in bps: W·bps ≤ t·λ·D.
        """
        weighted = health.weighted_collateral_base_bps * BPS
        if any(weighted > pair.threshold_bps * pair.bonus_bps * health.debt_base for pair in pairs):
            return None
        if health.collateral_base < health.debt_base:
            detail = f"collateral {health.collateral_base} base is worth less than debt {health.debt_base} base"
            return Skip(Reason.TOXIC, detail, Verdict.BAD_DEBT)
        lowest = min(pair.threshold_bps * pair.bonus_bps for pair in pairs)
        return Skip(Reason.TOXIC, f"health is at or below threshold × bonus = {lowest} e-8", Verdict.TOXIC)

    def _too_small(self, health: Health, pairs: Sequence[Pair], least_gain_base: int) -> Skip | None:
        """Why no plan can pay, judged by the whole debt: what all calls together repay is at most that, and what they gain at
        most the largest bonus on it, with a few raw units of each collateral for what the contract rounds in our favour."""
        bonus_bps = max(pair.bonus_bps for pair in pairs) - BPS
        rounded_base = 0
        for asset in {pair.collateral_asset for pair in pairs}:
            unit_base = self._adapter.value_base_floor(self._state, asset, 1)
            rounded_base += self._policy.most_calls * ROUNDED_UNITS * (1 + (unit_base or 0))
        most_base = -(-health.debt_base * max(0, bonus_bps) // BPS) + rounded_base
        if most_base < least_gain_base:
            detail = (
                f"even all of its debt brings at most {most_base} base, the least is {least_gain_base}, gas included"
            )
            return Skip(Reason.UNPROFITABLE, detail)
        if health.debt_base + rounded_base < self._policy.minimum_repay_base:
            return Skip(Reason.BELOW_MINIMUM, f"owes {health.debt_base} base in all")
        return None

    # -- sizes ---------------------------------------------------------------------------------------------------

    def _sizer(self, pair: Pair, scenarios: Sequence[Scenario]) -> PairSizer[Market, State]:
        return PairSizer(self._adapter, self._state, pair, scenarios)

    def _least_call(
        self, pair: Pair, scenarios: Sequence[Scenario], target_wad: int, before: CallSequence, origin: Position
    ) -> Sized | None:
        """The least call on a pair that reaches the target, after the calls `before` on `origin`; None if none does.

        Sized at the ends of the window, where health is at its worst but for the rounding of single units; a second in
        between at which that costs the target becomes one more scenario.
        """
        between: list[Scenario] | None = None
        while True:
            healths = self._healths(scenarios)
            if isinstance(healths, Skip):
                return None
            sizer = self._sizer(pair, scenarios)
            request_raw = sizer.least_reaching(target_wad, healths)
            if request_raw is None:
                return None
            if between is None:
                between = self._between(origin, before, pair)
            missed = [scenario for scenario in between if not self._reaches(pair, scenario, request_raw, target_wad)]
            if not missed:
                jumped = request_raw > 1 and isinstance(sizer.quotes(request_raw - 1), Refusal)
                return sized(sizer, request_raw, Clip.DUST_JUMP if jumped else None)
            between = [scenario for scenario in between if scenario is not missed[0]]
            scenarios = (*scenarios[:-1], missed[0], scenarios[-1])

    def _reaches(self, pair: Pair, scenario: Scenario, request_raw: int, target_wad: int) -> bool:
        health = self._sizer(pair, [scenario]).health_wad(request_raw)
        return health is not None and health >= target_wad

    def _between(self, origin: Position, before: CallSequence, pair: Pair) -> list[Scenario]:
        """The position at every second inside the window; of a long window at `MOST_SECONDS` of them, and there as much worse
        as the rounding of the seconds left out can make it."""
        inside = range(self._window.earliest_s + 1, self._window.latest_s)
        step = max(1, -(-len(inside) // MOST_SECONDS))
        scenarios = [self._at_second(origin, before, second) for second in inside[::step]]
        if step == 1:
            return scenarios
        return [Scenario(one.timestamp_s, units_worse(one.position, pair, 2)) for one in scenarios]

    def _at_second(self, origin: Position, before: CallSequence, second: int) -> Scenario:
        """The position when all calls so far are mined at one second."""
        position = origin
        for call in before:
            quote = self._adapter.quote_liquidation(self._state, position, call.pair, call.request_raw, second)
            position = position if isinstance(quote, Refusal) else quote.position_after
        return Scenario(second, position)

    def _sequences(
        self, scenarios: tuple[Scenario, ...], target_wad: int, calls: int, origin: Position
    ) -> list[CallSequence]:
        """A few sequences of exactly `calls` calls, the least loss first by estimate: every call but the last leaves health
        below 1, the last reaches the target. Earlier calls are as large as may be; if that leaves none that can finish,
        fractions of them are tried (a smaller first call can leave the last one a larger close factor)."""
        found: list[CallSequence] = []
        for shares in ((4,), (3, 2, 1)):
            finishes = sorted(
                (
                    finish
                    for prefix in islice(self._prefixes(scenarios, calls - 1, shares, ()), MOST_BEGINNINGS)
                    for finish in self._finishes(*prefix, target_wad)
                ),
                key=lambda finish: finish.loss_base,
            )
            for finish in finishes:
                last = self._least_call(finish.pair, finish.scenarios, target_wad, finish.before, origin)
                if last is not None:
                    found.append((*finish.before, last))
                if len(found) == MOST_ALTERNATIVES:
                    break
            if found:
                break
        return found

    def _prefixes(
        self, scenarios: tuple[Scenario, ...], calls: int, shares: Sequence[int], before: CallSequence
    ) -> Iterator[tuple[CallSequence, tuple[Scenario, ...]]]:
        """Ways to begin a sequence with `calls` calls, and where they lead."""
        if calls == 0:
            yield before, scenarios
            return
        for call in self._earlier_calls(scenarios, shares):
            yield from self._prefixes(follow(scenarios, call), calls - 1, shares, (*before, call))

    def _finishes(self, before: CallSequence, scenarios: tuple[Scenario, ...], target_wad: int) -> Iterator[Finish]:
        """Pairs on which one more call can reach the target, by its largest allowed size, with the loss by closed form."""
        healths = self._healths(scenarios)
        if isinstance(healths, Skip):
            return
        spent_base = sum(call.loss_base for call in before)
        for pair in self._pairs:
            sizer = self._sizer(pair, scenarios)
            best = [sizer.health_wad(high) for _, high in sizer.allowed()]
            if any(health is not None and health >= target_wad for health in best):
                repay_base = sizer.closed_form_base(target_wad, healths[-1]) or 0
                yield Finish(spent_base + repay_base * (pair.bonus_bps - BPS) // BPS, before, scenarios, pair)

    def _earlier_calls(self, scenarios: tuple[Scenario, ...], shares: Sequence[int]) -> list[Sized]:
        """Candidates for a call that another one follows: per pair and allowed interval the largest that keeps health
        below 1 and raises it, or `shares` quarters of it. Those that raise it most come first."""
        healths = self._healths(scenarios)
        found: list[Sized] = []
        if isinstance(healths, Skip):
            return found
        before_wad = min(health.health_factor_wad for health in healths)
        for pair in self._pairs:
            sizer = self._sizer(pair, scenarios)
            for low, high in sizer.allowed():
                largest = largest_below_one(sizer, low, high)
                if largest is None:
                    continue
                for share in shares:
                    request_raw = max(low, largest * share // 4)
                    health = sizer.health_wad(request_raw)
                    if health is not None and health > before_wad:
                        found.append(sized(sizer, request_raw, clip_of(sizer, request_raw) or Clip.BELOW_ONE))
        return sorted(found, key=lambda call: call.worst.health_factor_wad, reverse=True)

    def _most_health(self, scenarios: tuple[Scenario, ...], before: Health) -> CallSequence | Skip:
        """The best health that the rules allow, with the fewest calls that bring it: earlier calls raise it as far as they
        may while it stays below 1, the last as far as it may."""
        best: CallSequence | None = None
        best_wad = before.health_factor_wad
        refused: list[Skip] = []
        for earlier in range(self._policy.most_calls):
            for calls, after in islice(self._prefixes(scenarios, earlier, (4,), ()), MOST_BEGINNINGS):
                for last in self._largest_calls(after, refused):
                    if last.worst.health_factor_wad > best_wad:
                        best, best_wad = (*calls, last), last.worst.health_factor_wad
        if best is not None:
            return best
        return foremost(refused) if refused else Skip(Reason.TOXIC, "no allowed call raises health", Verdict.TOXIC)

    def _largest_calls(self, scenarios: tuple[Scenario, ...], refused: list[Skip]) -> Iterator[Sized]:
        """The largest call of each pair and allowed interval; why a pair allows none is added to `refused`."""
        healths = self._healths(scenarios)
        if isinstance(healths, Skip):
            return
        for pair in self._pairs:
            sizer = self._sizer(pair, scenarios)
            intervals = sizer.allowed()
            if not intervals:
                probe = sizer.quotes(max(1, sizer.closed_form_raw(HEALTH_ONE_WAD, healths)))
                refused += [probe.skip] if isinstance(probe, Refusal) else []
            for low, high in intervals:
                request_raw = sizer.full_effect(low, high)
                if sizer.health_wad(request_raw) is not None:
                    yield sized(sizer, request_raw, clip_of(sizer, request_raw))

    # -- the plan ------------------------------------------------------------------------------------------------

    def _as_plan(
        self, position: Position, before: Health, target_wad: int, verdict: Verdict, calls: CallSequence
    ) -> Plan:
        return Plan(
            market=self._market,
            borrower=position.borrower,
            block=self._block,
            window=self._window,
            calls=tuple(
                PlannedCall(call.pair, call.request_raw, call.clip, call.quotes[0], call.quotes[-1]) for call in calls
            ),
            verdict=verdict,
            target_wad=target_wad,
            health_before=before,
            health_after=calls[-1].worst,
        )

    @staticmethod
    def _repaid_base(plan: Plan) -> int:
        return sum(call.at_latest.repaid_base for call in plan.calls)
