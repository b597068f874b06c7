"""A Uniswap V2 pair, or a fork's with another fee: what is read of it, and what it gives (UniswapV2Library, v2-periphery; the
check is UniswapV2Pair.swap, v2-core 1.0.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.block import Call, CallResult
from keeper.core.swap import Filled, StepKind, SwapStep
from keeper.core.units import BPS, Address
from keeper.routes.answers import call, unsigned, words
from keeper.routes.selectors import GET_RESERVES

HOP_GAS = 75_000
_MOST_RESERVE = 2**112 - 1


@dataclass(frozen=True, slots=True)
class V2Pair:
    """Its reserves at one block."""

    address: Address
    token0: Address
    token1: Address
    fee_bps: int
    """Of the input."""
    reserve0_raw: int
    reserve1_raw: int
    margin_bps: int = 0
    """Asked less than it would give, lest the order fails when the reserves have moved: lost, and so counted."""

    @property
    def tokens(self) -> tuple[Address, Address]:
        return self.token0, self.token1

    @property
    def takes_exact_orders(self) -> bool:
        return False

    @property
    def lends_for(self) -> None:
        """The executor takes no loans of pairs."""

    def sell(self, token_in: Address, amount_in_raw: int) -> Filled | None:
        """out = ⌊in·(1 − fee)·reserve_out ÷ (reserve_in + in·(1 − fee))⌋, less the margin."""
        reserve_in, reserve_out = self._reserves(token_in)
        with_fee = amount_in_raw * (BPS - self.fee_bps)
        if amount_in_raw <= 0 or not reserve_in or not reserve_out:
            return None
        out = with_fee * reserve_out // (reserve_in * BPS + with_fee)
        out = out * (BPS - self.margin_bps) // BPS
        return self._filled(token_in, amount_in_raw, out) if out else None

    def buy(self, token_in: Address, amount_out_raw: int) -> Filled | None:
        """in = ⌊reserve_in·out ÷ ((reserve_out − out)·(1 − fee))⌋ + 1."""
        reserve_in, reserve_out = self._reserves(token_in)
        if not 0 < amount_out_raw < reserve_out or not reserve_in:
            return None
        paid = reserve_in * amount_out_raw * BPS // ((reserve_out - amount_out_raw) * (BPS - self.fee_bps)) + 1
        return self._filled(token_in, paid, amount_out_raw)

    def _reserves(self, token_in: Address) -> tuple[int, int]:
        both = self.reserve0_raw, self.reserve1_raw
        return both if token_in == self.token0 else (both[1], both[0])

    def _filled(self, token_in: Address, paid: int, out: int) -> Filled | None:
        zero_in = token_in == self.token0
        reserve0_raw = self.reserve0_raw + (paid if zero_in else -out)
        reserve1_raw = self.reserve1_raw + (-out if zero_in else paid)
        if max(reserve0_raw, reserve1_raw) > _MOST_RESERVE:
            return None
        after = V2Pair(
            self.address, self.token0, self.token1, self.fee_bps, reserve0_raw, reserve1_raw, self.margin_bps
        )
        return Filled(paid, out, HOP_GAS, after)

    def step(self, token_in: Address, amount_raw: int, limit_raw: int, *, exact_out: bool) -> SwapStep:
        token_out = self.token1 if token_in == self.token0 else self.token0
        zero_for_one = token_in == self.token0
        return SwapStep(StepKind.PAIR_V2, self.address, token_in, token_out, amount_raw, limit_raw, zero_for_one)


@dataclass(frozen=True, slots=True)
class V2Watch:
    """What each batch reads of one pair."""

    address: Address
    token0: Address
    token1: Address
    fee_bps: int
    margin_bps: int

    @property
    def tokens(self) -> tuple[Address, Address]:
        return self.token0, self.token1

    def calls(self) -> list[Call]:
        return [call(self.address, GET_RESERVES)]

    def decoded(self, results: Sequence[CallResult]) -> tuple[V2Pair | None, V2Watch]:
        """Raises `QuoteError` for answers that no pair gives."""
        what = f"pair 0x{self.address.hex()}"
        found = words(results[0], 3, what)
        reserves = [unsigned(word, 112, f"{what} reserve") for word in found[:2]]
        if not all(reserves):
            return None, self
        return V2Pair(
            self.address, self.token0, self.token1, self.fee_bps, reserves[0], reserves[1], self.margin_bps
        ), self
