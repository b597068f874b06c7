"""The planner on single positions: verdicts, reasons, filters, and what bounds a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from keeper.core.block import BlockRef
from keeper.core.lending import Position, Quote, Refusal
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Clip, Plan, Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.target import TargetPolicy
from keeper.core.units import BPS, RAY, WAD, Address, Hash32
from tests.scenario.scene import (
    DAI,
    DOLLAR,
    LIQUIDATOR,
    UNITS,
    USDC,
    WBTC,
    WETH,
    asset,
    borrower,
    entry_of,
    toy_pool,
)
from tests.toy_arithmetic import ToyRules, ToyState
from tests.toy_market import ToyAdapter

WHO = borrower(1)
NOW_S = 1_000
BLOCK = BlockRef(1, Hash32(b"\1" * 32), Hash32(bytes(32)), NOW_S, 1, 1)
WINDOW = Window(NOW_S, NOW_S + 4)
T105 = PlanPolicy(TargetPolicy(market_wad=105 * WAD // 100))


class CountingAdapter(ToyAdapter):
    quotes = 0

    def quote_liquidation(self, *arguments: Any) -> Quote | Refusal:
        self.quotes += 1
        return super().quote_liquidation(*arguments)


def market(
    rules: ToyRules | None = None,
    *,
    prices: Mapping[int, float | None] | None = None,
    liquidity: Mapping[int, float] | None = None,
    rate_per_s: float = 0,
    reserves: Mapping[int, Mapping[str, Any]] | None = None,
) -> ToyState:
    """WETH at 2 000, WBTC at 50 000, two dollars; threshold 80 %, bonus 5 %; what is given differs from that."""
    pool = toy_pool(rules=rules)
    pool.prices_base |= {
        reserve: None if dollars is None else int(dollars * DOLLAR) for reserve, dollars in (prices or {}).items()
    }
    pool.liquidity_raw |= {reserve: int(tokens * UNITS[reserve]) for reserve, tokens in (liquidity or {}).items()}
    pool.rate_ray_s = dict.fromkeys(UNITS, int(rate_per_s * RAY))
    for reserve, changed in (reserves or {}).items():
        pool.reserves[reserve] = replace(pool.reserves[reserve], **changed)
    return pool.state()


def holds(collateral: Mapping[int, float], debt: Mapping[int, float], *, enabled: bool = True) -> Position:
    return Position(
        WHO,
        {reserve: int(tokens * UNITS[reserve]) for reserve, tokens in collateral.items()},
        {reserve: int(tokens * UNITS[reserve]) for reserve, tokens in debt.items()},
        frozenset(collateral) if enabled else frozenset(),
        0,
    )


def plan(
    state: ToyState,
    position: Position,
    policy: PlanPolicy = T105,
    *,
    liquidator: Address = LIQUIDATOR,
    adapter: ToyAdapter | None = None,
    window: Window = WINDOW,
) -> tuple[Plan, ...] | Skip:
    return Planner(adapter or ToyAdapter({}), state, entry_of(0), BLOCK, window, liquidator, policy).plan(position)


def best(state: ToyState, position: Position, policy: PlanPolicy = T105) -> Plan:
    plans = plan(state, position, policy)
    assert not isinstance(plans, Skip), plans
    return plans[0]


def refusal(state: ToyState, position: Position, policy: PlanPolicy = T105, **more: Any) -> Skip:
    skip = plan(state, position, policy, **more)
    assert isinstance(skip, Skip), skip
    return skip


SICK = holds({WETH: 10}, {USDC: 15_000})
"""At 1 800 dollars: collateral 18 000, weighted 14 400, health 0.96."""
FALLEN = {WETH: 1_800}


# -- verdicts --------------------------------------------------------------------------------------------------------


def test_one_call_reaches_the_target_and_no_more() -> None:
    found = best(market(prices=FALLEN), SICK)
    (call,) = found.calls
    assert found.verdict is Verdict.REACHES_TARGET
    # x* = (1.05 · 15 000 − 14 400) ÷ (1.05 − 0.84) = 6 428.571429
    assert call.debt_to_cover_raw == pytest.approx(6_428_571_429, abs=10)
    assert found.health_after.health_factor_wad >= found.target_wad
    assert call.clip is None


def test_it_holds_at_the_later_end_when_interest_runs() -> None:
    state = market(prices=FALLEN, rate_per_s=1e-7)
    found = best(state, SICK)
    (call,) = found.calls
    assert call.at_latest.health_after.health_factor_wad >= found.target_wad
    assert call.at_earliest.health_after.health_factor_wad > call.at_latest.health_after.health_factor_wad
    assert found.health_before == ToyAdapter({}).health(state, SICK, NOW_S)


def test_the_close_factor_makes_it_two_calls() -> None:
    found = best(market(ToyRules(close_factor_bps=3_000), prices=FALLEN), SICK)
    assert found.verdict is Verdict.REACHES_TARGET
    assert len(found.calls) == 2
    first, last = found.calls
    assert first.at_earliest.health_after.health_factor_wad < WAD
    assert first.clip in (Clip.CLOSE_FACTOR, Clip.BELOW_ONE)
    assert last.at_latest.health_after.health_factor_wad >= found.target_wad


def test_the_first_of_two_calls_stays_below_one() -> None:
    """All of what the first may repay would heal above 1, where nobody may go on: it is kept below."""
    found = best(market(ToyRules(close_factor_bps=2_500), prices={WETH: 1_840}), SICK)
    assert found.verdict is Verdict.REACHES_TARGET
    assert len(found.calls) == 2
    assert found.calls[0].clip is Clip.BELOW_ONE
    assert WAD - found.calls[0].at_earliest.health_after.health_factor_wad < WAD // 10**6


def test_rules_that_stop_at_one_give_safety() -> None:
    found = best(market(ToyRules(close_factor_bps=1_000), prices={WETH: 1_850}), SICK)
    assert found.verdict is Verdict.REACHES_SAFETY
    assert WAD <= found.health_after.health_factor_wad < found.target_wad


def test_too_few_calls_only_improve() -> None:
    policy = replace(T105, most_calls=1)
    found = best(market(ToyRules(close_factor_bps=1_000), prices=FALLEN), SICK, policy)
    assert found.verdict is Verdict.IMPROVES
    assert found.calls[0].clip is Clip.CLOSE_FACTOR
    assert found.health_before.health_factor_wad < found.health_after.health_factor_wad < WAD


def test_at_or_below_threshold_times_bonus_every_call_harms() -> None:
    """0.8 · 1.05 = 0.84: at 1 575 dollars health is 0.84 exactly."""
    skip = refusal(market(prices={WETH: 1_575}), SICK)
    assert (skip.reason, skip.verdict) == (Reason.TOXIC, Verdict.TOXIC)
    assert best(market(prices={WETH: 1_576}), SICK).verdict is not Verdict.TOXIC


def test_less_collateral_than_debt_is_bad_debt() -> None:
    skip = refusal(market(prices={WETH: 1_499}), SICK)
    assert (skip.reason, skip.verdict) == (Reason.TOXIC, Verdict.BAD_DEBT)


def test_debt_without_any_collateral_is_bad_debt() -> None:
    skip = refusal(market(), holds({}, {USDC: 10}))
    assert (skip.reason, skip.verdict) == (Reason.NOT_COLLATERAL, Verdict.BAD_DEBT)


def test_a_call_that_writes_debt_off_is_no_plan() -> None:
    """Seizing the rest of the collateral would leave bad debt: infinite health, at the lenders' cost."""
    state = market(ToyRules(writes_off=True), prices={WETH: 1_580})
    found = best(state, SICK)
    assert all(call.at_latest.bad_debt_base == 0 for call in found.calls)
    assert found.verdict is not Verdict.TOXIC


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_the_pair_that_costs_the_borrower_least_comes_first() -> None:
    """Same thresholds, but the bonus of WBTC is 2 % where that of WETH is 5 %."""
    state = market(prices={WETH: 1_700, WBTC: 42_500}, reserves={WBTC: {"bonus_bps": 10_200}})
    plans = plan(state, holds({WETH: 10, WBTC: 0.4}, {USDC: 27_500}))
    assert not isinstance(plans, Skip)
    assert [found.calls[0].pair.collateral_id for found in plans] == [WBTC, WETH]


