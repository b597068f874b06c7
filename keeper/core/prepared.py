"""A plan made ahead of the block that it is for: whether it is still the least, to the unit, once the block is there.

Made on prices that were expected, it is worth nothing until the block shows them. Then it takes a few quotes to see that it
still does all that a plan must: accepted at both ends of the window, the target reached at every second of it, and one unit
less of the last call not enough. Whatever is not exactly so is planned anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keeper.core.block import BlockRef
from keeper.core.lending import LendingAdapter, Position, Refusal
from keeper.core.outcome import Skip, Verdict
from keeper.core.plan import Plan, PlannedCall, Window
from keeper.core.size import PairSizer, Scenario
from keeper.core.sized import Sized, follow, sized
from keeper.core.target import TargetPolicy
from keeper.core.units import HEALTH_ONE_WAD, Address

MOST_SECONDS = 32
"""Plans for a longer window are not prepared: every second of it is looked at."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was planned for one borrower, and on what."""

    position: Position
    prices_base: Mapping[Address, int | None]
    """The expected prices of what the position holds or owes."""
    plans: tuple[Plan, ...]
    """Best first; every one of them reaches its target."""

    @classmethod
    def of(
        cls, position: Position, prices_base: Mapping[Address, int | None], plans: Sequence[Plan]
    ) -> Prepared | None:
        """None where a plan cannot be told to be the least by what it does: it is planned when the time comes."""
        if not plans or any(plan.verdict is not Verdict.REACHES_TARGET for plan in plans):
            return None
        if plans[0].window.latest_s - plans[0].window.earliest_s > MOST_SECONDS:
            return None
        return cls(position, prices_base, tuple(plans))

    def confirmed(
        self, adapter: LendingAdapter[Any, Any], state: Any, block: BlockRef, window: Window, policy: TargetPolicy
    ) -> tuple[Plan, ...] | None:
        """Those of the plans that are still the least, with their quotes on the state of `block`; None when the best is not
        among them, or they were made on other prices."""
        if adapter.relevant_prices(state, self.position) != self.prices_base:
            return None
        if window.latest_s - window.earliest_s > MOST_SECONDS:
            return None
        found = [_confirmed(adapter, state, block, window, policy, self.position, plan) for plan in self.plans]
        return None if found[0] is None else tuple(plan for plan in found if plan is not None)


def _confirmed(
    adapter: LendingAdapter[Any, Any],
    state: Any,
    block: BlockRef,
    window: Window,
    policy: TargetPolicy,
    position: Position,
    plan: Plan,
) -> Plan | None:
    before = adapter.health(state, position, block.timestamp_s)
    if isinstance(before, Skip):
        return None
    assets = {asset for call in plan.calls for asset in (call.pair.collateral_asset, call.pair.debt_asset)}
    if policy.asset_wad or policy.target_wad(before, position.category, assets) != plan.target_wad:
        return None  # a target by asset depends on every usable pair, which are not looked at here
    calls = _sized_again(adapter, state, window, position, plan)
    if calls is None or not _holds_between(adapter, state, window, position, plan):
        return None
    return Plan(
        market=plan.market,
        borrower=plan.borrower,
        block=block,
        window=window,
        calls=tuple(
            PlannedCall(call.pair, call.request_raw, call.clip, call.quotes[0], call.quotes[-1]) for call in calls
        ),
        verdict=plan.verdict,
        target_wad=plan.target_wad,
        health_before=before,
        health_after=calls[-1].worst,
    )


def _sized_again(
    adapter: LendingAdapter[Any, Any], state: Any, window: Window, position: Position, plan: Plan
) -> list[Sized] | None:
    """The plan's calls with their quotes at the ends of the window; None when one is refused, an earlier one leaves health at
    1, or the last is not the least that reaches the target."""
    scenarios: tuple[Scenario, ...] = (
        Scenario(window.earliest_s, position),
        Scenario(window.latest_s, position),
    )
    calls: list[Sized] = []
    for place, planned in enumerate(plan.calls):
        sizer = PairSizer(adapter, state, planned.pair, scenarios)
        request_raw = planned.debt_to_cover_raw
        health_wad = sizer.health_wad(request_raw)
        if health_wad is None:
            return None
        if place == len(plan.calls) - 1:
            less_wad = sizer.health_wad(request_raw - 1) if request_raw > 1 else None
            if health_wad < plan.target_wad or (less_wad is not None and less_wad >= plan.target_wad):
                return None
        else:
            best_wad = sizer.best_health_wad(request_raw)
            if best_wad is None or best_wad >= HEALTH_ONE_WAD:
                return None
        calls.append(sized(sizer, request_raw, planned.clip))
        scenarios = follow(scenarios, calls[-1])
    return calls


def _holds_between(
    adapter: LendingAdapter[Any, Any], state: Any, window: Window, position: Position, plan: Plan
) -> bool:
    """Whether all calls, mined at one second, reach the target: at every second inside the window."""
    for second in range(window.earliest_s + 1, window.latest_s):
        health_wad, at = 0, position
        for planned in plan.calls:
            quote = adapter.quote_liquidation(state, at, planned.pair, planned.debt_to_cover_raw, second)
            if isinstance(quote, Refusal) or quote.bad_debt_base:
                return False
            at, health_wad = quote.position_after, quote.health_after.health_factor_wad
        if health_wad < plan.target_wad:
            return False
    return True
