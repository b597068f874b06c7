"""What mined calls were worth, at the prices of a block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keeper.core.block import Call, Log
from keeper.core.ledger import CallValue, movements_of
from keeper.core.lending import LiquidationEvent
from keeper.core.order import MinedCall, Profit
from keeper.core.profit import gas_cost_base
from keeper.core.shares import Share, part_of
from keeper.core.units import WAD, Address
from keeper.execution.executor_calls import pool_fees
from keeper.execution.markets import MarketHandle
from keeper.execution.receipts import Receipt

LEFT_OUT = "left out, because its debt had changed when the transaction was mined: the others were served"


def liquidations(handle: MarketHandle[Any, Any], call: MinedCall, borrower: Address) -> list[LiquidationEvent]:
    """What a mined call did to one borrower; nothing where it reverted."""
    return list(handle.adapter.decode_liquidation(handle.market, call.logs, borrower)) if call.succeeded else []


def valued_call(
    handle: MarketHandle[Any, Any],
    state: Any,
    mined: MinedCall,
    call: Call,
    borrower: Address,
    shares: Sequence[Share],
) -> MinedCall:
    """With its worth at the prices of `state`, the market's in its block, and who had it in common with what was repaid for
    each. Who liquidates itself when it is called is our executor."""
    borrowers = [share.borrower for share in shares] or [borrower]
    found = {each: liquidations(handle, mined, each) for each in borrowers}
    repaid = [replace(share, repaid_raw=sum(event.repaid_raw for event in found[share.borrower])) for share in shares]
    value = call_value(handle, state, [event for events in found.values() for event in events], call, mined.logs)
    return replace(mined, value=value, shares=tuple(repaid))


def call_value(
    handle: MarketHandle[Any, Any], state: Any, events: Sequence[LiquidationEvent], call: Call, logs: Sequence[Log]
) -> CallValue | None:
    """Rounded against us; None when one of the prices is missing."""
    traded = _traded(handle, state, events)
    if traded is None:
        return None
    premium_base = slippage_base = 0
    if any(event.liquidator == call.target for event in events):
        paid_raw = {**handle.adapter.decode_flash_premiums(handle.market, logs), **pool_fees(call.calldata, logs)}
        premium = _worth(handle, state, paid_raw)
        kept = _worth(handle, state, {each.token: -each.change_raw for each in movements_of(logs, {call.target})})
        if premium is None or kept is None:
            return None
        premium_base, slippage_base = premium, traded.received_base - traded.repaid_base - premium + kept
    return CallValue(
        received_base=traded.received_base,
        repaid_base=traded.repaid_base,
        native_price_base=traded.native_price_base,
        base_unit=handle.adapter.base_unit(handle.market),
        premium_base=premium_base,
        slippage_base=slippage_base,
    )


def realised_profit(
    handle: MarketHandle[Any, Any],
    state: Any,
    events: Sequence[LiquidationEvent],
    receipts: Iterable[Receipt],
    mined: Sequence[MinedCall],
    attempt: str,
) -> Profit | None:
    """One attempt's, of what it had in common its share: at the last inclusion block's prices, premium and slippage at each
    block's own, rounded against us; None when one is missing."""
    traded = _traded(handle, state, events)
    valued = [(call.value, call.shares) for call in mined if call.value is not None]
    if traded is None or len(valued) < len(mined):
        return None
    shares = {call.transaction_hash: call.shares for call in mined}
    cost_wei = sum(part_of(receipt.cost_wei, shares[receipt.transaction_hash], attempt) for receipt in receipts)
    return Profit(
        received_base=traded.received_base,
        repaid_base=traded.repaid_base,
        gas_base=gas_cost_base(cost_wei, 1, traded.native_price_base),
        premium_base=sum(part_of(value.premium_base, those, attempt) for value, those in valued),
        slippage_base=sum(part_of(value.slippage_base, those, attempt) for value, those in valued),
    )


@dataclass(frozen=True, slots=True)
class _Traded:
    received_base: int
    repaid_base: int
    native_price_base: int


def _traded(handle: MarketHandle[Any, Any], state: Any, events: Sequence[LiquidationEvent]) -> _Traded | None:
    """Received rounded down, repaid up; None when a price is missing, the native coin's too."""
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
    return _Traded(sum(known_received), sum(base + 1 for base in known_repaid), native_price_base)


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
