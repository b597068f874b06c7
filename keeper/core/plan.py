"""What the planner hands on: the calls that restore one borrower, and how far they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from keeper.core.block import BlockRef
from keeper.core.lending import Health, Pair, Quote
from keeper.core.outcome import Verdict
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Window:
    """The timestamps at which a plan may be included: both ends belong to it."""

    earliest_s: int
    latest_s: int


class Clip(StrEnum):
    """What bound the size of a call away from the least repayment that reaches the target."""

    CLOSE_FACTOR = "close_factor"
    DUST_JUMP = "dust_jump"
    """x* lies where the contract would refuse the left-over; the call jumps to the next size that it accepts."""
    COLLATERAL = "collateral"
    """The pair's collateral is used up."""
    DEBT = "debt"
    """The pair's debt is repaid in full."""
    LIQUIDITY = "liquidity"
    BELOW_ONE = "below_one"
    """An earlier call of a sequence: health must stay below 1, or the next call reverts."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One liquidation call with what it does at both ends of the window."""

    pair: Pair
    debt_to_cover_raw: int
    clip: Clip | None
    at_earliest: Quote
    at_latest: Quote


@dataclass(frozen=True, slots=True)
class Plan:
    """The least that restores `borrower`, decided on `block`."""

    market: Address
    borrower: Address
    block: BlockRef
    window: Window
    calls: tuple[PlannedCall, ...]
    verdict: Verdict
    target_wad: int
    health_before: Health
    """At the block's own timestamp: what the chain answers there."""
    health_after: Health
    """Planned, at the worse end of the window."""

    @property
    def debts_raw(self) -> Mapping[Address, int]:
        """What the calls may pull from the liquidator, per debt asset."""
        needed: dict[Address, int] = {}
        for call in self.calls:
            needed[call.pair.debt_asset] = needed.get(call.pair.debt_asset, 0) + call.debt_to_cover_raw
        return needed