def test_other_debts_serve_as_alternatives() -> None:
    plans = plan(market(prices=FALLEN), holds({WETH: 10}, {USDC: 7_500, DAI: 7_500}))
    assert not isinstance(plans, Skip)
    assert {found.calls[0].pair.debt_id for found in plans} == {USDC, DAI}


def test_a_collateral_that_runs_out_is_followed_by_another() -> None:
    state = market(prices=FALLEN)
    found = best(state, holds({WETH: 1, WBTC: 0.3}, {USDC: 14_400}))
    assert found.verdict is Verdict.REACHES_TARGET
    small = best(state, holds({WETH: 4, DAI: 9_000}, {USDC: 6_500, WBTC: 0.146}))
    assert small.verdict is Verdict.REACHES_TARGET


def test_what_liquidity_allows_bounds_a_call() -> None:
    policy = replace(T105, most_calls=1)
    found = best(market(prices=FALLEN, liquidity={WETH: 1}), SICK, policy)
    assert found.verdict is Verdict.IMPROVES
    assert found.calls[0].clip is Clip.LIQUIDITY
    assert found.calls[0].at_latest.received_raw <= UNITS[WETH]


# -- dust ------------------------------------------------------------------------------------------------------------


def test_a_remainder_that_is_too_small_makes_the_size_jump() -> None:
    """2 000 dollars of debt: the least repayment leaves 1 143, below the 1 500 that must stay or go."""
    rules = ToyRules(dust_base=1_500 * DOLLAR)
    found = best(market(rules, prices=FALLEN), holds({WETH: 2000 / 1500}, {USDC: 2_000}))
    (call,) = found.calls
    assert call.clip is Clip.DUST_JUMP
    assert call.at_latest.repaid_raw == 2_000 * 10**6
    assert found.verdict is Verdict.REACHES_TARGET


