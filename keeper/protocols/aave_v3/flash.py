"""The pool's own flash loans: what they cost, what can be lent, what was paid for one."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Call, CallResult, Log
from keeper.core.errors import MalformedResponse
from keeper.core.units import Address
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.protocols.aave_v3.words import bounded, call, split, topic_address, words

MILLIONTHS_PER_BPS = 100
_DATA_WORDS = 4
"""Initiator, amount, interest rate mode, premium."""


def encode_premium(market: Market) -> Call:
    return call(market.pool, s.FLASHLOAN_PREMIUM_TOTAL)


def decode_premium(result: CallResult) -> int:
    """Millionths of what is borrowed; the pool keeps bps."""
    (premium_bps,) = words(result, 1, "FLASHLOAN_PREMIUM_TOTAL")
    return bounded(premium_bps, 128, "FLASHLOAN_PREMIUM_TOTAL") * MILLIONTHS_PER_BPS


def loanable_raw(state: State, asset: Address) -> int | None:
    """What can leave the reserve; None for an asset that is not listed."""
    reserve = state.market.by_asset.get(asset)
    return None if reserve is None else state.reserves[reserve.id].liquidity_raw


def decode_premiums(market: Market, logs: Sequence[Log]) -> dict[Address, int]:
    """What was paid for the pool's flash loans in these logs, by asset. Raises `MalformedResponse`."""
    paid: dict[Address, int] = {}
    for log in logs:
        if log.address != market.pool or not log.topics or log.topics[0] != s.FLASH_LOAN_TOPIC:
            continue
        if len(log.topics) != 4:
            raise MalformedResponse(f"FlashLoan: {len(log.topics)} topics instead of 4")
        asset = topic_address(log.topics[2], "FlashLoan")
        *_, premium_raw = split(log.data, _DATA_WORDS, "FlashLoan")
        paid[asset] = paid.get(asset, 0) + premium_raw
    return paid
