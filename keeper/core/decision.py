"""What the journal keeps of a plan: enough to tell, after a restart, whether it came true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keeper.core.outcome import Verdict
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Decision:
    """Of one attempt."""

    attempt: str
    market: Address
    borrower: Address
    verdict: Verdict
    target_wad: int
    health_before_wad: int
    health_planned_wad: int
    debts_raw: Mapping[Address, int]
    """The most that its calls may pull from the liquidator, per debt asset."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An attempt of which it cannot be told what came of it."""

    attempt: str
    borrower: Address
    market: Address | None
    why: str


@dataclass(frozen=True, slots=True)
class Promised:
    """What transactions that may still be mined may take, besides those of the submissions that are waited for."""

    debts_raw: Mapping[tuple[Address, Address], int]
    """By (debt asset, who pulls it)."""
    gas_wei: int


NOTHING_PROMISED = Promised({}, 0)
