"""The weights of the screen, by hand."""

from __future__ import annotations

import pytest

from keeper.core.lending import Side
from keeper.core.units import RAY
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.screen import screen_terms
from keeper.protocols.aave_v3.state import ReserveState, State
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_reserve_state, make_state

HELD, OWED = (Side.COLLATERAL, 0, 0), (Side.DEBT, 0, 0)
PRICE_BASE = 3 * 10**8


def reserve(*, decimals: int = 18, liquidation_threshold_bps: int = 8_000, category: int = 0) -> ReserveState:
    config = make_config(decimals=decimals, liquidation_threshold_bps=liquidation_threshold_bps, category=category)
    return make_reserve_state(config, price_base=PRICE_BASE, liquidity_index_ray=2 * RAY)


def terms(state: State, *columns: tuple[Side, int, int]) -> list[tuple[int, int] | None]:
    return list(screen_terms(state.at(NOW_S), columns).weights)


@pytest.mark.parametrize("release, lowered_bps", [("3.0.2", 1), ("3.4", 1), ("3.5", 0), ("3.6", 0)])
def test_weights_are_fractions_of_base_bps_per_scaled_unit(release: str, lowered_bps: int) -> None:
    state = make_state(release, {0: reserve(decimals=6)})
    unit_ray = 10**6 * RAY
    assert terms(state, HELD, OWED) == [
        (2 * RAY * PRICE_BASE * (8_000 - lowered_bps), unit_ray),
        (RAY * PRICE_BASE * 10_000, unit_ray),
    ]
    found = screen_terms(state.at(NOW_S), [HELD])
    assert (found.leg_margin_base_bps, found.row_margin_base_bps) == (10_000, 5_000 * lowered_bps)


def test_interest_up_to_the_timestamp_is_in_them() -> None:
    state = make_state("3.6", {0: make_reserve_state(variable_borrow_rate_ray=RAY, liquidity_rate_ray=RAY // 2)})
    year_s = 31_536_000
    (held,) = screen_terms(state.at(NOW_S + year_s), [HELD]).weights
    (owed,) = screen_terms(state.at(NOW_S + year_s), [OWED]).weights
    assert held is not None and held[0] == RAY * 3 // 2 * 10**8 * 8_000
    assert owed is not None and owed[0] == state.at(NOW_S + year_s)[0].debt_index_ray * 10**8 * 10_000


def test_a_threshold_above_one_widens_the_margin() -> None:
    state = make_state("3.6", {0: reserve(liquidation_threshold_bps=12_000)})
    assert screen_terms(state.at(NOW_S), [HELD]).leg_margin_base_bps == 12_000


def test_the_e_mode_decides_as_in_the_valuation() -> None:
    modes = [Category(1, 9_000, 9_500, 10_100, collateral_bitmap=0b1)]
    state = make_state("3.6", {0: reserve(), 1: reserve()}, modes)
    members, others, none = terms(state, (Side.COLLATERAL, 0, 1), (Side.COLLATERAL, 1, 1), (Side.COLLATERAL, 0, 0))
    assert members is not None and others is not None and none is not None
    assert (members[0] // 9_500, others[0] // 8_000) == (none[0] // 8_000, none[0] // 8_000)


def test_an_e_mode_price_stands_for_its_members_and_a_missing_one_blinds_everybody_in_it() -> None:
    modes = [Category(1, 9_000, 9_500, 10_100, price_source=b"\x0e" * 20)]  # type: ignore[arg-type]
    reserves = {0: reserve(category=1), 1: reserve()}
    columns = [(Side.DEBT, 0, 1), (Side.DEBT, 1, 1), (Side.DEBT, 0, 0)]
    priced = make_state("3.0.2", reserves, modes, category_prices_base={1: 7})
    unit_ray = 10**18 * RAY
    expected = [(RAY * price * 10_000, unit_ray) for price in (7, PRICE_BASE, PRICE_BASE)]
    assert terms(priced, *columns) == expected
    blind = make_state("3.0.2", reserves, modes, category_prices_base={1: None})
    assert terms(blind, *columns) == [None, None, expected[2]]


def test_where_nothing_can_be_told_there_is_no_weight() -> None:
    gone = make_state("3.6", {0: make_reserve_state(price_base=None)})
    assert terms(gone, HELD, OWED, (Side.DEBT, 5, 0)) == [None, None, None]
    shrunk = make_state("3.6", {0: make_reserve_state(liquidity_index_ray=RAY - 1)})
    assert terms(shrunk, HELD) == [None]
    dear = make_state("3.6", {0: make_reserve_state(make_config(decimals=0), price_base=1 << 43)})
    assert terms(dear, OWED) == [None]


def test_a_threshold_of_zero() -> None:
    """Without one of its own a reserve does not count up to 3.5; from 3.6 it counts for nothing but its price. One that counts
    at zero lowers the floored average of the others without a bound that holds for each alone."""
    assert terms(make_state("3.3", {0: reserve(liquidation_threshold_bps=0)}), HELD) == [(0, 1)]
    (weight,) = terms(make_state("3.6", {0: reserve(liquidation_threshold_bps=0)}), HELD)
    assert weight is not None and weight[0] == 0
    modes = [Category(1, 0, 0, 0)]
    assert terms(make_state("3.0.2", {0: reserve(category=1)}, modes), (Side.COLLATERAL, 0, 1)) == [None]
