"""A borrower with its health, for reports."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.lending import Health
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Valued:
    borrower: Address
    market: Address
    block_number: int
    health: Health | None
    """None when a price that it needs cannot be read."""
    base_decimals: int
