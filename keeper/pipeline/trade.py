"""What the operator wants of a trade, and whom else it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.selling.objective import Objective
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.swap import Selling
from keeper.core.units import Address

Held = Callable[[Address, Address], Call]
"""What is asked to know how much somebody has of a token: (token, holder)."""


@dataclass(frozen=True, slots=True)
class DataFee:
    """What a rollup asks for posting a transaction on its parent chain, where that is not in its gas."""

    call: Call
    decode: Callable[[CallResult], int]
    """Wei. Raises `QuoteError`."""


class Posting:
    """The same as of the head read last; 0 on a chain that asks none."""

    def __init__(self, data_fee: DataFee | None = None) -> None:
        self.fee_wei: int | None = 0 if data_fee is None else None
        """None while it is not known: then nothing can be priced."""
        self._data_fee = data_fee

    def encode(self) -> list[Call]:
        return [] if self._data_fee is None else [self._data_fee.call]

    def decode(self, results: Sequence[CallResult]) -> None:
        if self._data_fee is not None:
            try:
                self.fee_wei = self._data_fee.decode(results[0])
            except QuoteError:
                self.fee_wei = None


@dataclass(frozen=True, slots=True)
class Trade:
    """What the operator wants of it."""

    objective: Callable[[], Objective]
    """As of now: what may still be lost changes."""
    slippage: SlippagePolicy
    ways: tuple[Selling, ...] = (Selling.ALL,)
    """What becomes of the collateral: the first that may be done."""
    asserts_health: bool = False
    """Whether the contract itself checks that the target was reached, for about 30,000 gas."""
