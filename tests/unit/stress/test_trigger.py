"""Prices at which health crosses 1, on random positions under every release's rules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.core.lending import Health, Position
from keeper.core.outcome import Skip
from keeper.core.units import BPS, HEALTH_ONE_WAD, WAD, Address
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.state import State
from keeper.stress.snapshot import Exposed, Snapshot, take_snapshot
from keeper.stress.trigger import Direction, Near, Triggers, nearest, slope_base_bps
from tests.unit.protocols.aave_v3.builders import (
    NOW_S,
    address,
    make_config,
    make_position,
    make_reserve_state,
    make_state,
)
from tests.unit.protocols.aave_v3.generators import RELEASES, Case, cases

ADAPTER = AaveV3()
EXAMPLES = 1000 if os.environ.get("KEEPER_LONG") else 40
TOKEN = 10**18
DOLLAR = 10**8


def market(release: str = "3.6", prices: Sequence[int] = (2000 * DOLLAR, DOLLAR, 40_000 * DOLLAR)) -> State:
    return make_state(release, {i: make_reserve_state(make_config(), price_base=each) for i, each in enumerate(prices)})


def look(state: State, *positions: Position) -> Snapshot[State]:
    return take_snapshot(ADAPTER, state, positions, NOW_S)


def health_at(snapshot: Snapshot[State], exposed: Exposed, key: Address, price_base: int) -> int | None:
    state = ADAPTER.with_prices(snapshot.state, {key: price_base})
    health = ADAPTER.health(state, exposed.position, snapshot.timestamp_s)
    return None if isinstance(health, Skip) else health.health_factor_wad


def asset(state: State, reserve_id: int) -> Address:
    return state.market.by_id[reserve_id].asset


# -- by hand -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("release", RELEASES)
def test_a_collateral_falls_and_a_debt_rises(release: str) -> None:
    state = market(release)
    snapshot = look(state, make_position({0: TOKEN}, {1: 1200 * TOKEN}))
    falls, rises = Triggers(ADAPTER, snapshot).of(snapshot.exposed[0])
    # 80 % of one token at 1500 is 1200; one unit less is below 1.
    assert (falls.price_key, falls.direction) == (asset(state, 0), Direction.FALLS)
    assert (falls.price_trigger_base, falls.price_safe_base) == (1500 * DOLLAR - 1, 1500 * DOLLAR)
    assert falls.move_ppm == -250_001
    # 1600 at 80 % hold up 1200 until the debt's price is 4/3.
    assert (rises.price_key, rises.direction) == (asset(state, 1), Direction.RISES)
    assert (rises.price_trigger_base, rises.price_safe_base) == (133_333_334, 133_333_333)
    assert rises.move_ppm == 333_333


def test_an_asset_on_both_sides_goes_by_what_is_left_on_balance() -> None:
    state = market()
    net_debt = make_position({0: TOKEN, 2: TOKEN}, {0: 10 * TOKEN})
    net_collateral = make_position({0: 10 * TOKEN, 1: TOKEN}, {0: 7 * TOKEN, 1: 1000 * TOKEN})
    level = make_position({0: 10 * TOKEN, 1: TOKEN}, {0: 8 * TOKEN})
    snapshot = look(state, net_debt, net_collateral, level)
    triggers = Triggers(ADAPTER, snapshot)
    first, second, third = snapshot.exposed
    assert {each.price_key: each.direction for each in triggers.of(first)} == {
        asset(state, 0): Direction.RISES,
        asset(state, 2): Direction.FALLS,
    }
    assert {each.price_key: each.direction for each in triggers.of(second)} == {
        asset(state, 0): Direction.FALLS,
        asset(state, 1): Direction.RISES,
    }
    assert triggers.of(third) == [], "80 % of ten against eight: no price of it matters, and the other only helps"


def test_what_alone_cannot_do_it_has_no_trigger() -> None:
    state = market()
    snapshot = look(state, make_position({0: TOKEN, 2: TOKEN}, {1: 1000 * TOKEN}))
    triggers = Triggers(ADAPTER, snapshot).of(snapshot.exposed[0])
    assert triggers, "the large collateral alone and the debt can"
    assert asset(state, 0) not in {each.price_key for each in triggers}, "the other collateral is enough without it"


def test_of_who_is_below_one_the_trigger_leads_back() -> None:
    state = market()
    snapshot = look(state, make_position({0: TOKEN}, {1: 1700 * TOKEN}))
    falls = next(
        each for each in Triggers(ADAPTER, snapshot).of(snapshot.exposed[0]) if each.price_key == asset(state, 0)
    )
    assert (falls.price_trigger_base, falls.price_safe_base) == (2125 * DOLLAR - 1, 2125 * DOLLAR)
    assert falls.move_ppm > 0


def test_who_has_no_debt_is_not_looked_at_and_who_has_no_price_is_counted() -> None:
    blind = make_state("3.6", {0: make_reserve_state(), 1: make_reserve_state(price_base=None)})
    snapshot = look(blind, make_position({0: TOKEN}, {}), make_position({0: TOKEN}, {1: 1}), make_position({}, {0: 1}))
    assert (len(snapshot.exposed), len(snapshot.unpriceable), snapshot.borrowers) == (1, 1, 2)


# -- at random ---------------------------------------------------------------------------------------------------------
@settings(max_examples=EXAMPLES, deadline=None)
@given(cases())
def test_it_is_below_one_at_the_trigger_and_not_one_unit_back(case: Case) -> None:
    snapshot = look_at(case)
    for exposed in snapshot.exposed:
        parts = {part.price_key: part for part in exposed.exposures}
        for trigger in Triggers(ADAPTER, snapshot).of(exposed):
            sick = health_at(snapshot, exposed, trigger.price_key, trigger.price_trigger_base)
            safe = health_at(snapshot, exposed, trigger.price_key, trigger.price_safe_base)
            assert sick is not None and sick < HEALTH_ONE_WAD
            assert safe is not None and safe >= HEALTH_ONE_WAD
            part = parts[trigger.price_key]
            net = part.weighted_collateral_base_bps - 10_000 * part.debt_base
            assert (net > 0) is (trigger.direction is Direction.FALLS)


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases(release="3.6"))
def test_where_there_is_none_no_price_does_it(case: Case) -> None:
    snapshot = look_at(case)
    for exposed in snapshot.exposed:
        found = {each.price_key for each in Triggers(ADAPTER, snapshot).of(exposed)}
        for part in exposed.exposures:
            slope = slope_base_bps(part)
            rest = exposed.health.weighted_collateral_base_bps - BPS * exposed.health.debt_base - slope
            # Dust of a few base units, whose roundings decide, is left out.
            if part.price_key in found or min(abs(slope), abs(rest)) < 10 * BPS:
                continue
            for price_base in (1, part.price_base * 10**3, part.price_base * 10**9):
                health_wad = health_at(snapshot, exposed, part.price_key, price_base)
                assert health_wad is None or (health_wad < HEALTH_ONE_WAD) is exposed.is_below_one


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases(), st.lists(st.integers(1, 400), min_size=1, max_size=25), st.integers(1, 8))
def test_the_nearest_are_those_of_a_search_over_everybody(case: Case, scales: list[int], count: int) -> None:
    """Positions of one market that differ in how much they owe."""
    whole = case.position
    positions = [
        replace(
            whole,
            borrower=address(1000 + serial),
            debt_scaled={i: max(1, scaled * scale // 300) for i, scaled in whole.debt_scaled.items()},
        )
        for serial, scale in enumerate(scales)
    ]
    snapshot = take_snapshot(ADAPTER, case.state, positions, case.timestamp_s)
    triggers = Triggers(ADAPTER, snapshot)
    everybody = [Near(each, triggers.of(each)) for each in snapshot.exposed]
    reached = [near for near in everybody if near.triggers or near.exposed.is_below_one]
    assert nearest(ADAPTER, snapshot, count) == sorted(reached, key=rank)[:count]


def rank(near: Near) -> tuple[bool, int, Address]:
    if near.exposed.is_below_one:
        return False, near.exposed.health.health_factor_wad, near.exposed.borrower
    first = near.triggers[0]
    distance_wad = abs(first.price_trigger_base - first.price_now_base) * WAD // first.price_now_base
    return True, distance_wad, near.exposed.borrower


def look_at(case: Case) -> Snapshot[State]:
    health = ADAPTER.health(case.state, case.position, case.timestamp_s)
    assert isinstance(health, Health)
    return take_snapshot(ADAPTER, case.state, [case.position], case.timestamp_s)
