"""Our arithmetic held against what one block did to one borrower. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from keeper.core.block import BlockRef, Log
from keeper.core.lending import (
    Health,
    LendingAdapter,
    LiquidationEvent,
    Market,
    MarketChanged,
    Position,
    Refusal,
    State,
)
from keeper.core.outcome import Skip
from keeper.core.plan import PlannedCall
from keeper.core.units import Address, Hash32


@dataclass(frozen=True, slots=True)
class Reading(Generic[State]):
    """What the chain says about a borrower in an inclusion block and in the block before it."""

    block: BlockRef
    state: State
    position: Position
    health: Health
    """The market's own answer."""
    parent_state: State
    parent_position: Position
    logs: Sequence[Log]
    """The market's, of this block."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Our arithmetic against the chain in one block."""

    model_error_wad: int | None
    """Chain's health − ours on the same row, state and timestamp; None when ours cannot price the position."""
    amounts_match: bool | None
    """None when disturbed, or when none of our calls took effect."""
    disturbed: bool


def verify_block(
    adapter: LendingAdapter[Market, State],
    market: Market,
    reading: Reading[State],
    calls: Sequence[PlannedCall],
    events: Sequence[LiquidationEvent],
    our_hashes: frozenset[Hash32],
    borrower: Address,
) -> Verification:
    """`calls` took effect in this block and reported `events`, both in order.

    The replay runs on the parent block's row and state, rolled to the block's own timestamp: indexes do not change
    twice within a timestamp. Only where a price moved inside the block is the block's closing state used instead; if
    that does not give the chain's numbers either, the price moved around our calls and nothing is proven.
    """
    at_s = reading.block.timestamp_s
    ours = adapter.health(reading.state, reading.position, at_s)
    model_error_wad = None if isinstance(ours, Skip) else reading.health.health_factor_wad - ours.health_factor_wad
    if named_by_others(adapter, market, reading.logs, our_hashes, borrower):
        return Verification(model_error_wad, None, disturbed=True)
    if not calls:
        return Verification(model_error_wad, None, disturbed=False)
    price_moved = adapter.health(reading.parent_state, reading.parent_position, at_s) != adapter.health(
        reading.state, reading.parent_position, at_s
    )
    start = reading.state if price_moved else reading.parent_state
    matches = replay_matches(adapter, start, reading, calls, events)
    if price_moved and not matches:
        return Verification(model_error_wad, None, disturbed=True)
    return Verification(model_error_wad, matches, disturbed=False)


def replay_matches(
    adapter: LendingAdapter[Market, State],
    state: State,
    reading: Reading[State],
    calls: Sequence[PlannedCall],
    events: Sequence[LiquidationEvent],
) -> bool:
    """Whether quoting the calls in turn gives each event's amounts and, after the last, the chain's health."""
    if len(calls) != len(events):
        return False
    position, health_wad = reading.parent_position, None
    for call, event in zip(calls, events, strict=True):
        quote = adapter.quote_liquidation(state, position, call.pair, call.debt_to_cover_raw, reading.block.timestamp_s)
        if isinstance(quote, Refusal):
            return False
        said = (event.collateral_asset, event.debt_asset, event.repaid_raw, event.received_raw)
        if said != (call.pair.collateral_asset, call.pair.debt_asset, quote.repaid_raw, quote.received_raw):
            return False
        position, health_wad = quote.position_after, quote.health_after.health_factor_wad
    return health_wad == reading.health.health_factor_wad and position == reading.position


def named_by_others(
    adapter: LendingAdapter[Market, State],
    market: Market,
    logs: Sequence[Log],
    our_hashes: frozenset[Hash32],
    borrower: Address,
) -> bool:
    """Whether a transaction that is not ours touched the borrower's row (or the market itself) in these logs."""
    for log in logs:
        if log.transaction_hash in our_hashes:
            continue
        for event in adapter.decode_log(market, log):
            if isinstance(event, MarketChanged):
                return True
            if event.account == borrower:
                return True
    return False
