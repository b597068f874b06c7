"""Prices and amounts of a Uniswap V3 pool, in its own integers and with its own rounding.

A price is the square root of token1 per token0 in raw units, with 96 fractional bits; tick t stands for 1.0001^t. Follows
v3-core 1.0.1: TickMath, SqrtPriceMath, SwapMath. Equality to the wei is tested against the contracts themselves.
"""

from __future__ import annotations

from functools import lru_cache

MIN_TICK, MAX_TICK = -887_272, 887_272
FEE_UNITS = 1_000_000
"""A pool's fee is given in these."""

_ONE_X128 = 1 << 128
_ONE_X96 = 1 << 96
_MAX = 2**256 - 1

# 1.0001^(-2^i ÷ 2) with 128 fractional bits for i = 0 … 19: the constants of TickMath, within a few units of the exact ones.
_POWERS_X128 = (
    0xFFFCB933BD6FAD37AA2D162D1A594001,
    0xFFF97272373D413259A46990580E213A,
    0xFFF2E50F5F656932EF12357CF3C7FDCC,
    0xFFE5CACA7E10E4E61C3624EAA0941CD0,
    0xFFCB9843D60F6159C9DB58835C926644,
    0xFF973B41FA98C081472E6896DFB254C0,
    0xFF2EA16466C96A3843EC78B326B52861,
    0xFE5DEE046A99A2A811C461F1969C3053,
    0xFCBE86C7900A88AEDCFFC83B479AA3A4,
    0xF987A7253AC413176F2B074CF7815E54,
    0xF3392B0822B70005940C7A398E4B70F3,
    0xE7159475A2C29B7443B29C7FA6E889D9,
    0xD097F3BDFD2022B8845AD8F792AA5825,
    0xA9F746462D870FDF8A65DC1F90E061E5,
    0x70D869A156D2A1B890BB3DF62BAF32F7,
    0x31BE135F97D08FD981231505542FCFA6,
    0x9AA508B5B7A84E1C677DE54F3E99BC9,
    0x5D6AF8DEDB81196699C329225EE604,
    0x2216E584F5FA1EA926041BEDFE98,
    0x48A170391F7DC42444E8FA2,
)


@lru_cache(maxsize=65_536)
def sqrt_price_at(tick: int) -> int:
    """The square-root price of a tick, rounded up (TickMath.getSqrtRatioAtTick). Raises ValueError outside of the range."""
    if not MIN_TICK <= tick <= MAX_TICK:
        raise ValueError(f"tick {tick} is outside of ±{MAX_TICK}")
    ratio, distance = _ONE_X128, abs(tick)
    for place, power in enumerate(_POWERS_X128):
        if distance >> place & 1:
            ratio = ratio * power >> 128
    if tick > 0:
        ratio = _MAX // ratio
    return -(-ratio >> 32)


def tick_at(sqrt_price_x96: int, low: int = MIN_TICK, high: int = MAX_TICK) -> int:
    """The greatest tick in [low, high] whose price is not above (TickMath.getTickAtSqrtRatio); `low` must be such a tick."""
    while low < high:
        middle = (low + high + 1) // 2
        if sqrt_price_at(middle) <= sqrt_price_x96:
            low = middle
        else:
            high = middle - 1
    return low


def amount0_between(low_x96: int, high_x96: int, liquidity: int, *, up: bool) -> int:
    """Token0 between two prices: L · (high − low) ÷ (high · low) (SqrtPriceMath.getAmount0Delta)."""
    product = (liquidity << 96) * (high_x96 - low_x96)
    if up:
        over_high = -(-product // high_x96)
        return -(-over_high // low_x96)
    return product // high_x96 // low_x96


def amount1_between(low_x96: int, high_x96: int, liquidity: int, *, up: bool) -> int:
    """Token1 between two prices: L · (high − low) (SqrtPriceMath.getAmount1Delta)."""
    product = liquidity * (high_x96 - low_x96)
    return -(-product // _ONE_X96) if up else product // _ONE_X96


def price_after_input(price_x96: int, liquidity: int, amount_raw: int, *, zero_for_one: bool) -> int:
    """The price once an input, fee taken off, is in the pool (SqrtPriceMath.getNextSqrtPriceFromInput)."""
    if not zero_for_one:
        return price_x96 + (amount_raw << 96) // liquidity
    if amount_raw == 0:
        return price_x96
    scaled = liquidity << 96
    product = amount_raw * price_x96
    if scaled + product <= _MAX and product <= _MAX:
        return -(-scaled * price_x96 // (scaled + product))
    # Where 256 bits do not hold the product, the contract takes another form of the same, which rounds otherwise.
    return -(-scaled // (scaled // price_x96 + amount_raw))


def price_after_output(price_x96: int, liquidity: int, amount_raw: int, *, zero_for_one: bool) -> int | None:
    """The price once an output has left (SqrtPriceMath.getNextSqrtPriceFromOutput); None where the contract reverts."""
    if zero_for_one:
        quotient = -(-(amount_raw << 96) // liquidity)
        return price_x96 - quotient if price_x96 > quotient else None
    scaled = liquidity << 96
    product = amount_raw * price_x96
    if product > _MAX or scaled <= product:
        return None
    return -(-scaled * price_x96 // (scaled - product))
