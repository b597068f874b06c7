"""Interest: the shape of the formulas, their edges, and the inverses that the rounding profiles promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.errors import Defect
from keeper.core.units import RAY, SECONDS_PER_YEAR
from keeper.protocols.aave_v3.math import (
    BALANCES,
    compounded_interest_ray,
    linear_interest_ray,
    normalized_debt_ray,
    normalized_income_ray,
)
from keeper.protocols.aave_v3.profile import Features, Rounding

indexes = st.integers(RAY, 50 * RAY)
balances = st.integers(0, 10**33)


def test_linear_interest_of_a_year_is_the_rate() -> None:
    assert linear_interest_ray(RAY // 20, SECONDS_PER_YEAR) == RAY + RAY // 20
    assert linear_interest_ray(RAY // 20, 0) == RAY


def test_no_time_is_no_interest() -> None:
    for features in Features:
        assert compounded_interest_ray(features, RAY, 0) == RAY
        assert normalized_debt_ray(features, 3 * RAY, RAY, 1000, 1000) == 3 * RAY
    assert normalized_income_ray(3 * RAY, RAY, 1000, 1000) == 3 * RAY


def test_the_series_of_3_4_is_closer_to_the_exponential() -> None:
    e_tenth_ray = 1_105_170_918_075_647_624_811_707_826
    old = compounded_interest_ray(Features.V3_3, RAY // 10, SECONDS_PER_YEAR)
    new = compounded_interest_ray(Features.V3_4, RAY // 10, SECONDS_PER_YEAR)
    assert abs(new - e_tenth_ray) < abs(old - e_tenth_ray) < RAY // 10**5


def test_a_time_before_the_last_update_is_our_defect() -> None:
    with pytest.raises(Defect, match="before the reserve's last update"):
        normalized_income_ray(RAY, RAY, 1001, 1000)


@given(
    rate=st.integers(0, 5 * RAY), seconds=st.integers(0, 10 * SECONDS_PER_YEAR), more=st.integers(0, SECONDS_PER_YEAR)
)
def test_debt_never_shrinks_with_time(rate: int, seconds: int, more: int) -> None:
    for features in (Features.V3_0, Features.V3_4):
        earlier = compounded_interest_ray(features, rate, seconds)
        assert RAY <= earlier <= compounded_interest_ray(features, rate, seconds + more)


@given(scaled=balances, index=indexes)
def test_burning_a_whole_balance_burns_every_scaled_unit(scaled: int, index: int) -> None:
    for rounding in Rounding:
        arithmetic = BALANCES[rounding]
        assert arithmetic.collateral_burn_scaled(arithmetic.collateral_balance(scaled, index), index) == scaled
        assert arithmetic.debt_burn_scaled(arithmetic.debt_balance(scaled, index), index) == scaled
