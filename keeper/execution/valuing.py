"""What a mined call was worth, at the prices of its block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keeper.core.block import Log
from keeper.core.ledger import CallValue, Valuation, movements_of
from keeper.core.lending import LiquidationEvent
from keeper.core.order import MinedCall
from keeper.core.units import WAD, Address
from keeper.execution.markets import MarketHandle


def call_value(
    handle: MarketHandle[Any, Any], state: Any, events: Sequence[LiquidationEvent], target: Address, logs: Sequence[Log]
) -> CallValue | None:
    """`events`: what the call liquidated; none where it reverted. `target`: whom it called, with which logs: who liquidates
    itself is our executor, and its tokens are ours. `state`: the market's, in the call's block. Rounded against us; None when
    one of the prices is missing."""
    if handle.wrapped_native is None:
        return None
    value = handle.adapter.value_base_floor
    native_price_base = value(state, handle.wrapped_native, WAD)
    received = [value(state, event.collateral_asset, event.received_raw) for event in events]
    repaid = [value(state, event.debt_asset, event.repaid_raw) for event in events]
    known_received = [base for base in received if base is not None]
    known_repaid = [base for base in repaid if base is not None]
    if native_price_base is None or len(known_received) + len(known_repaid) < 2 * len(events):
        return None
    received_base, repaid_base = sum(known_received), sum(base + 1 for base in known_repaid)
    premium_base = slippage_base = 0
    if any(event.liquidator == target for event in events):
        premium = _worth(handle, state, handle.adapter.decode_flash_premiums(handle.market, logs))
        kept = _worth(handle, state, {each.token: -each.change_raw for each in movements_of(logs, {target})})
        if premium is None or kept is None:
            return None
        premium_base, slippage_base = premium, received_base - repaid_base - premium + kept
    return CallValue(
        received_base=received_base,
        repaid_base=repaid_base,
        native_price_base=native_price_base,
        base_unit=handle.adapter.base_unit(handle.market),
        premium_base=premium_base,
        slippage_base=slippage_base,
    )


def _worth(handle: MarketHandle[Any, Any], state: Any, spent_raw: Mapping[Address, int]) -> int | None:
    """What was spent of some tokens, below 0 what came in: rounded up. What comes in without a price counts as
    nothing; None where something without a price went out."""
    total_base = 0
    for token, raw in spent_raw.items():
        base = handle.adapter.value_base_floor(state, token, abs(raw))
        if base is None and raw > 0:
            return None
        total_base += (base or 0) + 1 if raw > 0 else -(base or 0)
    return total_base


def valuations_of(mined: Sequence[MinedCall]) -> list[Valuation]:
    """For the ledger: those that are known."""
    return [Valuation(call.transaction_hash, call.block.hash, call.value) for call in mined if call.value is not None]
