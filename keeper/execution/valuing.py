"""What a mined call was worth, at the prices of its block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keeper.core.block import Log
from keeper.core.ledger import CallValue, Valuation, movements_of
from keeper.core.lending import LiquidationEvent
from keeper.core.order import MinedCall
from keeper.core.units import WAD, Address
from keeper.execution.markets import MarketHandle


def call_value(
    handle: MarketHandle[Any, Any],
    state: Any,
    events: Sequence[LiquidationEvent],
    logs: Sequence[Log] = (),
    executor: Address | None = None,
) -> CallValue | None:
    """`events`: what the call liquidated; none where it reverted. `state`: the market's, in the call's block. With an
    `executor` only what it kept counts as received beyond what was repaid, by the `logs` of the transaction: selling and
    borrowing cost something. Rounded against us; None when one of the prices is missing."""
    seized = _seized_value(handle, state, events)
    if seized is None or executor is None:
        return seized
    kept_base = moved_base(handle, state, logs, executor)
    return None if kept_base is None else replace(seized, received_base=seized.repaid_base + kept_base)


def moved_base(handle: MarketHandle[Any, Any], state: Any, logs: Sequence[Log], account: Address) -> int | None:
    """What an account's tokens are worth more after a transaction, rounded against us. What comes in without a price counts as
    nothing; None where something without a price went out."""
    total_base = 0
    for movement in movements_of(logs, {account}):
        worth_base = handle.adapter.value_base_floor(state, movement.token, movement.change_raw)
        if worth_base is None and movement.change_raw < 0:
            return None
        total_base += worth_base or 0
    return total_base


def _seized_value(handle: MarketHandle[Any, Any], state: Any, events: Sequence[LiquidationEvent]) -> CallValue | None:
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
    return CallValue(
        received_base=sum(known_received),
        repaid_base=sum(base + 1 for base in known_repaid),
        native_price_base=native_price_base,
        base_unit=handle.adapter.base_unit(handle.market),
    )


def valuations_of(mined: Sequence[MinedCall]) -> list[Valuation]:
    """For the ledger: those that are known."""
    return [Valuation(call.transaction_hash, call.block.hash, call.value) for call in mined if call.value is not None]
