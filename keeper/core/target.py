"""Which health a borrower is brought back to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from keeper.core.lending import Health
from keeper.core.units import WAD, Address

DEFAULT_CEILING_WAD = 105 * WAD // 100
DEFAULT_FLOOR_WAD = 1_005 * WAD // 1_000


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """Target health, wad. The narrowest override wins: asset, then e-mode, then market; of several assets the highest."""

    market_wad: int | None = None
    category_wad: Mapping[int, int] = field(default_factory=dict)
    asset_wad: Mapping[Address, int] = field(default_factory=dict)

    def target_wad(self, health: Health, category: int, assets: Collection[Address]) -> int:
        """The target for a position of this health, in this e-mode, with these collateral and debt assets."""
        by_asset = [self.asset_wad[asset] for asset in assets if asset in self.asset_wad]
        if by_asset:
            return max(by_asset)
        if category in self.category_wad:
            return self.category_wad[category]
        if self.market_wad is not None:
            return self.market_wad
        return default_target_wad(health)


def default_target_wad(health: Health) -> int:
    """min(1.05, average LT ÷ average LTV), at least 1.005.

    A position opened at its full LTV stands at LT ÷ LTV: in an e-mode it may never have stood at 1.05. Where the average
    LTV is 0 nothing could be borrowed on it, so only the ceiling binds.
    """
    if health.ltv_bps == 0:
        return DEFAULT_CEILING_WAD
    opening_wad = health.liquidation_threshold_bps * WAD // health.ltv_bps
    return max(DEFAULT_FLOOR_WAD, min(DEFAULT_CEILING_WAD, opening_wad))
