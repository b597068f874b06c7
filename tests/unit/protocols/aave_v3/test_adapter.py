"""The adapter's own doings: pairs with their refusals, legs, values, and errors kept inside its border."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.lending import Health, LendingAdapter, Pair, Position, Quote, Refusal
from keeper.core.outcome import Reason, Skip
from keeper.core.units import UINT256_MAX
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category, Market, ReserveConfig
from keeper.protocols.aave_v3.profile import KNOWN
from keeper.protocols.aave_v3.state import ReserveState, State
from keeper.protocols.aave_v3.terms import TermsMemo
from tests.unit.protocols.aave_v3.builders import (
    BORROWER,
    LIQUIDATOR,
    NOW_S,
    POOL,
    address,
    make_config,
    make_position,
    make_reserve,
    make_reserve_state,
    make_state,
)

ADAPTER: LendingAdapter[Market, State] = AaveV3()
DOLLARS = 10**6
SICK = make_position({0: 1100 * DOLLARS, 3: 5}, {1: 1000 * DOLLARS, 2: 10 * DOLLARS}, enabled=[0])


def dollar_state(release: str, categories: tuple[Category, ...] = ()) -> State:
    return make_state(release, dict.fromkeys(range(4), make_reserve_state(make_config(decimals=6))), categories)


def changed(state: State, reserve_id: int, **changes: object) -> State:
    """The state with one reserve's fields, or its configuration's, replaced."""
    before = state.reserves[reserve_id]
    config_fields = {key: value for key, value in changes.items() if key in ReserveConfig.__dataclass_fields__}
    state_fields = {key: value for key, value in changes.items() if key in ReserveState.__dataclass_fields__}
    config = replace(before.config, **config_fields)  # type: ignore[arg-type]
    after = replace(before, config=config, **state_fields)  # type: ignore[arg-type]
    reserves = {**state.reserves, reserve_id: after}
    return State(state.market, state.block, reserves, state.category_prices_base, state.liquidation_allowed)


def refusals(state: State, position: Position = SICK, timestamp_s: int = NOW_S) -> dict[str, Reason]:
    """Reasons of the refused pairs, by the words before the colon."""
    pairs = ADAPTER.pairs(state, position, LIQUIDATOR, timestamp_s)
    found = [pair.skip for pair in pairs if isinstance(pair, Refusal)]
    return {skip.detail.split(":")[0]: skip.reason for skip in found}


@pytest.mark.parametrize("release", KNOWN)
def test_pairs_of_every_collateral_and_debt(release: str) -> None:
    pairs = ADAPTER.pairs(dollar_state(release), SICK, LIQUIDATOR, NOW_S)
    usable = [pair for pair in pairs if isinstance(pair, Pair)]
    assert [(pair.collateral_id, pair.debt_id) for pair in usable] == [(0, 1), (0, 2)]
    assert usable[0] == Pair(0, 1, make_reserve(0).asset, make_reserve(1).asset, 8000, 10_500)
    assert refusals(dollar_state(release)) == {"T3 for T1": Reason.NOT_COLLATERAL, "T3 for T2": Reason.NOT_COLLATERAL}


def test_pairs_take_the_e_modes_terms() -> None:
    state = dollar_state("3.6", (Category(1, 9000, 9100, 10_100, collateral_bitmap=0b0001),))
    position = replace(SICK, category=1, collateral_scaled={0: 1000 * DOLLARS})
    (pair, _) = ADAPTER.pairs(state, position, LIQUIDATOR, NOW_S)
    assert isinstance(pair, Pair)
    assert (pair.threshold_bps, pair.bonus_bps) == (9100, 10_100)


def test_reasons_touch_only_the_pairs_they_concern() -> None:
    state = dollar_state("3.6")
    others = {"T3 for T1": Reason.NOT_COLLATERAL, "T3 for T2": Reason.NOT_COLLATERAL}
    assert refusals(changed(state, 2, paused=True)) == {
        "T0 for T2": Reason.RESERVE_PAUSED,
        "T3 for T1": Reason.NOT_COLLATERAL,
        "T3 for T2": Reason.RESERVE_PAUSED,
    }
    assert refusals(changed(state, 1, active=False))["T0 for T1"] is Reason.RESERVE_INACTIVE
    assert refusals(changed(state, 0, grace_until_s=NOW_S))["T0 for T1"] is Reason.GRACE_PERIOD
    assert refusals(changed(state, 0, grace_until_s=NOW_S - 1)) == others
    assert refusals(changed(state, 0, liquidity_raw=0))["T0 for T1"] is Reason.NO_COLLATERAL_LIQUIDITY
    assert refusals(changed(state, 0, liquidation_bonus_bps=0))["T0 for T1"] is Reason.ZERO_BONUS
    assert set(refusals(changed(state, 0, price_base=None)).values()) == {Reason.UNPRICEABLE}
    assert set(refusals(changed(state, 0, price_base=2 * 10**8)).values()) == {Reason.HEALTHY_NOW}


def test_the_contracts_order_of_checks_decides_the_reason() -> None:
    state = changed(dollar_state("3.6"), 0, paused=True, active=False, grace_until_s=NOW_S)
    assert refusals(state)["T0 for T1"] is Reason.RESERVE_INACTIVE
    state = changed(state, 0, active=True)
    assert refusals(state)["T0 for T1"] is Reason.RESERVE_PAUSED
    state = State(state.market, state.block, state.reserves, {}, liquidation_allowed=False)
    assert refusals(changed(state, 0, paused=False))["T0 for T1"] is Reason.GRACE_PERIOD
    # Health 0.87 is too deep for the sentinel; at 0.95 it has a say, before the grace period.
    shallow = make_position({0: 1188 * DOLLARS}, {1: 1000 * DOLLARS})
    assert refusals(changed(state, 0, paused=False), shallow) == {"T0 for T1": Reason.SEQUENCER_SENTINEL}


def test_nobody_liquidates_himself_from_3_4() -> None:
    for release in KNOWN:
        pairs = ADAPTER.pairs(dollar_state(release), SICK, BORROWER, NOW_S)
        reasons = {pair.skip.reason for pair in pairs if isinstance(pair, Refusal)}
        expected = Reason.SELF_LIQUIDATION if release >= "3.4" else Reason.NOT_COLLATERAL
        assert reasons == {expected}


def test_legs_are_the_enabled_collaterals() -> None:
    (leg,) = ADAPTER.collateral_legs(dollar_state("3.6"), SICK, NOW_S)
    assert (leg.reserve_id, leg.balance_raw, leg.balance_base) == (0, 1100 * DOLLARS, 1100 * 10**8)
    assert (leg.threshold_bps, leg.bonus_bps) == (8000, 10_500)
    (dead,) = ADAPTER.collateral_legs(changed(dollar_state("3.3"), 0, liquidation_threshold_bps=0), SICK, NOW_S)
    assert (dead.threshold_bps, dead.bonus_bps) == (0, 0)
    assert ADAPTER.collateral_legs(changed(dollar_state("3.6"), 0, price_base=None), SICK, NOW_S) == []


def test_values_and_their_inverse() -> None:
    state = changed(dollar_state("3.6"), 1, price_base=3)
    asset = make_reserve(1).asset
    assert ADAPTER.value_base_floor(state, asset, 10**6 - 1) == 2
    assert ADAPTER.raw_from_base_ceil(state, asset, 2) == 666_667
    assert ADAPTER.value_base_floor(state, asset, 666_667) == 2
    assert ADAPTER.value_base_floor(state, address(0x77), 1) is None
    blind = changed(state, 1, price_base=None)
    assert ADAPTER.value_base_floor(blind, asset, 1) is None
    assert ADAPTER.raw_from_base_ceil(blind, asset, 1) is None
    assert ADAPTER.relevant_prices(blind, SICK) == {
        make_reserve(0).asset: 10**8,
        asset: None,
        make_reserve(2).asset: 10**8,
        make_reserve(3).asset: 10**8,
    }


def test_arithmetic_that_overflows_is_a_skip_not_an_exception() -> None:
    state = changed(dollar_state("3.6"), 0, price_base=UINT256_MAX)
    skip = ADAPTER.health(state, SICK, NOW_S)
    assert isinstance(skip, Skip)
    assert skip.reason is Reason.UNPRICEABLE
    assert set(refusals(state).values()) == {Reason.UNPRICEABLE}
    pair = Pair(0, 1, make_reserve(0).asset, make_reserve(1).asset, 8000, 10_500)
    assert isinstance(ADAPTER.quote_liquidation(state, SICK, pair, 1, NOW_S), Refusal)
    assert ADAPTER.allowed_debt_to_cover(state, SICK, pair, NOW_S) == []


def test_quote_and_health_agree_on_what_comes_after() -> None:
    state = dollar_state("3.6")
    pair = next(one for one in ADAPTER.pairs(state, SICK, LIQUIDATOR, NOW_S) if isinstance(one, Pair))
    quote = ADAPTER.quote_liquidation(state, SICK, pair, UINT256_MAX, NOW_S)
    assert isinstance(quote, Quote)
    after = ADAPTER.health(state, quote.position_after, NOW_S)
    assert isinstance(after, Health)
    assert after == quote.health_after


def test_facts_for_the_pipeline() -> None:
    state = dollar_state("3.6")
    market = state.market
    assert ADAPTER.protocol == "aave_v3"
    assert ADAPTER.spender(market) == POOL
    assert ADAPTER.base_unit(market) == 10**8
    assert "3.6" in ADAPTER.rules_name(market)
    assert not ADAPTER.health_is_floored(state)
    assert ADAPTER.health_is_floored(dollar_state("3.4"))
    assert ADAPTER.estimated_gas(SICK) > ADAPTER.estimated_gas(make_position({0: 1}, {1: 1})) > 200_000
    assert ADAPTER.decode_revert(market, b"") == "reverted without data"


def test_the_memo_is_bounded_and_tells_positions_apart() -> None:
    memo, at = TermsMemo(limit=2), dollar_state("3.6").at(NOW_S)
    smaller = replace(SICK, collateral_scaled={0: 10**9})
    first, second = memo.find(at, SICK, 0, 1), memo.find(at, smaller, 0, 1)
    assert first is not second
    assert memo.find(at, SICK, 0, 1) is first
    for debt_id in (1, 2, 1):
        memo.find(at, smaller, 0, debt_id)
    assert memo.find(at, SICK, 0, 1) == first
