"""Seized amounts against every release's recorded answers, and what a call leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.core.lending import Health, Position, Quote, Refusal
from keeper.core.outcome import Reason
from keeper.core.units import NO_DEBT_HEALTH_WAD, RAY, UINT256_MAX
from keeper.protocols.aave_v3.liquidation import amounts, quote
from keeper.protocols.aave_v3.math import seizure_arithmetic
from keeper.protocols.aave_v3.profile import KNOWN, Features
from keeper.protocols.aave_v3.state import State
from keeper.protocols.aave_v3.terms import Terms, pair_terms
from keeper.protocols.aave_v3.valuation import value_account
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_position, make_reserve_state, make_state
from tests.unit.protocols.aave_v3.generators import RELEASES, Case, cases
from tests.unit.protocols.aave_v3.vectors import RELEASES as VECTORS
from tests.unit.protocols.aave_v3.vectors import load

each_release = pytest.mark.parametrize("release", RELEASES)


def recorded_terms(release: str, case: dict[str, Any]) -> Terms:
    """Terms with the recorded inputs; what the amounts do not read stays neutral."""
    reserves = {
        0: make_reserve_state(make_config(decimals=int(case["collateral_decimals"]))),
        1: make_reserve_state(make_config(decimals=int(case["debt_decimals"]))),
    }
    at = make_state(release, reserves).at(NOW_S)
    position = make_position({}, {})
    health = value_account(at, position)
    assert isinstance(health, Health)
    return Terms(
        at=at,
        position=position,
        emode=None,
        health=health,
        collateral=at[0],
        debt=at[1],
        collateral_price_base=int(case["collateral_price_base"]),
        debt_price_base=int(case["debt_price_base"]),
        collateral_scaled=0,
        balance_raw=int(case["collateral_balance_raw"]),
        owed_raw=0,
        bonus_bps=int(case["bonus_bps"]),
        fee_bps=int(case["protocol_fee_bps"]),
        most_raw=UINT256_MAX,
        arithmetic=seizure_arithmetic(KNOWN[release].features),
    )


@pytest.mark.parametrize("name", VECTORS)
def test_recorded_amounts(name: str) -> None:
    recorded = load(name)["liquidation_amounts"]
    assert len(recorded) >= 120
    for number, case in enumerate(recorded):
        repaid_raw, seized_raw, fee_raw = amounts(recorded_terms(VECTORS[name], case), int(case["debt_to_cover_raw"]))
        assert (seized_raw - fee_raw, repaid_raw, fee_raw) == (
            int(case["expected_collateral_to_liquidator_raw"]),
            int(case["expected_debt_raw"]),
            int(case["expected_protocol_fee_raw"]),
        ), (name, number)


def sick(
    release: str, collateral_usd: int, debt_usd: int, *, fee_bps: int = 1000, second_debt_usd: int = 0
) -> tuple[State, Position]:
    """Dollars of 6 decimals at 80 %, bonus 5 %."""
    reserves = dict.fromkeys(range(4), make_reserve_state(make_config(decimals=6, protocol_fee_bps=fee_bps)))
    debt = {1: debt_usd * 10**6} | ({2: second_debt_usd * 10**6} if second_debt_usd else {})
    return make_state(release, reserves), make_position({0: collateral_usd * 10**6}, debt)


def quoted(state: State, position: Position, request_raw: int = UINT256_MAX) -> Quote:
    terms = pair_terms(state.at(NOW_S), position, 0, 1)
    assert isinstance(terms, Terms)
    found = quote(terms, request_raw)
    assert isinstance(found, Quote)
    return found


@each_release
def test_the_fee_comes_out_of_the_bonus(release: str) -> None:
    state, position = sick(release, 11_000, 10_000)
    one = quoted(state, position, 1_000 * 10**6)
    assert (one.repaid_raw, one.seized_raw) == (1_000 * 10**6, 1_050 * 10**6)
    assert one.protocol_fee_raw == 5 * 10**6
    assert one.received_raw == 1_045 * 10**6
    assert (one.repaid_base, one.seized_base, one.received_base) == (1_000 * 10**8, 1_050 * 10**8, 1_045 * 10**8)
    assert one.position_after == make_position({0: 9_950 * 10**6}, {1: 9_000 * 10**6})
    assert one.bad_debt_base == 0


@each_release
def test_exhausted_collateral_recomputes_the_repayment_and_may_write_debt_off(release: str) -> None:
    state, position = sick(release, 1_050, 1_500, second_debt_usd=400)
    one = quoted(state, position)
    assert (one.repaid_raw, one.seized_raw) == (1_000 * 10**6, 1_050 * 10**6)
    assert 0 not in one.position_after.collateral_scaled
    if KNOWN[release].features >= Features.V3_3:
        assert one.bad_debt_base == 900 * 10**8
        assert one.position_after.debt_scaled == {}
        assert one.health_after.health_factor_wad == NO_DEBT_HEALTH_WAD
    else:
        assert one.bad_debt_base == 0
        assert one.position_after.debt_scaled == {1: 500 * 10**6, 2: 400 * 10**6}
        assert one.health_after.health_factor_wad == 0
    # 3.0.0 looks at what the liquidator gets, which a fee keeps below the balance.
    assert (0 in one.position_after.collateral_enabled) == (release == "3.0.0")


@each_release
def test_without_a_fee_every_release_clears_the_flag(release: str) -> None:
    one = quoted(*sick(release, 1_050, 1_500, fee_bps=0))
    assert one.position_after.collateral_enabled == frozenset()


def test_debt_in_an_inactive_reserve_is_not_written_off() -> None:
    state, position = sick("3.6", 1_050, 1_500, second_debt_usd=400)
    idle = replace(state.reserves[2], config=replace(state.reserves[2].config, active=False))
    state = State(state.market, state.block, {**state.reserves, 2: idle}, {}, liquidation_allowed=True)
    one = quoted(state, position)
    assert one.position_after.debt_scaled == {2: 400 * 10**6}
    assert one.bad_debt_base == 500 * 10**8


def test_a_second_collateral_of_any_value_prevents_the_write_off() -> None:
    state, position = sick("3.6", 1_050, 1_500)
    position = make_position({**position.collateral_scaled, 3: 1}, position.debt_scaled)
    one = quoted(state, position)
    assert one.bad_debt_base == 0
    assert one.position_after.debt_scaled == {1: 500 * 10**6}


@pytest.mark.parametrize("price_base", [0, None])
def test_an_e_mode_price_source_without_a_price(price_base: int | None) -> None:
    """The valuation falls back to the assets' prices for an answer of 0, the liquidation divides by it."""
    state, position = sick("3.0.2", 11_000, 10_000)
    state = State(state.market, state.block, state.reserves, {1: price_base}, liquidation_allowed=True)
    terms = pair_terms(state.at(NOW_S), replace(position, category=1), 0, 1)
    assert isinstance(terms, Refusal)
    assert terms.skip.reason is Reason.UNPRICEABLE


