"""256-bit fixed-point arithmetic with the rounding of Solidity libraries, on Python integers.

Every function takes and returns unsigned integers and fails where the contract would revert: `Overflow256` when an
intermediate result does not fit 256 bits, `ZeroDivisionError` for a zero divisor. Both are `ArithmeticError`s.

Half-up adds a half to the numerator before the floor. Multiplications add half of the *scale* (a constant: RAY/2, 5000
bps), divisions add ⌊divisor/2⌋. Ported from WadRayMath, PercentageMath and MathUtils of Aave v3 (3.0.2 and 3.6; the two
agree wherever both have a function).
"""

from __future__ import annotations

from keeper.core.units import BPS, RAY, UINT256_MAX, WAD

HALF_RAY = RAY // 2
HALF_BPS = BPS // 2


class Overflow256(ArithmeticError):
    """A result or intermediate product does not fit into 256 bits; the contract reverts here."""


def require_uint256(number: int) -> int:
    """`number` itself. Raises `Overflow256` below 0 and above 2**256 − 1."""
    if number > UINT256_MAX or number < 0:
        raise Overflow256(f"{number} does not fit into 256 bits")
    return number


def mul_div_floor(a: int, b: int, divisor: int) -> int:
    """⌊a·b ÷ divisor⌋."""
    product = a * b
    if product > UINT256_MAX:
        raise Overflow256("mul_div_floor")
    return product // divisor


def mul_div_ceil(a: int, b: int, divisor: int) -> int:
    """⌈a·b ÷ divisor⌉ (MathUtils.mulDivCeil)."""
    product = a * b
    if product > UINT256_MAX:
        raise Overflow256("mul_div_ceil")
    return -(-product // divisor)


def mul_div_half_up(a: int, b: int, divisor: int) -> int:
    """⌊(a·b + ⌊divisor/2⌋) ÷ divisor⌋."""
    numerator = a * b + divisor // 2
    if numerator > UINT256_MAX:
        raise Overflow256("mul_div_half_up")
    return numerator // divisor


def ray_mul_half_up(a: int, b_ray: int) -> int:
    """a·b ÷ RAY, half-up (WadRayMath.rayMul)."""
    numerator = a * b_ray + HALF_RAY
    if numerator > UINT256_MAX:
        raise Overflow256("ray_mul_half_up")
    return numerator // RAY


def ray_mul_floor(a: int, b_ray: int) -> int:
    """⌊a·b ÷ RAY⌋ (WadRayMath.rayMulFloor)."""
    product = a * b_ray
    if product > UINT256_MAX:
        raise Overflow256("ray_mul_floor")
    return product // RAY


def ray_mul_ceil(a: int, b_ray: int) -> int:
    """⌈a·b ÷ RAY⌉ (WadRayMath.rayMulCeil)."""
    product = a * b_ray
    if product > UINT256_MAX:
        raise Overflow256("ray_mul_ceil")
    return -(-product // RAY)


def ray_div_half_up(a: int, b_ray: int) -> int:
    """a·RAY ÷ b, half-up (WadRayMath.rayDiv)."""
    numerator = a * RAY + b_ray // 2
    if numerator > UINT256_MAX:
        raise Overflow256("ray_div_half_up")
    return numerator // b_ray


def ray_div_floor(a: int, b_ray: int) -> int:
    """⌊a·RAY ÷ b⌋ (WadRayMath.rayDivFloor)."""
    product = a * RAY
    if product > UINT256_MAX:
        raise Overflow256("ray_div_floor")
    return product // b_ray


def ray_div_ceil(a: int, b_ray: int) -> int:
    """⌈a·RAY ÷ b⌉ (WadRayMath.rayDivCeil)."""
    product = a * RAY
    if product > UINT256_MAX:
        raise Overflow256("ray_div_ceil")
    return -(-product // b_ray)


def wad_div_half_up(a: int, b: int) -> int:
    """a·WAD ÷ b, half-up (WadRayMath.wadDiv)."""
    numerator = a * WAD + b // 2
    if numerator > UINT256_MAX:
        raise Overflow256("wad_div_half_up")
    return numerator // b


def percent_mul_half_up(amount: int, share_bps: int) -> int:
    """amount·share ÷ 10 000, half-up (PercentageMath.percentMul)."""
    numerator = amount * share_bps + HALF_BPS
    if numerator > UINT256_MAX:
        raise Overflow256("percent_mul_half_up")
    return numerator // BPS


def percent_mul_floor(amount: int, share_bps: int) -> int:
    """⌊amount·share ÷ 10 000⌋ (PercentageMath.percentMulFloor)."""
    return mul_div_floor(amount, share_bps, BPS)


def percent_mul_ceil(amount: int, share_bps: int) -> int:
    """⌈amount·share ÷ 10 000⌉ (PercentageMath.percentMulCeil)."""
    return mul_div_ceil(amount, share_bps, BPS)


def percent_div_half_up(amount: int, share_bps: int) -> int:
    """amount·10 000 ÷ share, half-up (PercentageMath.percentDiv)."""
    numerator = amount * BPS + share_bps // 2
    if numerator > UINT256_MAX:
        raise Overflow256("percent_div_half_up")
    return numerator // share_bps


def percent_div_floor(amount: int, share_bps: int) -> int:
    """⌊amount·10 000 ÷ share⌋."""
    return mul_div_floor(amount, BPS, share_bps)


def percent_div_ceil(amount: int, share_bps: int) -> int:
    """⌈amount·10 000 ÷ share⌉ (PercentageMath.percentDivCeil)."""
    return mul_div_ceil(amount, BPS, share_bps)
