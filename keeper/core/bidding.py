"""What a transaction bids, EIP-1559, wei per gas. Pure.

A first bid covers the worst base fee of its window and leaves room under the cap for one replacement, so that what waits too
long can always be taken back. A replacement bids at least a tenth more for both fees: the rule of every node we know.
"""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.fixedmath import mul_div_ceil, mul_div_floor
from keeper.core.order import FeeQuote
from keeper.core.units import BPS, WAD

BASE_FEE_DIVISOR = 8
"""From block to block the base fee grows by at most an eighth (EIP-1559), and by 1 wei at least when it grows."""
MOST_BLOCKS_AHEAD = 6
"""In so many blocks it can double. Windows of more blocks are on chains whose base fee hardly moves: orders are priced at the
whole bid, and one for the worst of fifty full blocks would call everything a loss."""
BUMP_BPS = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the chain asks: the next block's base fee, and what is paid for priority lately."""

    base_fee_wei: int
    priority_fee_wei: int


def worst_base_fee_wei(base_fee_wei: int, blocks: int) -> int:
    """The most that it can be `blocks` full blocks later."""
    for _ in range(blocks):
        base_fee_wei += max(1, base_fee_wei // BASE_FEE_DIVISOR)
    return base_fee_wei


def first_bid(asked: Asked, window_blocks: int, cap_wei: int) -> FeeQuote:
    """What pays for inclusion in each of the window's blocks and the one after, never above `first_cap_wei`. Whether that is
    enough is for the pricing to say; what is not needed is not charged."""
    worst_wei = worst_base_fee_wei(asked.base_fee_wei, min(window_blocks, MOST_BLOCKS_AHEAD))
    max_fee_wei = min(worst_wei + asked.priority_fee_wei, first_cap_wei(cap_wei))
    return FeeQuote(asked.base_fee_wei, min(asked.priority_fee_wei, max_fee_wei), max_fee_wei)


def first_cap_wei(cap_wei: int) -> int:
    """The most that a first bid may be, so that its replacement is within the cap."""
    return mul_div_floor(cap_wei, BPS, BPS + BUMP_BPS)


def least_bump_wei(fee_wei: int) -> int:
    """The least that may stand in the place of a fee: a tenth more, rounded up, and 1 wei more at least."""
    return max(fee_wei + 1, mul_div_ceil(fee_wei, BPS + BUMP_BPS, BPS))


def replacement_bid(max_fee_wei: int, priority_fee_wei: int, asked: FeeQuote, cap_wei: int) -> FeeQuote | None:
    """What takes the place of a pending transaction with these fees: the least that nodes accept, or what a new one would bid
    if that is more. None when it is not within the cap."""
    bid_wei = max(least_bump_wei(max_fee_wei), asked.max_fee_wei)
    if bid_wei > cap_wei:
        return None
    priority_wei = max(least_bump_wei(priority_fee_wei), min(asked.priority_fee_wei, bid_wei))
    return FeeQuote(asked.base_fee_wei, priority_wei, max(bid_wei, priority_wei)) if priority_wei <= cap_wei else None


def with_profit_share(
    fees: FeeQuote, spare_base: int, share_bps: int, gas: int, native_price_base: int, cap_wei: int
) -> FeeQuote:
    """The fees with more priority: at most this share of what an order earns above its least profit (`spare_base`, base
    currency, with the fees as they are), spent over `gas`. Never above `first_cap_wei`, and never less than before."""
    if spare_base <= 0 or gas <= 0 or native_price_base <= 0:
        return fees
    share_wei = mul_div_floor(mul_div_floor(spare_base, share_bps, BPS), WAD, native_price_base)
    extra_wei = max(0, min(share_wei // gas, first_cap_wei(cap_wei) - fees.max_fee_wei))
    return FeeQuote(fees.base_fee_wei, fees.priority_fee_wei + extra_wei, fees.max_fee_wei + extra_wei)
