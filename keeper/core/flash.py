"""What a lending market lends within one transaction, and the tokens that stand for debt and deposits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from keeper.core.block import Call, CallResult, Log
from keeper.core.units import Address

Market_contra = TypeVar("Market_contra", contravariant=True)
State_contra = TypeVar("State_contra", contravariant=True)


class FlashLender(Protocol[Market_contra, State_contra]):
    """Part of `keeper.core.lending.LendingAdapter`; raises as that does."""

    def debt_token(self, market: Market_contra, debt_id: int) -> Address:
        """Whose `scaledBalanceOf` tells what is owed of a reserve."""
        ...

    def receipt_token(self, market: Market_contra, asset: Address) -> Address:
        """The market's own for a deposit of an asset: what a liquidator may take instead of it, worth the same."""
        ...

    def encode_flash_premium(self, market: Market_contra) -> Call:
        """What the market itself asks for a flash loan."""
        ...

    def decode_flash_premium(self, market: Market_contra, result: CallResult) -> int:
        """In millionths of what is borrowed."""
        ...

    def loanable_raw(self, state: State_contra, asset: Address) -> int | None:
        """What the market itself can lend of an asset at once; None for one that is not listed."""
        ...

    def decode_flash_premiums(self, market: Market_contra, logs: Sequence[Log]) -> Mapping[Address, int]:
        """What was paid for the market's flash loans, by a receipt's logs, by asset."""
        ...
