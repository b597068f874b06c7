"""Valuation rules by release, one at a time; the numbers are checked against recorded answers elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keeper.core.errors import Defect
from keeper.core.lending import Health, Position
from keeper.core.outcome import Reason, Skip
from keeper.core.units import NO_DEBT_HEALTH_WAD, WAD
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import State
from keeper.protocols.aave_v3.valuation import value_account
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_position, make_reserve_state, make_state
from tests.unit.protocols.aave_v3.generators import RELEASES, Case, cases

each_release = pytest.mark.parametrize("release", RELEASES)
up_to_3_5 = pytest.mark.parametrize("release", [one for one in RELEASES if one < "3.6"])
DOLLARS = 10**6


def valued(state: State, position: Position) -> Health:
    health = value_account(state.at(NOW_S), position)
    assert isinstance(health, Health)
    return health


def dollar_state(
    release: str, *, ltv_bps: int = 7500, threshold_bps: int = 8000, category: Category | None = None
) -> State:
    config = make_config(decimals=6, ltv_bps=ltv_bps, liquidation_threshold_bps=threshold_bps)
    odd_one = make_config(decimals=6, ltv_bps=5000, liquidation_threshold_bps=6001)
    reserves = {0: make_reserve_state(config), 1: make_reserve_state(odd_one), 2: make_reserve_state(config)}
    return make_state(release, reserves, [category] if category else [])


@each_release
def test_nothing_at_all(release: str) -> None:
    assert valued(dollar_state(release), make_position({}, {})) == Health(NO_DEBT_HEALTH_WAD, 0, 0, 0, 0, 0, 0)


@each_release
def test_without_debt_health_is_the_contracts_infinity(release: str) -> None:
    health = valued(dollar_state(release), make_position({0: 1000 * DOLLARS}, {}))
    assert health.health_factor_wad == NO_DEBT_HEALTH_WAD
    assert (health.collateral_base, health.available_borrows_base) == (1000 * 10**8, 750 * 10**8)


@each_release
def test_supplied_but_not_enabled_counts_for_nothing(release: str) -> None:
    health = valued(dollar_state(release), make_position({0: 1000 * DOLLARS}, {2: DOLLARS}, enabled=[]))
    assert (health.collateral_base, health.health_factor_wad) == (0, 0)


@each_release
def test_the_average_threshold_is_floored_before_3_5(release: str) -> None:
    """Two thirds at 80 % and one third at 60.01 %: 73.336…, so 73.33 % where it is floored."""
    health = valued(dollar_state(release), make_position({0: 2000 * DOLLARS, 1: 1000 * DOLLARS}, {2: 1000 * DOLLARS}))
    assert health.liquidation_threshold_bps == 7333
    assert health.weighted_collateral_base_bps == (2000 * 8000 + 1000 * 6001) * 10**8
    exact = (2000 * 8000 + 1000 * 6001) * WAD // (1000 * 10_000)
    assert health.health_factor_wad == (exact if release >= "3.5" else 3000 * 7333 * WAD // (1000 * 10_000))


@up_to_3_5
def test_a_reserve_without_threshold_is_no_collateral(release: str) -> None:
    category = Category(1, 9000, 9300, 10_100, collateral_bitmap=0b111)
    state = dollar_state(release, threshold_bps=0, category=category)
    health = valued(state, make_position({0: 1000 * DOLLARS}, {2: DOLLARS}, category=1))
    assert (health.collateral_base, health.health_factor_wad) == (0, 0)


@pytest.mark.parametrize("release", ["3.6", "3.7"])
def test_from_3_6_it_counts_and_takes_the_e_modes_terms(release: str) -> None:
    category = Category(1, 9000, 9300, 10_100, collateral_bitmap=0b001)
    state = dollar_state(release, threshold_bps=0, ltv_bps=0, category=category)
    inside = valued(state, make_position({0: 1000 * DOLLARS}, {2: 500 * DOLLARS}, category=1))
    outside = valued(state, make_position({0: 1000 * DOLLARS}, {2: 500 * DOLLARS}))
    assert (inside.liquidation_threshold_bps, inside.ltv_bps) == (9300, 9000)
    assert (outside.collateral_base, outside.liquidation_threshold_bps) == (1000 * 10**8, 0)


def test_loan_to_value_rules() -> None:
    position = make_position({0: 1000 * DOLLARS, 1: 1000 * DOLLARS}, {2: DOLLARS}, category=1)
    terms = Category(1, 9000, 9300, 10_100, collateral_bitmap=0b001)
    zero = replace(terms, zero_ltv_bitmap=0b001)
    isolated = replace(terms, isolated=True)

    def ltv(release: str, category: Category, own_bps: int = 7500) -> int:
        return valued(dollar_state(release, ltv_bps=own_bps, category=category), position).ltv_bps

    assert ltv("3.5", terms) == (9000 + 5000) // 2
    assert ltv("3.5", terms, own_bps=0) == 5000 // 2
    assert ltv("3.6", terms, own_bps=0) == (9000 + 5000) // 2
    assert ltv("3.6", zero) == 5000 // 2
    assert ltv("3.7", isolated) == 9000 // 2


@each_release
def test_a_missing_price_of_anything_flagged_or_owed_is_no_number(release: str) -> None:
    state = dollar_state(release)
    blind = {**state.reserves, 1: replace(state.reserves[1], price_base=None)}
    state = State(state.market, state.block, blind, {}, liquidation_allowed=True)
    for position in (
        make_position({0: DOLLARS}, {1: DOLLARS}),
        make_position({0: DOLLARS, 1: DOLLARS}, {}),
        make_position({0: DOLLARS}, {2: 1}, enabled=[0, 1]),
    ):
        skip = value_account(state.at(NOW_S), position)
        assert isinstance(skip, Skip)
        assert skip.reason is Reason.UNPRICEABLE
        assert "T1" in skip.detail
    assert valued(state, make_position({0: DOLLARS, 1: DOLLARS}, {2: DOLLARS}, enabled=[0])).collateral_base == 10**8


def test_a_flag_of_a_dropped_reserve_is_passed_over_but_a_balance_is_our_defect() -> None:
    state = dollar_state("3.0.2")
    assert valued(state, make_position({0: DOLLARS}, {2: 1}, enabled=[0, 77])).collateral_base == 10**8
    with pytest.raises(Defect, match="reserve 77"):
        value_account(state.at(NOW_S), make_position({77: 1}, {2: 1}))


@each_release
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_lp06_health_never_improves_when_a_collaterals_price_falls(release: str, data: st.DataObject) -> None:
    case: Case = data.draw(cases(release))
    before = value_account(case.state.at(case.timestamp_s), case.position)
    pledged_only = sorted(case.position.collateral_enabled - case.position.debt_scaled.keys())
    assume(pledged_only)
    fallen = data.draw(st.sampled_from(pledged_only))
    reserve = case.state.reserves[fallen]
    assert reserve.price_base is not None
    lower = replace(reserve, price_base=data.draw(st.integers(1, reserve.price_base)))
    state = State(
        case.state.market, case.state.block, {**case.state.reserves, fallen: lower}, {}, liquidation_allowed=True
    )
    after = value_account(state.at(case.timestamp_s), case.position)
    assert isinstance(before, Health)
    assert isinstance(after, Health)
    assert after.collateral_base <= before.collateral_base
    assert after.weighted_collateral_base_bps <= before.weighted_collateral_base_bps
    if release >= "3.5" or len(case.position.collateral_enabled) == 1:
        assert after.health_factor_wad <= before.health_factor_wad
    else:
        # The floored average may rise as the riskier collateral loses weight: by less than one bps of all collateral.
        one_bps_wad = (before.collateral_base // 10_000 + 2) * WAD // max(1, before.debt_base) + 1
        assert after.health_factor_wad <= before.health_factor_wad + one_bps_wad