def test_where_every_size_leaves_dust_nothing_can_be_done() -> None:
    """Half of the debt at most, and whatever stays is less than what must."""
    rules = ToyRules(dust_base=2_000 * DOLLAR, close_factor_bps=5_000)
    skip = refusal(market(rules, prices=FALLEN), holds({WETH: 2000 / 1500}, {USDC: 2_000}))
    assert skip.reason is Reason.DUST_GAP


# -- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason, changed",
    [
        (Reason.RESERVE_INACTIVE, {"active": False}),
        (Reason.RESERVE_PAUSED, {"paused": True}),
        (Reason.ZERO_BONUS, {"bonus_bps": 0}),
    ],
)
def test_what_the_reserve_forbids(reason: Reason, changed: Mapping[str, Any]) -> None:
    assert refusal(market(prices=FALLEN, reserves={WETH: changed}), SICK).reason is reason


def test_the_foremost_of_several_reasons_is_told() -> None:
    reserves: Mapping[int, Mapping[str, Any]] = {WETH: {"bonus_bps": 0}, WBTC: {"paused": True}}
    state = market(prices={WETH: 1_800, WBTC: 40_000}, reserves=reserves)
    assert refusal(state, holds({WETH: 1, WBTC: 0.1}, {USDC: 5_000})).reason is Reason.RESERVE_PAUSED


def test_one_forbidden_collateral_leaves_the_other() -> None:
    state = market(prices={WETH: 1_800, WBTC: 45_000}, reserves={WETH: {"paused": True}})
    assert best(state, holds({WETH: 5, WBTC: 0.2}, {USDC: 14_700})).calls[0].pair.collateral_id == WBTC


def test_a_missing_price_is_told_before_everything_else() -> None:
    policy = replace(T105, skip_borrowers=frozenset({WHO}))
    assert refusal(market(prices={WETH: None}), SICK, policy).reason is Reason.UNPRICEABLE


def test_nobody_liquidates_himself() -> None:
    assert refusal(market(prices=FALLEN), SICK, liquidator=WHO).reason is Reason.SELF_LIQUIDATION


def test_collateral_that_is_not_enabled_cannot_be_seized() -> None:
    skip = refusal(market(prices=FALLEN), holds({WETH: 10}, {USDC: 15_000}, enabled=False))
    assert skip.reason is Reason.NOT_COLLATERAL


