"""Prices that move by the second: the oracle's answers at the block and at one later second.

Some price sources (a discount that runs off, a yield that vests) answer otherwise at every second, without a transaction.
What is decided on a block must hold until a later second, so the oracle is asked twice: as of the block, and as it will
answer then if no transaction changes it. Both answers are exact. Of the seconds in between it is only assumed that no
source leaves the range of its two answers; there the lower price counts for collateral and the higher one for debt,
which values every position at most as high as the contract does.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from keeper.core.units import Address

PriceRange = tuple[int | None, int | None]
"""The lowest and the highest price that may hold; None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Later:
    """The oracle's answers at a later second, where they differ from those of the block."""

    timestamp_s: int
    prices_base: Mapping[Address, int | None]
    """By what the oracle is asked for: an asset, or an e-mode's price source."""

    def without(self, keys: Container[Address]) -> Later:
        """The others: what is left out holds at every second."""
        return Later(self.timestamp_s, {key: price for key, price in self.prices_base.items() if key not in keys})

    def price_range(self, key: Address, own_base: int | None, block_s: int, timestamp_s: int) -> PriceRange:
        """A price at a second. From the later second on nothing newer is known: that reading stands."""
        if key not in self.prices_base or timestamp_s <= block_s:
            return own_base, own_base
        later_base = self.prices_base[key]
        if timestamp_s >= self.timestamp_s:
            return later_base, later_base
        if own_base is None or later_base is None:
            return None, None
        return min(own_base, later_base), max(own_base, later_base)
