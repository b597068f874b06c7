"""Debt below 1 by price drop: against valuing everybody at the dropped prices, and by hand."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.core.outcome import Skip
from keeper.core.units import BPS, HEALTH_ONE_WAD, Address
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import State
from keeper.stress.shock import STEPS_BPS, Point, curve, volatile_collateral
from keeper.stress.snapshot import Snapshot, take_snapshot
from tests.unit.protocols.aave_v3.builders import (
    NOW_S,
    address,
    make_config,
    make_position,
    make_reserve_state,
    make_state,
)
from tests.unit.protocols.aave_v3.generators import Case, cases
from tests.unit.stress.test_trigger import ADAPTER, DOLLAR, EXAMPLES, TOKEN, asset, look, market

SOURCE = address(0xE0)


def by_valuing_everybody(snapshot: Snapshot[State], keys: frozenset[Address], drop_bps: int) -> Point:
    prices = {key: price * (BPS - drop_bps) // BPS for key, price in snapshot.prices_base().items() if key in keys}
    state = ADAPTER.with_prices(snapshot.state, prices)
    below, fresh, blind = [], [], len(snapshot.unpriceable)
    for each in snapshot.exposed:
        health = ADAPTER.health(state, each.position, snapshot.timestamp_s)
        if isinstance(health, Skip):
            blind += 1
        elif health.health_factor_wad < HEALTH_ONE_WAD:
            below.append(health.debt_base)
            if not each.is_below_one:
                fresh.append(health.debt_base)
    return Point(drop_bps, len(below), sum(below), len(fresh), sum(fresh), blind)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    cases(),
    st.lists(st.integers(1, 400), min_size=1, max_size=12),
    st.sets(st.integers(0, 3), min_size=1),
    st.lists(st.one_of(st.integers(0, 9_999), st.sampled_from(STEPS_BPS)), min_size=1, max_size=6),
)
def test_every_figure_is_that_of_valuing_everybody(
    case: Case, scales: list[int], shocked: set[int], steps: list[int]
) -> None:
    positions = [
        replace(
            case.position,
            borrower=address(1000 + serial),
            debt_scaled={i: max(1, scaled * scale // 300) for i, scaled in case.position.debt_scaled.items()},
        )
        for serial, scale in enumerate(scales)
    ]
    snapshot = take_snapshot(ADAPTER, case.state, positions, case.timestamp_s)
    keys = frozenset(asset(case.state, i) for i in shocked)
    found = curve(ADAPTER, snapshot, keys, steps)
    assert list(found.points) == [by_valuing_everybody(snapshot, keys, step) for step in steps]


def test_a_fall_of_the_collateral_by_hand() -> None:
    state = market()
    nearer = make_position({0: TOKEN}, {1: 1500 * TOKEN})
    farther = make_position({0: TOKEN}, {1: 1200 * TOKEN})
    sick = make_position({0: TOKEN}, {1: 1700 * TOKEN})
    points = curve(
        ADAPTER, look(state, nearer, farther, sick), frozenset({asset(state, 0)}), [0, 500, 1000, 3000]
    ).points
    assert points[0] == Point(0, 1, 1700 * DOLLAR, 0, 0, 0)
    assert points[1] == Point(500, 1, 1700 * DOLLAR, 0, 0, 0)
    assert points[2] == Point(1000, 2, 3200 * DOLLAR, 1, 1500 * DOLLAR, 0)
    assert points[3] == Point(3000, 3, 4400 * DOLLAR, 2, 2700 * DOLLAR, 0)


def test_who_owes_what_falls_is_relieved() -> None:
    state = market()
    snapshot = look(state, make_position({1: 2000 * TOKEN}, {0: 9 * TOKEN // 10}))
    sick_now, at_half = curve(ADAPTER, snapshot, frozenset({asset(state, 0)}), [0, 5000]).points
    assert (sick_now.borrowers, sick_now.debt_base) == (1, 1800 * DOLLAR)
    assert (at_half.borrowers, at_half.debt_base) == (0, 0)


def test_what_cannot_be_priced_is_counted_at_every_step() -> None:
    state = make_state("3.6", {0: make_reserve_state(price_base=1), 1: make_reserve_state(price_base=None)})
    snapshot = look(state, make_position({0: TOKEN}, {1: TOKEN}), make_position({0: TOKEN * 10**9}, {0: TOKEN}))
    points = curve(ADAPTER, snapshot, frozenset({asset(state, 0)}), [0, 100]).points
    assert [point.unpriceable for point in points] == [1, 2], "a price of one unit that falls is none"


def test_only_what_holds_somebody_up_and_is_no_unit_of_account_falls_by_rule() -> None:
    prices = {0: 2000 * DOLLAR, 1: DOLLAR, 2: 103 * DOLLAR // 100, 3: 10_301 * DOLLAR // 10_000, 4: 50 * DOLLAR}
    state = make_state("3.6", {i: make_reserve_state(price_base=price) for i, price in prices.items()})
    snapshot = look(state, make_position(dict.fromkeys((0, 1, 2, 3), TOKEN), {4: TOKEN}))
    assert volatile_collateral(snapshot, DOLLAR) == {asset(state, 0), asset(state, 3)}


def test_the_price_of_an_e_mode_falls_by_itself() -> None:
    reserves = {i: make_reserve_state(make_config(category=1), price_base=2000 * DOLLAR) for i in (0, 1)}
    reserves[2] = make_reserve_state()
    mode = Category(1, 9000, 9500, 10_100, price_source=SOURCE)
    state = make_state("3.0.2", reserves, [mode], category_prices_base={1: 2000 * DOLLAR})
    inside = make_position({0: TOKEN}, {2: 1800 * TOKEN}, category=1)
    snapshot = take_snapshot(ADAPTER, state, [inside], NOW_S)
    assert volatile_collateral(snapshot, DOLLAR) == {SOURCE}
    [point] = curve(ADAPTER, snapshot, frozenset({SOURCE}), [1000]).points
    assert (point.borrowers, point.debt_base) == (1, 1800 * DOLLAR)
    [unmoved] = curve(ADAPTER, snapshot, frozenset({asset(state, 0)}), [1000]).points
    assert unmoved.borrowers == 0, "its asset's own price is not read inside the e-mode"
