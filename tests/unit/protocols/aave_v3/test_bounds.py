"""The intervals and the quotes agree: edges for any size, every request for small positions."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keeper.core.lending import Refusal
from keeper.core.outcome import Reason
from keeper.core.units import RAY, UINT256_MAX
from keeper.protocols.aave_v3.bounds import allowed_debt_to_cover, least_debt_for_collateral
from keeper.protocols.aave_v3.liquidation import amounts, seize
from keeper.protocols.aave_v3.state import State
from keeper.protocols.aave_v3.terms import Terms, pair_terms
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_position, make_reserve_state, make_state
from tests.unit.protocols.aave_v3.generators import RELEASES, Case, cases

EXAMPLES = 1000 if os.environ.get("KEEPER_LONG") else 30

each_release = pytest.mark.parametrize("release", RELEASES)


def usable(case: Case) -> Terms:
    terms = pair_terms(case.state.at(case.timestamp_s), case.position, 0, 1)
    assume(not isinstance(terms, Refusal))
    assert isinstance(terms, Terms)
    return terms


def with_liquidity(case: Case, liquidity_raw: int) -> Case:
    reserves = {**case.state.reserves, 0: replace(case.state.reserves[0], liquidity_raw=liquidity_raw)}
    state = case.state
    return Case(
        State(state.market, state.block, reserves, state.category_prices_base, state.liquidation_allowed), case.position
    )


def accepts(terms: Terms, request_raw: int) -> bool:
    return not isinstance(seize(terms, request_raw), Refusal)


def inside(intervals: list[tuple[int, int]], request_raw: int) -> bool:
    return any(low <= request_raw <= high for low, high in intervals)


@each_release
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_intervals_agree_with_quotes_at_every_edge(release: str, data: st.DataObject) -> None:
    case = data.draw(cases(release))
    terms = usable(case)
    if data.draw(st.booleans()):
        short_raw = max(1, terms.balance_raw * data.draw(st.integers(1, 110)) // 100)
        terms = usable(with_liquidity(case, short_raw))
    intervals = allowed_debt_to_cover(terms)
    probes = {0, 1, 2, terms.most_raw, terms.owed_raw, UINT256_MAX}
    probes |= {least_debt_for_collateral(terms, terms.balance_raw + shift) for shift in range(-4, 3)}
    probes |= {edge for interval in intervals for edge in interval}
    probes |= {data.draw(st.integers(0, 2 * terms.most_raw)) for _ in range(5)}
    near_edges = {probe + shift for probe in probes for shift in (-1, 0, 1)}
    for request_raw in near_edges:
        if 0 <= request_raw <= UINT256_MAX:
            assert inside(intervals, request_raw) == accepts(terms, request_raw), (
                request_raw,
                intervals,
                terms.most_raw,
            )


@each_release
@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(data=st.data())
def test_intervals_agree_with_quotes_on_every_request_of_a_small_position(release: str, data: st.DataObject) -> None:
    case = data.draw(cases(release, most_units=data.draw(st.sampled_from([3, 40, 400]))))
    terms = usable(case)
    if data.draw(st.booleans()):
        terms = usable(with_liquidity(case, data.draw(st.integers(1, max(1, terms.balance_raw)))))
    assume(terms.most_raw <= 3000)
    intervals = allowed_debt_to_cover(terms)
    for request_raw in range(terms.most_raw + 3):
        assert inside(intervals, request_raw) == accepts(terms, request_raw), (request_raw, intervals)


@given(case=cases())
def test_intervals_are_ascending_and_disjoint(case: Case) -> None:
    intervals = allowed_debt_to_cover(usable(case))
    flat = [edge for interval in intervals for edge in interval]
    assert flat == sorted(flat)
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(intervals))


def whole_units(
    release: str, debt: int, balance: int, price: int, bonus_bps: int, fee_bps: int, indexes: tuple[int, int]
) -> Terms:
    """Tokens without decimals, scaled amounts apart from raw ones by grown indexes; `price` is the collateral's."""
    config = make_config(
        decimals=0, liquidation_threshold_bps=1000, liquidation_bonus_bps=bonus_bps, protocol_fee_bps=fee_bps
    )
    reserve = make_reserve_state(config, liquidity_index_ray=indexes[0], variable_borrow_index_ray=indexes[1])
    pledged = replace(reserve, price_base=price * 10**7)
    state = make_state(release, {0: pledged, 1: reserve, 2: reserve})
    terms = pair_terms(state.at(NOW_S), make_position({0: balance, 2: 1}, {1: debt}), 0, 1)
    assume(isinstance(terms, Terms))
    assert isinstance(terms, Terms)
    return terms


@each_release
@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(
    balance=st.integers(1, 60),
    debt=st.integers(1, 120),
    price=st.integers(1, 60),
    bonus_bps=st.sampled_from([10_001, 10_500, 12_500, 20_000, 50_000]),
    fee_bps=st.sampled_from([0, 1000, 5000, 10_000]),
    indexes=st.tuples(st.integers(RAY, 6 * RAY), st.integers(RAY, 6 * RAY)),
)
def test_intervals_agree_where_roundings_matter_most(
    release: str, balance: int, debt: int, price: int, bonus_bps: int, fee_bps: int, indexes: tuple[int, int]
) -> None:
    terms = whole_units(release, debt, balance, price, bonus_bps, fee_bps, indexes)
    intervals = allowed_debt_to_cover(terms)
    for request_raw in range(terms.most_raw + 3):
        assert inside(intervals, request_raw) == accepts(terms, request_raw), (request_raw, intervals)


