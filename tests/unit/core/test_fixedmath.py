"""Rounding against exact fractions, and overflow exactly where 256 bits end."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core import fixedmath
from keeper.core.fixedmath import Overflow256, require_uint256
from keeper.core.units import BPS, RAY, UINT256_MAX, WAD

Scaled = Callable[[int, int], int]

MULTIPLICATIONS = [
    (fixedmath.ray_mul_half_up, RAY, "half_up"),
    (fixedmath.ray_mul_floor, RAY, "floor"),
    (fixedmath.ray_mul_ceil, RAY, "ceil"),
    (fixedmath.percent_mul_half_up, BPS, "half_up"),
    (fixedmath.percent_mul_floor, BPS, "floor"),
    (fixedmath.percent_mul_ceil, BPS, "ceil"),
]
DIVISIONS = [
    (fixedmath.ray_div_half_up, RAY, "half_up"),
    (fixedmath.ray_div_floor, RAY, "floor"),
    (fixedmath.ray_div_ceil, RAY, "ceil"),
    (fixedmath.wad_div_half_up, WAD, "half_up"),
    (fixedmath.percent_div_half_up, BPS, "half_up"),
    (fixedmath.percent_div_floor, BPS, "floor"),
    (fixedmath.percent_div_ceil, BPS, "ceil"),
]

small = st.integers(0, 2**80)
positive = st.integers(1, 2**80)


def _rounded(exact: Fraction, how: str, half: Fraction) -> int:
    if how == "half_up":
        return floor(exact + half)
    return ceil(exact) if how == "ceil" else floor(exact)


@pytest.mark.parametrize("function, scale, how", MULTIPLICATIONS)
@given(a=small, b=small)
def test_multiplications_round_as_named(function: Scaled, scale: int, how: str, a: int, b: int) -> None:
    assert function(a, b) == _rounded(Fraction(a * b, scale), how, Fraction(1, 2))


@pytest.mark.parametrize("function, scale, how", DIVISIONS)
@given(a=small, b=positive)
def test_divisions_round_as_named(function: Scaled, scale: int, how: str, a: int, b: int) -> None:
    # An odd divisor's half is floored, so its half-up is not quite to the nearest.
    assert function(a, b) == _rounded(Fraction(a * scale, b), how, Fraction(b // 2, b))


@given(a=small, b=small, divisor=positive)
def test_mul_div_rounds_as_named(a: int, b: int, divisor: int) -> None:
    exact = Fraction(a * b, divisor)
    assert fixedmath.mul_div_floor(a, b, divisor) == floor(exact)
    assert fixedmath.mul_div_ceil(a, b, divisor) == ceil(exact)
    assert fixedmath.mul_div_half_up(a, b, divisor) == floor(exact + Fraction(divisor // 2, divisor))


@pytest.mark.parametrize("function, scale, how", MULTIPLICATIONS)
def test_multiplications_overflow_where_the_contract_reverts(function: Scaled, scale: int, how: str) -> None:
    half = scale // 2 if how == "half_up" else 0
    assert function(UINT256_MAX - half, 1) >= (UINT256_MAX - half) // scale
    with pytest.raises(Overflow256):
        function(UINT256_MAX - half + 1, 1)


@pytest.mark.parametrize("function, scale, how", DIVISIONS)
def test_divisions_overflow_where_the_contract_reverts(function: Scaled, scale: int, how: str) -> None:
    largest = UINT256_MAX // scale
    assert function(largest, 1) == largest * scale
    with pytest.raises(Overflow256):
        function(largest + 1, 1)


@pytest.mark.parametrize("function", [entry[0] for entry in DIVISIONS])
def test_a_zero_divisor_fails_as_an_arithmetic_error(function: Scaled) -> None:
    with pytest.raises(ArithmeticError):
        function(1, 0)


@pytest.mark.parametrize("function", [fixedmath.mul_div_floor, fixedmath.mul_div_ceil, fixedmath.mul_div_half_up])
def test_mul_div_overflows_on_the_product(function: Callable[[int, int, int], int]) -> None:
    assert function(2**255, 1, 2**255) == 1
    with pytest.raises(Overflow256):
        function(2**128, 2**128, 2**200)


@pytest.mark.parametrize("number", [-1, UINT256_MAX + 1])
def test_require_uint256_refuses_what_a_word_cannot_hold(number: int) -> None:
    with pytest.raises(Overflow256):
        require_uint256(number)
    assert require_uint256(UINT256_MAX) == UINT256_MAX
