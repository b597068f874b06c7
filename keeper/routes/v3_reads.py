"""What is read of a Uniswap V3 pool in each pinned batch, and what it says.

Which ticks matter is known only from the bitmap, and the bitmap's words only from the price: so each batch reads the words
around the last known price and the ticks that the last bitmap showed. A tick that is new since then bounds what is known of the
pool, until the batch after: a quote beyond it is not given, never guessed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keeper.core.block import Call, CallResult
from keeper.core.units import Address
from keeper.routes.answers import call, signed, unsigned, word_of, words
from keeper.routes.selectors import LIQUIDITY, SLOT0, TICK_BITMAP, TICKS
from keeper.routes.v3_pool import WORD_TICKS, Ticks, V3Pool, V3Token
from keeper.routes.v3_price import MAX_TICK, MIN_TICK

SPAN_TICKS = 2_000
"""Known so far around the price, at least: 18 % down, 22 % up. Nothing sane is sold further."""
MOST_TICKS = 160
"""Of a pool so many are read, the nearest to the price."""


@dataclass(frozen=True, slots=True)
class V3Watch:
    """What the next batch reads of one pool."""

    fixed: V3Token
    words: range = range(0)
    """Of the bitmap."""
    indexes: tuple[int, ...] = ()
    """Ticks ÷ spacing, ascending."""

    @property
    def address(self) -> Address:
        return self.fixed.address

    @property
    def tokens(self) -> tuple[Address, Address]:
        return self.fixed.token0, self.fixed.token1

    def calls(self) -> list[Call]:
        pool, spacing = self.fixed.address, self.fixed.spacing
        return [
            call(pool, SLOT0),
            call(pool, LIQUIDITY),
            *(call(pool, TICK_BITMAP, word) for word in self.words),
            *(call(pool, TICKS, index * spacing) for index in self.indexes),
        ]

    def decoded(self, results: Sequence[CallResult]) -> tuple[V3Pool | None, V3Watch]:
        """The pool, where enough of it is known, and what to read next. Raises `QuoteError` for answers that no pool gives."""
        what = f"pool 0x{self.fixed.address.hex()}"
        slot = words(results[0], 7, f"{what} slot0")
        sqrt_price_x96 = unsigned(slot[0], 160, f"{what} price")
        tick = signed(slot[1], 24, f"{what} tick")
        liquidity = unsigned(words(results[1], 1, f"{what} liquidity")[0], 128, f"{what} liquidity")
        if not sqrt_price_x96 or not MIN_TICK <= tick <= MAX_TICK:
            return None, replace(self, words=range(0), indexes=())  # created, but without a price yet
        after_words = results[2 + len(self.words) :]
        shown = self._shown(results[2 : 2 + len(self.words)], what)
        of_tick = f"{what} liquidity at a tick"
        net = {
            index: signed(word_of(result, 1, 8, of_tick), 128, of_tick)
            for index, result in zip(self.indexes, after_words, strict=True)
        }
        pool, here = None, tick // self.fixed.spacing
        if here // WORD_TICKS in self.words:
            pool = V3Pool(self.fixed, sqrt_price_x96, (tick, tick), liquidity, self._known(shown, net))
        return pool, self._next(tick, shown)

    def _shown(self, results: Sequence[CallResult], what: str) -> list[int]:
        """The initialised indexes of the words read, ascending."""
        shown: list[int] = []
        for word, result in zip(self.words, results, strict=True):
            bits = words(result, 1, f"{what} bitmap")[0]
            while bits:
                low = bits & -bits
                shown.append(word * WORD_TICKS + low.bit_length() - 1)
                bits ^= low
        return shown

    def _known(self, shown: list[int], net: dict[int, int]) -> Ticks:
        low, high = self.words.start * WORD_TICKS, self.words.stop * WORD_TICKS - 1
        initialised = {*shown}
        return Ticks(low, high, {index: each for index, each in net.items() if index in initialised}, tuple(shown))

    def _next(self, tick: int, shown: list[int]) -> V3Watch:
        width = WORD_TICKS * self.fixed.spacing
        first = max(tick - SPAN_TICKS, MIN_TICK) // width
        last = min(tick + SPAN_TICKS, MAX_TICK) // width
        place = bisect_right(shown, tick // self.fixed.spacing)
        near = shown[max(0, place - MOST_TICKS // 2) : place + MOST_TICKS // 2]
        wanted = range(first, last + 1)
        indexes = tuple(index for index in near if index // WORD_TICKS in wanted)
        return replace(self, words=wanted, indexes=indexes)
