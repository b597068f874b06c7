"""What this room knows of a lending market: its adapter and what discovery found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from keeper.core.errors import Defect
from keeper.core.lending import LendingAdapter, Market, State
from keeper.core.units import Address, to_hex
from keeper.execution.executor_calls import explain_refusal, says_lost


@dataclass(frozen=True, slots=True)
class MarketHandle(Generic[Market, State]):
    """One market as it stands; replaced whole when it is discovered again."""

    adapter: LendingAdapter[Market, State]
    market: Market
    wrapped_native: Address | None
    """The reserve that prices the native coin; None when the market lists none (then no profit is told)."""


Markets = Mapping[Address, MarketHandle[Any, Any]]
"""By the address that plans carry. The caller may replace entries while we hold it."""


def market_of(markets: Markets, address: Address) -> MarketHandle[Any, Any]:
    """Raises `Defect` for a market that nobody handed us."""
    try:
        return markets[address]
    except KeyError:
        raise Defect(f"no market {to_hex(address)} was handed to execution") from None


def revert_in_words(handle: MarketHandle[Any, Any], revert_data: bytes) -> str:
    """The executor's own reason where it is one, else the market's."""
    return explain_refusal(revert_data) or handle.adapter.decode_revert(handle.market, revert_data)


def lost_race(handle: MarketHandle[Any, Any], revert_data: bytes) -> bool:
    """Whether it says that somebody else was first: the executor's word, or the market's."""
    adapter = handle.adapter
    return says_lost(revert_data) or adapter.decode_revert(handle.market, revert_data) in adapter.refused_as_late
