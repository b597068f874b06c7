"""From a borrower below 1 to the least sequence of calls that restores it, or the reason why there is none.

Order of preference: one call that reaches the target, on the pair that costs the borrower least (seized − repaid value);
else the shortest sequence that reaches it; else the most health that the rules allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from keeper.core.block import BlockRef
from keeper.core.lending import Health, LendingAdapter, Pair, Position, Refusal
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Plan, PlannedCall, Window
from keeper.core.sequences import Sequences
from keeper.core.size import ROUNDED_UNITS, Scenario
from keeper.core.sized import (
    CallSequence,
    Sized,
    foremost,
    rank,
)
from keeper.core.sizing import Sizing
from keeper.core.steps import Steps, finished
from keeper.core.target import TargetPolicy
from keeper.core.units import BPS, HEALTH_ONE_WAD, Address

Market = TypeVar("Market")
State = TypeVar("State")

MOST_PAIRS = 12
"""Of a position with more pairs those are sized that may repay the most: anybody can hold a little of every asset."""
MOST_COLLATERALS = 6
"""Of such a position only the pairs of the heaviest collaterals are compared."""


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
class Unfinished:
    """A borrower whom no single call brings to the target: what is known of it when the search for a sequence begins."""

    position: Position
    before: Health
    pairs: tuple[Pair, ...]
    """What is sized. Later calls of a sequence choose among the same."""
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

    def plan(self, position: Position) -> tuple[Plan, ...] | Skip:
        """Plans for one borrower, best first (the others serve when the best cannot be funded); or why there are none."""
        begun = self.begin(position)
        return finished(self.finish(begun)) if isinstance(begun, Unfinished) else begun

    def begin(self, position: Position, least_gain_base: int | None = None) -> tuple[Plan, ...] | Skip | Unfinished:
        """The quick part of `plan`: plans of one call each, or why there can be none at all; `Unfinished` when only a
        sequence may do. Whoever cannot bring `least_gain_base` even if all of the debt were repaid is not sized."""
        sizing = self.sizing(position)
        judged = self._judged(position, sizing)
        if isinstance(judged, Skip):
            return judged
        before, latest, pairs = judged
        hopeless = self._hopeless(latest, pairs)
        if hopeless is None and least_gain_base is not None:
            hopeless = self._too_small(latest, pairs, least_gain_base)
        if hopeless is not None:
            return hopeless
        begun = self._opened(position, before, pairs, sizing)
        calls = [sizing.least_call(pair, sizing.start, begun.target_wad, ()) for pair in begun.pairs]
        found: list[CallSequence] = [(call,) for call in calls if call is not None]
        return self._ranked(begun, Verdict.REACHES_TARGET, found) if found else begun

    def sizing(self, position: Position) -> Sizing[Market, State]:
        """What sizes calls of the position within the window."""
        return Sizing(self._adapter, self._state, self._window, position)

    def open(self, position: Position, sizing: Sizing[Market, State]) -> Unfinished | Skip:
        """What may be liquidated of a borrower, whatever it does to health; or why nothing may."""
        judged = self._judged(position, sizing)
        if isinstance(judged, Skip):
            return judged
        before, _, pairs = judged
        return self._opened(position, before, pairs, sizing)

    def plan_of(self, opened: Unfinished, call: Sized) -> Plan:
        """A plan of one call of any size, with the verdict that its outcome has."""
        after_wad = call.worst.health_factor_wad
        if any(quote.bad_debt_base for quote in call.quotes):
            verdict = Verdict.BAD_DEBT
        elif after_wad >= HEALTH_ONE_WAD:
            verdict = Verdict.REACHES_TARGET if after_wad >= opened.target_wad else Verdict.REACHES_SAFETY
        else:
            verdict = Verdict.IMPROVES if after_wad > opened.before.health_factor_wad else Verdict.TOXIC
        return self._as_plan(opened.position, opened.before, opened.target_wad, verdict, (call,))

    def _judged(self, position: Position, sizing: Sizing[Market, State]) -> tuple[Health, Health, list[Pair]] | Skip:
        """Health now and at the window's end, and the usable pairs, of a borrower who is below 1 throughout."""
        before = self._adapter.health(self._state, position, self._block.timestamp_s)
        if isinstance(before, Skip):
            return before
        if not self._policy.admits_borrower(position.borrower):
            return Skip(Reason.FILTERED, "borrower is excluded by configuration")
        healths = sizing.healths(sizing.start)
        if isinstance(healths, Skip):
            return healths
        if any(health.health_factor_wad >= HEALTH_ONE_WAD for health in healths):
            return Skip(Reason.HEALTHY_NOW, "at or above 1 within the inclusion window")
        pairs = self._usable_pairs(position, sizing.start)
        if isinstance(pairs, Skip):
            return pairs if before.collateral_base else replace(pairs, verdict=Verdict.BAD_DEBT)
        return before, healths[-1], pairs

    def _opened(
        self, position: Position, before: Health, pairs: list[Pair], sizing: Sizing[Market, State]
    ) -> Unfinished:
        assets = {asset for pair in pairs for asset in (pair.collateral_asset, pair.debt_asset)}
        target_wad = self._policy.target.target_wad(before, position.category, assets)
        return Unfinished(position, before, tuple(self._weightiest(pairs, sizing)), target_wad)

    def finish(self, begun: Unfinished) -> Steps[tuple[Plan, ...] | Skip]:
        """The long part: sequences. Yields between its steps, so that whoever runs it may do something else meanwhile."""
        sizing = Sizing(self._adapter, self._state, self._window, begun.position)
        sequences = Sequences(sizing, begun.pairs, self._policy.most_calls)
        found = yield from sequences.reaching(begun.target_wad)
        if found:
            return self._ranked(begun, Verdict.REACHES_TARGET, found)
        best = yield from sequences.most_health(begun.before)
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

    def _weightiest(self, pairs: list[Pair], sizing: Sizing[Market, State]) -> list[Pair]:
        """At most `MOST_PAIRS` of the pairs: those whose largest allowed call repays the most."""
        if len(pairs) <= MOST_PAIRS:
            return pairs
        latest = sizing.start[-1]
        legs = self._adapter.collateral_legs(self._state, latest.position, latest.timestamp_s)
        heaviest = sorted(legs, key=lambda leg: leg.balance_base, reverse=True)[:MOST_COLLATERALS]
        held = {leg.reserve_id for leg in heaviest}

        def most_repaid_base(pair: Pair) -> int:
            sizer = sizing.sizer(pair, sizing.start)
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
        percent = f"{lowest // 10**6}.{lowest % 10**6 // 10**4:02d} %"
        return Skip(Reason.TOXIC, f"health is at or below threshold × bonus = {percent}", Verdict.TOXIC)

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
