"""The venue that sells nothing: the collateral, or the market's receipt for it, is kept, and the inventory repays."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.swap import Route, Selling, Wish
from keeper.core.units import Address


class HoldVenue:
    """Keeps the collateral (`Selling.HOLD`) or its receipt token (`Selling.HOLD_A_TOKEN`), at what the oracle says."""

    def __init__(self, selling: Selling) -> None:
        if not selling.needs_inventory:
            raise ValueError(f"{selling} is no way to hold")
        self.name = str(selling)
        self._selling = selling

    def encode_quotes(self, wanted: Collection[tuple[Address, Address]]) -> Sequence[Call]:
        return ()

    def decode_quotes(self, results: Sequence[CallResult]) -> None:
        return None

    async def quote(self, wish: Wish) -> Route:
        if wish.amount_out_raw is not None:
            raise QuoteError(f"{self.name}: nothing comes out where nothing is sold")
        return Route(
            venue=self.name,
            token_in=wish.token_in,
            token_out=wish.token_out,
            amount_in_raw=wish.most_in_raw,
            amount_out_raw=wish.oracle_out_raw,
            least_out_raw=wish.oracle_out_raw,
            most_in_raw=wish.most_in_raw,
            steps=(),
            gas=0,
            selling=self._selling,
        )
