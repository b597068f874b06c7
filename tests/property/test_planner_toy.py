"""The planner on random toy positions: its plans hold over the whole window, harm nobody, and its verdicts are those that
trying every call gives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from keeper.core.block import BlockRef
from keeper.core.lending import Health, Pair, Position, Quote, Refusal
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Clip, Plan, Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.target import TargetPolicy
from keeper.core.units import BPS, RAY, WAD, Address, Hash32
from tests.toy_arithmetic import ToyMarket, ToyReserve, ToyRules, ToyState, value_position
from tests.toy_market import ToyAdapter

ADAPTER = ToyAdapter({})
ENTRY, POOL, BORROWER, LIQUIDATOR = (Address(bytes([number]) * 20) for number in (1, 2, 3, 4))
NOW_S = 1_000
BLOCK = BlockRef(1, Hash32(b"\1" * 32), Hash32(bytes(32)), NOW_S, 1, 1)
TARGET_WAD = 105 * WAD // 100
UNIT = 10**6
NOISE_WAD = 10**13
"""What a grid of tried calls may miss of the best one."""


def draw(rng: random.Random, *, rate_ray_s: int = 0, small: bool = False) -> tuple[ToyState, Position]:
    """One or two collaterals and debts under random rules, somewhere below 1. `small`: few units, all worth something."""
    collaterals, debts = rng.choice(((1, 1), (2, 1), (1, 2), (2, 2)))
    reserves = {
        reserve_id: ToyReserve(
            reserve_id,
            Address(bytes([0xA0 + reserve_id]) * 20),
            1 if small else UNIT,
            rng.randrange(5_000, 9_300, 50),
            5_000,
            rng.choice((10_100, 10_500, 11_000, 11_500)),
        )
        for reserve_id in range(collaterals + debts)
    }
    rules = ToyRules(
        close_factor_bps=rng.choice((BPS, 5_000)),
        dust_base=0 if small else rng.choice((0, 0, 10**10)),
        fee_bps=rng.choice((0, 1_000)),
        floored=small and rng.random() < 0.5,
        writes_off=rng.random() < 0.5,
    )
    unit_price = rng.randrange(10**6, 10**8)
    prices: dict[int, int | None] = {
        reserve_id: unit_price * rng.choice((1, 3)) if small else rng.choice((1, 10, 100)) * 10**8
        for reserve_id in reserves
    }
    state = ToyState(
        ToyMarket(ENTRY, POOL, 1, rules, reserves),
        prices,
        {reserve_id: 10**40 if small else rng.choice((10**40, 10**40, 10**9)) for reserve_id in reserves},
        dict.fromkeys(reserves, RAY),
        dict.fromkeys(reserves, rate_ray_s),
    )
    return state, position_of(rng, state, collaterals, debts, small=small)


def position_of(rng: random.Random, state: ToyState, collaterals: int, debts: int, *, small: bool) -> Position:
    def raw(reserve_id: int, base: float) -> int:
        price_base = state.prices_base[reserve_id]
        assert price_base is not None
        return max(1, int(base * state.market.reserves[reserve_id].unit / price_base))

    worth = rng.uniform(400, 4_000) * 10**7 if small else rng.uniform(10**10, 10**13)
    collateral = {reserve_id: raw(reserve_id, worth * rng.uniform(0.1, 1)) for reserve_id in range(collaterals)}
    bare = Position(BORROWER, collateral, {}, frozenset(collateral), 0)
    valued = value_position(state, bare, NOW_S)
    assert isinstance(valued, Health)
    owed = valued.weighted_collateral_base_bps / BPS / rng.uniform(0.7, 0.999)
    weights = [rng.uniform(0.05, 1) for _ in range(debts)]
    debt = {
        collaterals + number: raw(collaterals + number, owed * weight / sum(weights))
        for number, weight in enumerate(weights)
    }
    return replace(bare, debt_scaled=debt)


def planned(state: ToyState, position: Position, window: Window, most_calls: int = 2) -> tuple[Plan, ...] | Skip:
    policy = PlanPolicy(TargetPolicy(market_wad=TARGET_WAD), most_calls)
    return Planner(ADAPTER, state, ENTRY, BLOCK, window, LIQUIDATOR, policy).plan(position)


def health_wad(state: ToyState, position: Position, timestamp_s: int) -> int:
    health = value_position(state, position, timestamp_s)
    assert isinstance(health, Health)
    return health.health_factor_wad


def tried(state: ToyState, position: Position, grid: int) -> Iterator[Quote]:
    """Calls of every pair: the ends of what is allowed and a grid between them."""
    for pair in ADAPTER.pairs(state, position, LIQUIDATOR, NOW_S):
        if not isinstance(pair, Pair):
            continue
        for low, unbounded in ADAPTER.allowed_debt_to_cover(state, position, pair, NOW_S):
            high = min(unbounded, state.owed_raw(position, pair.debt_id, NOW_S))
            for request_raw in {low, high} | {low + (high - low) * step // grid for step in range(grid)}:
                quote = ADAPTER.quote_liquidation(state, position, pair, request_raw, NOW_S)
                assert not isinstance(quote, Refusal)
                if not quote.bad_debt_base:
                    yield quote


def best_wad(state: ToyState, position: Position, calls: int, grid: int) -> int:
    """The best health after at most so many calls, each of which raises it."""
    before_wad = best = health_wad(state, position, NOW_S)
    for quote in tried(state, position, grid):
        after_wad = quote.health_after.health_factor_wad
        best = max(best, after_wad)
        if calls > 1 and before_wad < after_wad < WAD:
            best = max(best, best_wad(state, quote.position_after, calls - 1, grid))
    return best


@pytest.mark.parametrize("seed", range(60))
def test_the_verdict_is_what_trying_the_calls_gives(seed: int) -> None:
    rng = random.Random(seed)
    state, position = draw(rng)
    before_wad = health_wad(state, position, NOW_S)
    plans = planned(state, position, Window(NOW_S, NOW_S))
    best = best_wad(state, position, 2, grid=14)
    if isinstance(plans, Skip):
        assert plans.verdict in (Verdict.TOXIC, Verdict.BAD_DEBT)
        assert best <= before_wad + NOISE_WAD
        return
    plan = plans[0]
    assert plan.health_after.health_factor_wad >= min(best, TARGET_WAD) - NOISE_WAD
    if plan.verdict is Verdict.REACHES_TARGET:
        assert best >= TARGET_WAD - NOISE_WAD or plan.health_after.health_factor_wad >= TARGET_WAD
    else:
        assert best < TARGET_WAD
        assert (plan.verdict is Verdict.REACHES_SAFETY) == (plan.health_after.health_factor_wad >= WAD)


@pytest.mark.parametrize("seed", range(120))
def test_a_plan_holds_at_every_second_of_its_window(seed: int) -> None:
    """Executed call by call, all at one second or the first at the beginning and the others at the end."""
    rng = random.Random(1_000 + seed)
    state, position = draw(rng, rate_ray_s=rng.choice((10**19, 10**21, 10**22)))
    window = Window(NOW_S, NOW_S + 12)
    plans = planned(state, position, window, most_calls=3)
    if isinstance(plans, Skip):
        return
    for plan in plans:
        for seconds in (*([second] * 3 for second in range(NOW_S, NOW_S + 13)), [NOW_S, NOW_S + 12, NOW_S + 12]):
            execute(state, position, plan, seconds)


def execute(state: ToyState, position: Position, plan: Plan, seconds: list[int]) -> None:
    after = position
    for place, (call, second) in enumerate(zip(plan.calls, seconds, strict=False)):
        quote = ADAPTER.quote_liquidation(state, after, call.pair, call.debt_to_cover_raw, second)
        assert not isinstance(quote, Refusal), quote
        assert quote.bad_debt_base == 0
        after = quote.position_after
        if place < len(plan.calls) - 1:
            assert quote.health_after.health_factor_wad < WAD
    latest_wad = health_wad(state, after, seconds[len(plan.calls) - 1])
    if plan.verdict is Verdict.REACHES_TARGET:
        assert latest_wad >= plan.target_wad
    elif plan.verdict is Verdict.REACHES_SAFETY:
        assert latest_wad >= WAD
    else:
        assert latest_wad > plan.health_before.health_factor_wad


@pytest.mark.parametrize("seed", range(60))
def test_the_last_call_is_a_least_one(seed: int) -> None:
    """One unit less misses the target at one end of the window at least, unless the rules do not allow it at all."""
    rng = random.Random(2_000 + seed)
    state, position = draw(rng, rate_ray_s=10**19)
    plans = planned(state, position, Window(NOW_S, NOW_S + 4))
    if isinstance(plans, Skip) or plans[0].verdict is not Verdict.REACHES_TARGET:
        return
    for plan in plans:
        if len(plan.calls) > 1:
            continue
        (call,) = plan.calls
        less = [
            ADAPTER.quote_liquidation(state, position, call.pair, call.debt_to_cover_raw - 1, second)
            for second in range(NOW_S, NOW_S + 5)
        ]
        refused = any(isinstance(quote, Refusal) for quote in less)
        if call.clip is Clip.DUST_JUMP:
            assert refused
        elif not refused and call.debt_to_cover_raw > 1:
            after = [quote.health_after.health_factor_wad for quote in less if not isinstance(quote, Refusal)]
            assert min(after) < plan.target_wad


@pytest.mark.parametrize("seed", range(120))
def test_of_small_positions_it_finds_the_least_of_all_repayments(seed: int) -> None:
    """A unit is worth a visible part of the position here, so that health is a sawtooth; every repayment is tried."""
    rng = random.Random(3_000 + seed)
    state, position = draw(rng, small=True)
    if health_wad(state, position, NOW_S) >= WAD:
        return
    plans = planned(state, position, Window(NOW_S, NOW_S), most_calls=1)
    least: dict[tuple[int, int], int] = {}
    for pair in ADAPTER.pairs(state, position, LIQUIDATOR, NOW_S):
        if not isinstance(pair, Pair):
            continue
        for request_raw in range(1, state.owed_raw(position, pair.debt_id, NOW_S) + 1):
            quote = ADAPTER.quote_liquidation(state, position, pair, request_raw, NOW_S)
            if isinstance(quote, Refusal) or quote.bad_debt_base:
                continue
            if quote.health_after.health_factor_wad >= TARGET_WAD:
                least[pair.collateral_id, pair.debt_id] = request_raw
                break
    if isinstance(plans, Skip):
        assert plans.reason is Reason.TOXIC  # only the fractions of a unit could help such a borrower
        return
    if plans[0].verdict is not Verdict.REACHES_TARGET:
        assert not least
        return
    found = {(p.calls[0].pair.collateral_id, p.calls[0].pair.debt_id): p.calls[0].debt_to_cover_raw for p in plans}
    assert found
    assert found.items() <= least.items()  # a pair that reaches it on a tooth of the saw alone is left out


@pytest.mark.parametrize("seed", range(60))
def test_the_plans_come_by_what_they_cost_the_borrower(seed: int) -> None:
    rng = random.Random(4_000 + seed)
    state, position = draw(rng)
    plans = planned(state, position, Window(NOW_S, NOW_S))
    if isinstance(plans, Skip):
        return
    losses = [sum(call.at_latest.seized_base - call.at_latest.repaid_base for call in plan.calls) for plan in plans]
    assert losses == sorted(losses)
    assert len({plan.verdict for plan in plans}) == 1


@pytest.mark.parametrize("seed", range(60))
def test_whoever_is_turned_away_for_its_size_has_no_plan_that_brings_as_much(seed: int) -> None:
    """What is refused before anything is sized is refused by the whole debt and the largest bonus: nothing gains more."""
    rng = random.Random(f"too small {seed}")
    state, position = draw(rng, small=seed % 2 == 0)
    window = Window(NOW_S, NOW_S + 3)
    planner = Planner(
        ADAPTER, state, ENTRY, BLOCK, window, LIQUIDATOR, PlanPolicy(TargetPolicy(market_wad=TARGET_WAD), 2)
    )
    plans = planner.plan(position)
    if isinstance(plans, Skip):
        assert plans.reason is not Reason.UNPROFITABLE
        return
    gains = [sum(call.at_latest.received_base - call.at_latest.repaid_base for call in plan.calls) for plan in plans]
    for least_gain_base in (max(gains), max(gains) // 2, 0):
        begun = planner.begin(position, least_gain_base)
        assert not isinstance(begun, Skip), "a plan that brings as much must be looked for"
    vast = planner.begin(position, 10**30)
    assert isinstance(vast, Skip)
    assert vast.reason is Reason.UNPROFITABLE