@pytest.mark.parametrize("dollars, reason", [(1_875, Reason.HEALTHY_NOW), (1_874.999, None)])
def test_at_one_exactly_it_is_healthy(dollars: float, reason: Reason | None) -> None:
    plans = plan(market(prices={WETH: dollars}), SICK)
    assert (plans.reason if isinstance(plans, Skip) else None) is reason


def test_no_liquidity_at_all() -> None:
    assert refusal(market(prices=FALLEN, liquidity={WETH: 0}), SICK).reason is Reason.NO_COLLATERAL_LIQUIDITY


# -- policy ----------------------------------------------------------------------------------------------------------


def test_only_named_borrowers() -> None:
    state = market(prices=FALLEN)
    assert refusal(state, SICK, replace(T105, only_borrowers=frozenset())).reason is Reason.FILTERED
    assert best(state, SICK, replace(T105, only_borrowers=frozenset({WHO}))).calls


def test_an_excluded_asset_is_not_touched() -> None:
    state = market(prices=FALLEN)
    both = holds({WETH: 10}, {USDC: 7_500, DAI: 7_500})
    assert best(state, both, replace(T105, skip_assets=frozenset({asset(USDC)}))).calls[0].pair.debt_id == DAI
    assert refusal(state, both, replace(T105, skip_assets=frozenset({asset(WETH)}))).reason is Reason.FILTERED


def test_below_the_minimum_it_is_left_alone_with_its_verdict() -> None:
    skip = refusal(market(prices=FALLEN), SICK, replace(T105, minimum_repay_base=6_429 * DOLLAR))
    assert (skip.reason, skip.verdict) == (Reason.BELOW_MINIMUM, Verdict.REACHES_TARGET)
    assert best(market(prices=FALLEN), SICK, replace(T105, minimum_repay_base=6_428 * DOLLAR)).calls


def test_the_target_follows_the_policy() -> None:
    state = market(prices=FALLEN)
    higher = PlanPolicy(TargetPolicy(market_wad=105 * WAD // 100, asset_wad={asset(WETH): 12 * WAD // 10}))
    assert best(state, SICK, higher).target_wad == 12 * WAD // 10
    assert best(state, SICK, higher).calls[0].debt_to_cover_raw > best(state, SICK).calls[0].debt_to_cover_raw


def test_the_default_target_is_what_the_position_could_be_opened_at() -> None:
    state = market(prices=FALLEN, reserves={WETH: {"ltv_bps": 7_900}})
    assert best(state, SICK, PlanPolicy()).target_wad == 8_000 * WAD // 7_900


def test_the_same_question_gets_the_same_answer() -> None:
    state = market(prices=FALLEN, rate_per_s=1e-8)
    position = holds({WETH: 5, WBTC: 0.2}, {USDC: 7_500, DAI: 7_500})
    assert plan(state, position) == plan(state, position)


# -- work ------------------------------------------------------------------------------------------------------------


def test_an_ordinary_borrower_costs_some_hundred_quotes() -> None:
    adapter = CountingAdapter({})
    plan(market(prices=FALLEN), SICK, adapter=adapter)
    assert adapter.quotes < 300


@pytest.mark.parametrize("floored", [False, True])
def test_dust_in_every_asset_does_not_make_a_plan_endless(floored: bool) -> None:
    """A borrower with eight collaterals and eight debts, none of which restores it alone."""
    rules = ToyRules(close_factor_bps=1_000, floored=floored)
    pool = toy_pool(rules=rules)
    base = pool.reserves[WETH]
    pool.reserves = {
        number: replace(base, id=number, asset=Address(bytes([number + 1]) * 20), bonus_bps=BPS + 100 + 10 * number)
        for number in range(16)
    }
    pool.prices_base = dict.fromkeys(pool.reserves, 1_000 * DOLLAR)
    pool.__post_init__()
    position = Position(
        WHO,
        {n: (n + 1) * 10**18 for n in range(8)},
        {8 + n: (n + 1) * 10**18 * 83 // 100 for n in range(8)},
        frozenset(range(8)),
        0,
    )
    adapter = CountingAdapter({})
    plans = plan(pool.state(), position, replace(T105, most_calls=3), adapter=adapter)
    assert not isinstance(plans, Skip)
    assert adapter.quotes < 60_000
