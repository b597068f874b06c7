"""A Uniswap V3 pool at one block, swapped in memory exactly as its contract would (UniswapV3Pool.swap, v3-core 1.0.1).

The contract moves from one boundary to the next: an initialised tick, or the edge of a word of 256 ticks in its bitmap,
whichever comes first. Amounts are rounded at each of them, so the same boundaries are kept here. They are worked out once per
direction, as far as a swap needs them, and end where ticks are not known: a swap that would get there has no answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from keeper.core.swap import Filled, StepKind, SwapStep
from keeper.core.units import Address
from keeper.routes.v3_price import (
    FEE_UNITS,
    MAX_TICK,
    MIN_TICK,
    amount0_between,
    amount1_between,
    price_after_input,
    price_after_output,
    sqrt_price_at,
    tick_at,
)

HOP_GAS = 95_000
"""A swap with its transfers and callback, measured at 70,000 to 110,000."""
TICK_GAS = 22_000
"""For each initialised tick on the way."""
WORD_TICKS = 256


@dataclass(frozen=True, slots=True)
class V3Token:
    """What never changes of a pool."""

    address: Address
    token0: Address
    token1: Address
    fee: int
    """Of the input, in millionths."""
    spacing: int


@dataclass(frozen=True, slots=True)
class Ticks:
    """What is known of a pool's liquidity by tick. Indexes are ticks ÷ spacing."""

    low: int
    high: int
    """Both belong to what is known."""
    net: Mapping[int, int]
    """What the liquidity in range gains when the price rises above the tick."""
    indexes: tuple[int, ...]
    """Every initialised one between the two, ascending. Where one is not in `net` a swap must end before it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """From a price to the next boundary, at constant liquidity."""

    start_x96: int
    start_tick: int
    end_x96: int
    end_tick: int
    """The pool's tick once it stands at the end."""
    liquidity: int
    net_in_raw: int
    """What crosses it all, fee not included."""
    fee_raw: int
    out_raw: int
    crossed: int
    """Initialised ticks before it."""
    liquidity_after: int | None
    """None where what lies behind its end is not known."""


