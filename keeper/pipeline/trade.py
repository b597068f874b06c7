"""What the operator wants of a trade, and whom else it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keeper.core.block import Call, CallResult
from keeper.core.objective import Objective
from keeper.core.slippage import SlippagePolicy
from keeper.core.swap import Selling
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Lender:
    """Somebody besides the market who lends for nothing: Morpho."""

    address: Address
    encode_held: Callable[[Address, Address], Call]
    """What it has of a token: (token, lender)."""


@dataclass(frozen=True, slots=True)
class DataFee:
    """What a rollup asks for posting a transaction on its parent chain, where that is not in its gas."""

    call: Call
    decode: Callable[[CallResult], int]
    """Wei. Raises `QuoteError`."""


@dataclass(frozen=True, slots=True)
class Trade:
    """What the operator wants of it."""

    objective: Callable[[], Objective]
    """As of now: what may still be lost changes."""
    slippage: SlippagePolicy
    selling: Selling = Selling.ALL
    asserts_health: bool = False
    """Whether the contract itself checks that the target was reached, for about 30,000 gas."""
