"""Replaced prices, and the parts of health by the price that they hang on."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.core.errors import Defect
from keeper.core.lending import Exposure, Health, Side
from keeper.core.outcome import Reason, Skip
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import State
from tests.property.screening import RELEASES, random_market, ticked
from tests.unit.protocols.aave_v3.builders import NOW_S, address, make_config, make_position, make_reserve_state
from tests.unit.protocols.aave_v3.builders import make_state as made
from tests.unit.protocols.aave_v3.generators import Case, cases, prices

ADAPTER = AaveV3()
SOURCE = address(0xE0)
MODE = Category(1, 9000, 9500, 10_100, price_source=SOURCE)


def mode_state(category_price_base: int | None) -> State:
    reserves = {i: make_reserve_state(make_config(category=1)) for i in (0, 1)} | {2: make_reserve_state()}
    return made("3.0.2", reserves, [MODE], category_prices_base={1: category_price_base})


def asset(state: State, reserve_id: int) -> bytes:
    return state.market.by_id[reserve_id].asset


@settings(deadline=None)
@given(cases(), prices)
def test_a_replaced_price_is_as_if_the_oracle_had_answered_it(case: Case, price_base: int) -> None:
    key = case.state.market.by_id[0].asset
    ours = case.state.with_prices({key: price_base})
    reserves = dict(case.state.reserves)
    reserves[0] = replace(reserves[0], price_base=price_base)
    assert ours == replace(case.state, reserves=reserves)
    assert case.state.reserves[0].price_base == case.state.with_prices({}).reserves[0].price_base


def test_what_other_prices_do_not_move_is_not_accrued_again() -> None:
    state = mode_state(0)
    known = state.at(NOW_S)
    before, mode = [known[i] for i in range(3)], known.emode(1)
    moved = state.with_prices(state.prices_base() | {state.market.by_id[0].asset: 7}).at(NOW_S)
    assert [moved[i] is before[i] for i in range(3)] == [False, True, True]
    assert moved.emode(1) is mode


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(RELEASES), st.integers(0, 2**32), st.booleans())
def test_the_screen_is_told_the_same_of_other_prices_as_if_they_were_the_only_ones(
    release: str, seed: int, ahead: bool
) -> None:
    """Whatever was accrued and weighed before, for other prices and other times."""
    rng = random.Random(seed)
    first = random_market(rng, release)
    columns = [(side, i, mode) for side in Side for i in sorted(first.reserves) for mode in (0, 1, 2, 9)]
    states = [first]
    for _ in range(6):
        state = ticked(rng, rng.choice(states), rng.sample(sorted(first.reserves), rng.randint(0, 3)), 0.1)
        if release == RELEASES[0] and rng.random() < 0.5:
            key = first.market.categories[1].price_source
            assert key is not None
            state = state.with_prices({key: rng.choice((0, 5, None))})
        if ahead and rng.random() < 0.5:
            moving = {key: rng.choice((1, 9, None)) for key in state.prices_base() if rng.random() < 0.5}
            state = state.with_later_prices(NOW_S + 60, moving)
        states.append(state)
        for at_s in rng.sample((NOW_S, NOW_S + 30, NOW_S + 90), 2):
            alone = replace(state, like=None)
            for until_s in rng.sample((None, at_s + 30), 2):
                told = ADAPTER.screen_terms(state, columns, at_s, until_s)
                assert told == ADAPTER.screen_terms(replace(alone), columns, at_s, until_s)
            for i in state.reserves:
                ours, fresh = state.at(at_s)[i], alone.at(at_s)[i]
                assert (ours.price_base, ours.debt_price_base) == (fresh.price_base, fresh.debt_price_base)
                assert (ours.income_index_ray, ours.debt_index_ray) == (fresh.income_index_ray, fresh.debt_index_ray)


@settings(deadline=None)
@given(cases(), st.integers(0, 30 * 86_400))
def test_exposures_make_the_whole_of_health(case: Case, later_s: int) -> None:
    at_s = case.timestamp_s + later_s
    health = ADAPTER.health(case.state, case.position, at_s)
    parts = ADAPTER.exposures(case.state, case.position, at_s)
    assert isinstance(health, Health) and not isinstance(parts, Skip)
    assert len({part.price_key for part in parts}) == len(parts)
    assert sum(part.weighted_collateral_base_bps for part in parts) == health.weighted_collateral_base_bps
    assert sum(part.debt_base for part in parts) == health.debt_base
    for part in parts:
        price_base = case.state.reserves[case.state.market.by_asset[part.price_key].id].price_base
        assert part.price_base == price_base


def test_inside_an_e_mode_with_a_price_of_its_own_legs_hang_on_that_price() -> None:
    state = mode_state(2 * 10**8)
    position = make_position({0: 10**18, 2: 10**18}, {1: 10**18}, category=1)
    parts = ADAPTER.exposures(state, position, NOW_S)
    assert parts == [
        Exposure(SOURCE, 2 * 10**8, 2 * 10**8 * 9500, 2 * 10**8),
        Exposure(state.market.by_id[2].asset, 10**8, 10**8 * 8000, 0),
    ]
    moved = state.with_prices({SOURCE: 3 * 10**8})
    assert moved.category_prices_base == {1: 3 * 10**8}
    assert moved.reserves == state.reserves
    changed = ADAPTER.health(moved, position, NOW_S)
    assert isinstance(changed, Health) and changed.debt_base == 3 * 10**8


def test_an_e_mode_price_of_zero_leaves_each_asset_its_own() -> None:
    state = mode_state(0)
    position = make_position({0: 10**18}, {1: 10**18}, category=1)
    parts = ADAPTER.exposures(state, position, NOW_S)
    assert not isinstance(parts, Skip)
    assert {part.price_key for part in parts} == {asset(state, 0), asset(state, 1)}


def test_a_price_of_none_or_zero_blinds_and_a_given_one_heals() -> None:
    state = mode_state(None)
    position = make_position({2: 10**18}, {0: 10**18})
    key = state.market.by_id[2].asset
    for missing in (None, 0):
        without = state.with_prices({key: missing})
        found = ADAPTER.exposures(without, position, NOW_S)
        assert isinstance(found, Skip) and found.reason is Reason.UNPRICEABLE
        assert not isinstance(ADAPTER.exposures(without.with_prices({key: 5}), position, NOW_S), Skip)


def test_a_key_that_the_oracle_is_not_asked_for_is_a_defect() -> None:
    with pytest.raises(Defect, match="the oracle is not asked for 0x" + "00" * 19 + "99"):
        mode_state(1).with_prices({address(0x99): 1})
