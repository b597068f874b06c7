"""Interest and rounding, as the contracts of each release compute them. Rates and indexes in ray, times in seconds.

Sources: MathUtils.calculateLinearInterest and calculateCompoundedInterest, ReserveLogic.getNormalizedIncome and
getNormalizedDebt, TokenMath (3.5 on). See SOURCES.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keeper.core.errors import Defect
from keeper.core.fixedmath import (
    mul_div_ceil,
    mul_div_floor,
    percent_div_ceil,
    percent_div_floor,
    percent_div_half_up,
    percent_mul_ceil,
    percent_mul_floor,
    percent_mul_half_up,
    ray_div_ceil,
    ray_div_floor,
    ray_div_half_up,
    ray_mul_ceil,
    ray_mul_floor,
    ray_mul_half_up,
    require_uint256,
)
from keeper.core.units import RAY, SECONDS_PER_YEAR
from keeper.protocols.aave_v3.profile import Features, Rounding

Arithmetic = Callable[[int, int], int]


def elapsed_s(last_update_s: int, timestamp_s: int) -> int:
    """Seconds of interest. Raises `Defect` for a time before the last update: the contract would revert."""
    if timestamp_s < last_update_s:
        raise Defect(f"interest asked for {timestamp_s}, before the reserve's last update at {last_update_s}")
    return timestamp_s - last_update_s


def linear_interest_ray(rate_ray: int, seconds: int) -> int:
    """RAY + ⌊rate·Δt ÷ year⌋ (MathUtils.calculateLinearInterest, every release)."""
    return RAY + require_uint256(rate_ray * seconds) // SECONDS_PER_YEAR


def compounded_interest_ray(features: Features, rate_ray: int, seconds: int) -> int:
    """Growth of a debt over `seconds` (MathUtils.calculateCompoundedInterest).

    Up to 3.3, a binomial series: RAY + r·Δt/Y + Δt·(Δt−1)·r²/2Y² + Δt·(Δt−1)·(Δt−2)·r³/6Y³.
    From 3.4, a Taylor series of eˣ with x = r·Δt/Y: RAY + x + x·(x/2 + x·x/6).
    """
    if seconds == 0:
        return RAY
    if features >= Features.V3_4:
        x = rate_ray * seconds // SECONDS_PER_YEAR
        return require_uint256(RAY + x + ray_mul_half_up(x, x // 2 + ray_mul_half_up(x, x // 6)))
    less_one, less_two = seconds - 1, max(seconds - 2, 0)
    power_two = ray_mul_half_up(rate_ray, rate_ray) // (SECONDS_PER_YEAR * SECONDS_PER_YEAR)
    power_three = ray_mul_half_up(power_two, rate_ray) // SECONDS_PER_YEAR
    second = require_uint256(seconds * less_one * power_two) // 2
    third = require_uint256(seconds * less_one * less_two * power_three) // 6
    return require_uint256(RAY + rate_ray * seconds // SECONDS_PER_YEAR + second + third)


def normalized_income_ray(index_ray: int, rate_ray: int, last_update_s: int, timestamp_s: int) -> int:
    """The liquidity index at a timestamp (half-up in every release)."""
    seconds = elapsed_s(last_update_s, timestamp_s)
    return index_ray if seconds == 0 else ray_mul_half_up(linear_interest_ray(rate_ray, seconds), index_ray)


def normalized_debt_ray(features: Features, index_ray: int, rate_ray: int, last_update_s: int, timestamp_s: int) -> int:
    """The variable borrow index at a timestamp (half-up in every release)."""
    seconds = elapsed_s(last_update_s, timestamp_s)
    if seconds == 0:
        return index_ray
    return ray_mul_half_up(compounded_interest_ray(features, rate_ray, seconds), index_ray)


@dataclass(frozen=True, slots=True)
class BalanceArithmetic:
    """Scaled balances to token units and back, under one rounding profile.

    (scaled, index) → raw for the first two, (raw, index) → scaled for the next three, (raw, price, unit) → base for the last.
    """

    collateral_balance: Arithmetic
    debt_balance: Arithmetic
    collateral_burn_scaled: Arithmetic
    """Also the scaled amount of a transfer, and the inverse of `collateral_balance`: index ≥ RAY makes it exact."""
    debt_burn_scaled: Arithmetic
    """Also the inverse of `debt_balance`."""
    debt_value: Callable[[int, int, int], int]


BALANCES = {
    Rounding.HALF_UP: BalanceArithmetic(
        ray_mul_half_up, ray_mul_half_up, ray_div_half_up, ray_div_half_up, mul_div_floor
    ),
    Rounding.EXPLICIT: BalanceArithmetic(ray_mul_floor, ray_mul_ceil, ray_div_ceil, ray_div_floor, mul_div_ceil),
}


@dataclass(frozen=True, slots=True)
class SeizureArithmetic:
    """(raw, bps) → raw, the four roundings of LiquidationLogic._calculateAvailableCollateralToLiquidate."""

    add_bonus: Arithmetic
    """Collateral for a repayment, bonus included."""
    debt_needed: Arithmetic
    """Repayment for an exhausted collateral."""
    remove_bonus: Arithmetic
    protocol_fee: Arithmetic
    """Share of the bonus."""


_UP_TO_3_4 = SeizureArithmetic(percent_mul_half_up, percent_div_half_up, percent_div_half_up, percent_mul_half_up)
_UP_TO_3_6 = SeizureArithmetic(percent_mul_half_up, percent_div_ceil, percent_div_half_up, percent_mul_half_up)
_SINCE_3_7 = SeizureArithmetic(percent_mul_floor, percent_div_ceil, percent_div_floor, percent_mul_ceil)


def seizure_arithmetic(features: Features) -> SeizureArithmetic:
    """The roundings of the seized amounts: they follow the release, not the rounding profile."""
    if features >= Features.V3_7:
        return _SINCE_3_7
    return _UP_TO_3_6 if features >= Features.V3_5 else _UP_TO_3_4
