"""Prices that move by the second, without a chain."""

from __future__ import annotations

from keeper.core.lending import Health, Position
from keeper.core.outcome import Skip
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import State
from tests.unit.protocols.aave_v3.builders import (
    BORROWER,
    NOW_S,
    address,
    make_config,
    make_reserve,
    make_reserve_state,
    make_state,
)

COLLATERAL, DEBT, OTHER = 0, 1, 2
USD = 10**8
LATER_S = NOW_S + 24
ASSETS = {reserve_id: make_reserve(reserve_id).asset for reserve_id in (COLLATERAL, DEBT, OTHER)}
POSITION = Position(BORROWER, {COLLATERAL: 10**18}, {DEBT: 10**18}, frozenset({COLLATERAL}), 0)


def state() -> State:
    return make_state("3.6", {i: make_reserve_state(price_base=100 * USD) for i in ASSETS})


def health_wad(one: State, timestamp_s: int) -> int:
    health = AaveV3().health(one, POSITION, timestamp_s)
    assert isinstance(health, Health)
    return health.health_factor_wad


def test_the_worse_of_two_readings_counts_in_between() -> None:
    """Collateral falls and rises back never; debt rises: at the later second both are as read, in between the worse."""
    rising = state().with_later_prices(LATER_S, {ASSETS[COLLATERAL]: 110 * USD, ASSETS[DEBT]: 120 * USD})
    assert health_wad(rising, NOW_S) == 8 * 10**17
    assert health_wad(rising, LATER_S) == 8 * 10**17 * 110 // 120
    assert health_wad(rising, NOW_S + 1) == health_wad(rising, LATER_S - 1) == 8 * 10**17 * 100 // 120
    assert health_wad(rising, LATER_S + 100) == health_wad(rising, LATER_S)


def test_prices_that_stand_still_leave_no_trace() -> None:
    same = dict.fromkeys(ASSETS.values(), 100 * USD)
    assert state().with_later_prices(LATER_S, same).later is None


def test_a_price_that_is_lost_later_is_missing_from_then_on_and_before() -> None:
    for lost in (None, 0):
        losing = state().with_later_prices(LATER_S, {ASSETS[DEBT]: lost})
        assert health_wad(losing, NOW_S) == 8 * 10**17
        assert isinstance(AaveV3().health(losing, POSITION, NOW_S + 1), Skip)
        assert isinstance(AaveV3().health(losing, POSITION, LATER_S), Skip)


def test_a_price_that_cannot_be_read_now_is_not_taken_from_later() -> None:
    missing = state().with_prices({ASSETS[DEBT]: None}).with_later_prices(LATER_S, {ASSETS[DEBT]: 100 * USD})
    assert isinstance(AaveV3().health(missing, POSITION, LATER_S), Skip)


def test_what_is_asked_as_if_holds_at_every_second() -> None:
    moving = state().with_later_prices(LATER_S, {ASSETS[COLLATERAL]: 90 * USD, ASSETS[OTHER]: 90 * USD})
    asked = moving.with_prices({ASSETS[COLLATERAL]: 50 * USD})
    assert health_wad(asked, NOW_S) == health_wad(asked, LATER_S) == 4 * 10**17
    assert asked.later is not None and set(asked.later.prices_base) == {ASSETS[OTHER]}


def test_an_e_modes_own_price_moves_too() -> None:
    source = address(0xF00)
    category = Category(1, 9_000, 9_500, 10_100, price_source=source)
    reserves = {i: make_reserve_state(make_config(category=1), price_base=100 * USD) for i in (COLLATERAL, DEBT)}
    old = make_state("3.0.2", reserves, [category], category_prices_base={1: 100 * USD})
    moving = old.with_later_prices(LATER_S, {source: 101 * USD})
    assert moving.prices_base()[source] == 100 * USD
    for second, prices in ((NOW_S, (100, 100)), (NOW_S + 1, (100, 101)), (LATER_S, (101, 101))):
        emode = moving.at(second).emode(1)
        assert emode is not None
        assert (emode.price_base, emode.debt_price_base) == (prices[0] * USD, prices[1] * USD)