class Ladder:
    """The segments of one direction, made as they are asked for."""

    def __init__(self, pool: V3Pool, zero_for_one: bool) -> None:
        self._pool = pool
        self._zero_for_one = zero_for_one
        self._segments: list[Segment] = []
        self._ended = False

    def segment(self, place: int) -> Segment | None:
        """None where nothing is known."""
        while not self._ended and len(self._segments) <= place:
            following = self._following()
            if following is None:
                self._ended = True
            else:
                self._segments.append(following)
        return self._segments[place] if place < len(self._segments) else None

    def _following(self) -> Segment | None:
        pool, down = self._pool, self._zero_for_one
        if self._segments:
            last = self._segments[-1]
            if last.liquidity_after is None:
                return None
            start, tick, liquidity = last.end_x96, last.end_tick, last.liquidity_after
            crossed = last.crossed + (1 if self._is_initialised(last) else 0)
        else:
            start, tick, liquidity, crossed = pool.sqrt_price_x96, pool.tick, pool.liquidity, 0
        index = self._next_index(tick)
        if index is None:
            return None
        boundary = min(max(index * pool.fixed.spacing, MIN_TICK), MAX_TICK)
        end = sqrt_price_at(boundary)
        if down:
            net_in = amount0_between(end, start, liquidity, up=True)
            out = amount1_between(end, start, liquidity, up=False)
        else:
            net_in = amount1_between(start, end, liquidity, up=True)
            out = amount0_between(start, end, liquidity, up=False)
        net = pool.ticks.net.get(index)
        if net is None and not self._shown(index):
            net = 0  # the edge of a word
        after = None if net is None else liquidity - net if down else liquidity + net
        return Segment(
            start_x96=start,
            start_tick=tick,
            end_x96=end,
            end_tick=boundary - 1 if down else boundary,
            liquidity=liquidity,
            net_in_raw=net_in,
            fee_raw=-(-net_in * pool.fixed.fee // (FEE_UNITS - pool.fixed.fee)),
            out_raw=out,
            crossed=crossed,
            liquidity_after=after,
        )

    def _shown(self, index: int) -> bool:
        """Whether the bitmap shows it as initialised."""
        place = bisect_left(self._pool.ticks.indexes, index)
        return place < len(self._pool.ticks.indexes) and self._pool.ticks.indexes[place] == index

    def _is_initialised(self, segment: Segment) -> bool:
        boundary = segment.end_tick + 1 if self._zero_for_one else segment.end_tick
        return boundary // self._pool.fixed.spacing in self._pool.ticks.net

    def _next_index(self, tick: int) -> int | None:
        """The next boundary from a tick, as an index; None where it lies outside of what is known."""
        known, here = self._pool.ticks, tick // self._pool.fixed.spacing
        if self._zero_for_one:
            edge = here // WORD_TICKS * WORD_TICKS
            place = bisect_right(known.indexes, here) - 1
            found = known.indexes[place] if place >= 0 else edge
            index = max(found, edge)
        else:
            here += 1
            edge = here // WORD_TICKS * WORD_TICKS + WORD_TICKS - 1
            place = bisect_left(known.indexes, here)
            found = known.indexes[place] if place < len(known.indexes) else edge
            index = min(found, edge)
        return index if known.low <= index <= known.high else None


@dataclass(frozen=True)
class V3Pool:
    """Price, liquidity and ticks of one pool at one block, and after swaps on top of it."""

    fixed: V3Token
    sqrt_price_x96: int
    tick_bounds: tuple[int, int]
    """Where its tick is to be found; both ends the same where it is known."""
    liquidity: int
    ticks: Ticks

    @property
    def address(self) -> Address:
        return self.fixed.address

    @property
    def tokens(self) -> tuple[Address, Address]:
        return self.fixed.token0, self.fixed.token1

    @property
    def takes_exact_orders(self) -> bool:
        return True

    @property
    def lends_for(self) -> int:
        """`flash` rounds its fee up: ⌈amount · fee ÷ 10⁶⌉."""
        return self.fixed.fee

    @cached_property
    def tick(self) -> int:
        """At a boundary reached downwards the contract's tick is one below the price's own, so it is kept, not derived."""
        low, high = self.tick_bounds
        return low if low == high else tick_at(self.sqrt_price_x96, low, high)

    @cached_property
    def _ladders(self) -> tuple[Ladder, Ladder]:
        return Ladder(self, zero_for_one=False), Ladder(self, zero_for_one=True)

    def sell(self, token_in: Address, amount_in_raw: int) -> Filled | None:
        """The whole amount in; None when it is 0, or moves the price to where ticks are not known."""
        down = token_in == self.fixed.token0
        ladder, left, out, place = self._ladders[down], amount_in_raw, 0, 0
        if amount_in_raw <= 0:
            return None
        while (segment := ladder.segment(place)) is not None:
            less_fee = left * (FEE_UNITS - self.fixed.fee) // FEE_UNITS
            if less_fee < segment.net_in_raw:
                end = price_after_input(segment.start_x96, segment.liquidity, less_fee, zero_for_one=down)
                # Rounded as it is, the price may stop at the boundary all the same; the contract then counts it as reached.
                if end != segment.end_x96:
                    out += _out_between(segment, end, down)
                    return self._filled(amount_in_raw, out, segment, end, down)
            spent = segment.net_in_raw + segment.fee_raw
            if spent > left or segment.liquidity_after is None:
                return (
                    None  # either the contract would revert, as the fee is rounded up; or nobody knows what comes then
                )
            left, out, place = left - spent, out + segment.out_raw, place + 1
            if left == 0:
                return self._filled(amount_in_raw, out, segment, segment.end_x96, down)
        return None

    def buy(self, token_in: Address, amount_out_raw: int) -> Filled | None:
        """Exactly so much out, for the input that the contract asks for it."""
        down = token_in == self.fixed.token0
        ladder, left, paid, place = self._ladders[down], amount_out_raw, 0, 0
        if amount_out_raw <= 0:
            return None
        while (segment := ladder.segment(place)) is not None:
            if left < segment.out_raw:
                end = price_after_output(segment.start_x96, segment.liquidity, left, zero_for_one=down)
                if end is None or _out_between(segment, end, down) < left:
                    return None
                if end != segment.end_x96:
                    net_in = _in_between(segment, end, down)
                    paid += net_in - (-net_in * self.fixed.fee // (FEE_UNITS - self.fixed.fee))
                    return self._filled(paid, amount_out_raw, segment, end, down)
            if segment.liquidity_after is None:
                return None
            left, place = left - min(left, segment.out_raw), place + 1
            paid += segment.net_in_raw + segment.fee_raw
            if left == 0:
                return self._filled(paid, amount_out_raw, segment, segment.end_x96, down)
        return None

    def _filled(self, paid: int, out: int, segment: Segment, end_x96: int, down: bool) -> Filled:
        """With the pool as it then stands: on the boundary, with the liquidity behind it, or somewhere before it."""
        crossed, liquidity = segment.crossed, segment.liquidity
        if end_x96 == segment.end_x96 and segment.liquidity_after is not None:
            bounds, liquidity = (segment.end_tick, segment.end_tick), segment.liquidity_after
            crossed += liquidity != segment.liquidity
        elif end_x96 == segment.start_x96:
            bounds = (segment.start_tick, segment.start_tick)
        elif down:
            bounds = (segment.end_tick + 1, segment.start_tick + 1)
        else:
            bounds = (segment.start_tick, segment.end_tick)
        return Filled(
            paid, out, HOP_GAS + crossed * TICK_GAS, V3Pool(self.fixed, end_x96, bounds, liquidity, self.ticks)
        )

    def step(self, token_in: Address, amount_raw: int, limit_raw: int, *, exact_out: bool) -> SwapStep:
        down = token_in == self.fixed.token0
        token_out = self.fixed.token1 if down else self.fixed.token0
        kind = StepKind.POOL_V3_EXACT_OUT if exact_out else StepKind.POOL_V3
        return SwapStep(kind, self.fixed.address, token_in, token_out, amount_raw, limit_raw, zero_for_one=down)


def _in_between(segment: Segment, end_x96: int, down: bool) -> int:
    if down:
        return amount0_between(end_x96, segment.start_x96, segment.liquidity, up=True)
    return amount1_between(segment.start_x96, end_x96, segment.liquidity, up=True)


def _out_between(segment: Segment, end_x96: int, down: bool) -> int:
    if down:
        return amount1_between(end_x96, segment.start_x96, segment.liquidity, up=False)
    return amount0_between(segment.start_x96, end_x96, segment.liquidity, up=False)
