"""From collateral to debt asset: what a pool answers, what a route is, what the executor is told to do.

Amounts are raw units of the token in question. Gas figures are estimates, for comparing routes; what an order costs is what the
simulation measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from keeper.core.fixedmath import mul_div_ceil
from keeper.core.units import UINT256_MAX, WAD, Address

ALL_RAW = UINT256_MAX
"""As the amount of a step: all that came in of the token so far."""


class StepKind(StrEnum):
    """As what the executor calls the venue of a step."""

    POOL_V3 = "pool_v3"
    POOL_V3_EXACT_OUT = "pool_v3_exact_out"
    PAIR_V2 = "pair_v2"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class SwapStep:
    """One `Swap` of the executor contract."""

    kind: StepKind
    venue: Address
    token_in: Address
    token_out: Address
    amount_raw: int
    """Most in; for `POOL_V3_EXACT_OUT` out. `ALL_RAW`: all that came in."""
    limit_raw: int
    """Least out for `amount_raw`, for less in proportion, so that both together are a price; of a `PAIR_V2` exactly that goes
    out; for `POOL_V3_EXACT_OUT` most in. Of a `ROUTER` the least out, whatever went in."""
    zero_for_one: bool
    calldata: bytes = b""
    """For a `ROUTER` only."""


class Selling(StrEnum):
    """How much of the collateral received is sold."""

    ALL = "all"
    COVER = "cover"
    """Only what covers the repayment and the lender's premium; the rest is kept."""
    HOLD = "hold"
    """Nothing: the collateral is kept, the repayment comes from the inventory."""
    HOLD_A_TOKEN = "hold_a_token"  # noqa: S105 - the market's own receipt of a deposit
    """Nothing, and it is not even withdrawn from the market: its receipt token is kept."""

    @property
    def needs_inventory(self) -> bool:
        """Nothing comes back in the same transaction, so a flash loan cannot be repaid from it."""
        return self in (Selling.HOLD, Selling.HOLD_A_TOKEN)


@dataclass(frozen=True, slots=True)
class Route:
    """How one amount becomes debt asset, at one block."""

    venue: str
    token_in: Address
    token_out: Address
    amount_in_raw: int
    """Of an exact-output route: what it takes at the block's own state."""
    amount_out_raw: int
    """At the block's own state; of what is kept: its worth at the oracle's prices, floored."""
    least_out_raw: int
    """Less is a revert. Of an exact-output route the output itself."""
    most_in_raw: int
    """More is a revert; `amount_in_raw` unless the output is exact."""
    steps: tuple[SwapStep, ...]
    gas: int
    selling: Selling = Selling.ALL
    receipt: Address | None = None
    """The market's receipt token that is kept instead of what it stands for, one to one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a venue."""

    token_in: Address
    token_out: Address
    most_in_raw: int
    """All of it is to be sold; where an exact output is asked for no more than this."""
    amount_out_raw: int | None
    """Exactly so much out; None where all is to be sold."""
    oracle_out_raw: int
    """The worth of `most_in_raw` in the other token at the oracle's prices: what a quote is held against."""
    least_out_raw: int
    """A route that brings less is of no use."""
    gas_price_wad: int
    """What one unit of gas costs in raw units, times 1e18, of the token that is counted: the one out, or the one in where the
    output is exact. Weighs longer routes."""


@dataclass(frozen=True, slots=True)
class Filled:
    """One swap through one pool, exactly as its contract would do it."""

    amount_in_raw: int
    amount_out_raw: int
    gas: int
    after: Pool
    """The pool as the swap leaves it."""


class Pool(Protocol):
    """A pool's state at one block, immutable. None where the amount is more than the pool, or what is known of it, gives."""

    @property
    def address(self) -> Address: ...

    @property
    def tokens(self) -> tuple[Address, Address]:
        """As the contract orders them."""
        ...

    def sell(self, token_in: Address, amount_in_raw: int) -> Filled | None: ...

    def buy(self, token_in: Address, amount_out_raw: int) -> Filled | None: ...

    def step(self, token_in: Address, amount_raw: int, limit_raw: int, *, exact_out: bool) -> SwapStep:
        """What the executor is told; amounts and limit as in `SwapStep`."""
        ...

    @property
    def takes_exact_orders(self) -> bool:
        """Whether it works out the other side of an order by itself. One that does not takes all that it is sent and gives
        what it is asked for: a margin is then off its quotes already, and an exact output cannot be asked of it."""
        ...

    @property
    def lends_for(self) -> int | None:
        """What it asks for lending either token within a transaction, in millionths of it; None where it does not lend. While
        it lends it cannot be swapped in."""
        ...


def gas_in_out_raw(gas: int, gas_price_out_wad: int) -> int:
    """What gas costs in the token that comes out, rounded up."""
    return mul_div_ceil(gas, gas_price_out_wad, WAD)