@given(
    seized_raw=st.integers(1, 10**20),
    bonus_bps=st.sampled_from([10_001, 10_500, 12_500, 15_000, 20_000]),
    price_base=st.integers(1, 10**12),
    debt_decimals=st.sampled_from([0, 2, 18]),
)
@pytest.mark.parametrize("release", ["3.6", "3.7"])
def test_the_least_request_for_a_collateral_is_exact(
    release: str, seized_raw: int, bonus_bps: int, price_base: int, debt_decimals: int
) -> None:
    """M(x) reaches it and M(x − 1) does not."""
    reserves = {
        0: make_reserve_state(
            make_config(decimals=6, liquidation_threshold_bps=100, liquidation_bonus_bps=bonus_bps), price_base=10**8
        ),
        1: make_reserve_state(make_config(decimals=debt_decimals), price_base=price_base),
    }
    position = make_position({0: 10**30}, {1: 10**50})
    terms = pair_terms(make_state(release, reserves).at(NOW_S), position, 0, 1)
    assert isinstance(terms, Terms)
    least_raw = least_debt_for_collateral(terms, seized_raw)
    assert amounts(terms, least_raw)[1] >= seized_raw
    assert amounts(terms, least_raw - 1)[1] < seized_raw


def two_debts(release: str, *, first_usd: int, second_usd: int, health_percent: int) -> Terms:
    """A large collateral at 80 %, two dollar debts, health as asked."""
    debt_usd = first_usd + second_usd
    collateral_usd = debt_usd * health_percent // 80
    dollar = make_reserve_state(make_config(decimals=6))
    state = make_state(release, dict.fromkeys(range(3), dollar))
    position = make_position({0: collateral_usd * 10**6}, {1: first_usd * 10**6, 2: second_usd * 10**6})
    terms = pair_terms(state.at(NOW_S), position, 0, 1)
    assert isinstance(terms, Terms)
    return terms


def test_the_maximum_can_leave_dust() -> None:
    """5 000 of debt, 2 600 of it in this asset: half of the position is 2 500, which would leave 100."""
    terms = two_debts("3.6", first_usd=2600, second_usd=2400, health_percent=97)
    assert allowed_debt_to_cover(terms) == [(1, 1600 * 10**6)]
    refusal = seize(terms, UINT256_MAX)
    assert isinstance(refusal, Refusal)
    assert (refusal.skip.reason, refusal.contract_error) == (Reason.DUST_GAP, "MustNotLeaveDust")


def test_a_debt_within_the_close_factor_is_cleared_or_left_large() -> None:
    terms = two_debts("3.6", first_usd=2400, second_usd=2600, health_percent=97)
    assert allowed_debt_to_cover(terms) == [(1, 1400 * 10**6), (2400 * 10**6, UINT256_MAX)]


@each_release
def test_half_of_the_reserve_up_to_3_2_half_of_the_position_from_3_3(release: str) -> None:
    above = two_debts(release, first_usd=40_000, second_usd=20_000, health_percent=97)
    below = two_debts(release, first_usd=40_000, second_usd=20_000, health_percent=95)
    expected_usd = 20_000 if release < "3.3" else 30_000
    assert above.most_raw == expected_usd * 10**6
    assert below.most_raw == 40_000 * 10**6


def test_short_liquidity_ends_the_interval() -> None:
    reserves = {i: make_reserve_state(make_config(decimals=6, protocol_fee_bps=0)) for i in range(2)}
    reserves[0] = replace(reserves[0], liquidity_raw=105 * 10**6)
    state = make_state("3.6", reserves)
    terms = pair_terms(state.at(NOW_S), make_position({0: 11_000 * 10**6}, {1: 10_000 * 10**6}), 0, 1)
    assert isinstance(terms, Terms)
    assert allowed_debt_to_cover(terms) == [(1, 100 * 10**6)]
    refusal = seize(terms, 100 * 10**6 + 1)
    assert isinstance(refusal, Refusal)
    assert (refusal.skip.reason, refusal.contract_error) == (Reason.NO_COLLATERAL_LIQUIDITY, "Panic(0x11)")


def test_a_grown_index_makes_the_smallest_repayments_burn_nothing() -> None:
    reserves = {
        0: make_reserve_state(make_config(decimals=6)),
        1: make_reserve_state(make_config(decimals=6), variable_borrow_index_ray=3 * RAY),
    }
    terms = pair_terms(make_state("3.6", reserves).at(NOW_S), make_position({0: 900 * 10**6}, {1: 300 * 10**6}), 0, 1)
    assert isinstance(terms, Terms)
    refusal = seize(terms, 2)
    assert isinstance(refusal, Refusal)
    assert refusal.contract_error in ("InvalidBurnAmount", "MustNotLeaveDust")