def test_an_e_mode_price_stands_for_every_debt_up_to_3_1() -> None:
    state, position = sick("3.0.2", 11_000, 10_000, fee_bps=0)
    state = State(state.market, state.block, state.reserves, {1: 2 * 10**8}, liquidation_allowed=True)
    terms = pair_terms(state.at(NOW_S), replace(position, category=1), 0, 1)
    assert isinstance(terms, Terms)
    # The collateral is not of the category: it keeps its dollar, while each repaid dollar counts twice.
    assert amounts(terms, 1_000 * 10**6) == (1_000 * 10**6, 2_100 * 10**6, 0)


@each_release
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_quotes_never_take_more_than_there_is(release: str, data: st.DataObject) -> None:
    case: Case = data.draw(cases(release))
    at = case.state.at(case.timestamp_s)
    terms = pair_terms(at, case.position, 0, 1)
    if isinstance(terms, Refusal):
        return
    request_raw = data.draw(st.integers(1, 2 * max(1, terms.most_raw)))
    one = quote(terms, request_raw)
    if isinstance(one, Refusal):
        return
    assert one.repaid_raw <= min(request_raw, terms.owed_raw)
    assert one.seized_raw == one.received_raw + one.protocol_fee_raw <= terms.balance_raw
    after = one.position_after
    assert after.collateral_scaled.get(0, 0) < case.position.collateral_scaled[0]
    assert after.debt_scaled.get(1, 0) < case.position.debt_scaled[1]
    assert all(scaled > 0 for scaled in (*after.collateral_scaled.values(), *after.debt_scaled.values()))


def test_scaled_leftovers_can_outlive_their_flag() -> None:
    """3.6 clears the flag by amounts; with a grown index, scaled units of no value can stay behind."""
    reserves = {
        0: make_reserve_state(make_config(decimals=6, protocol_fee_bps=0), liquidity_index_ray=3 * RAY),
        1: make_reserve_state(make_config(decimals=6)),
    }
    state = make_state("3.6", reserves)
    one = quoted(state, make_position({0: 350 * 10**6}, {1: 1_500 * 10**6}))
    assert one.seized_raw == 1_050 * 10**6
    assert one.position_after.collateral_enabled == frozenset()
