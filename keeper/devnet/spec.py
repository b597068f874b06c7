"""What the devnet's market is made of: its assets, their risk settings and the e-modes. Pure values.

All `_bps` settings are in the protocol's own form: a bonus of 10 500 is 5 %, a threshold of 8 250 is 82.5 %.
Prices are in the market's base currency, US dollars with 8 decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

USD = 10**8
"""One dollar in the market's base currency."""

RATIO_WAD = 1_170_000_000_000_000_000
"""How much of its base one liquid-staking token is worth at the start (wad)."""
CAP_BASE = 104 * USD // 100
"""Above this the capped feed does not follow its base."""

Version = Literal["3.6", "3.0.2"]
FeedKind = Literal["plain", "ratio", "capped"]


@dataclass(frozen=True)
class AssetSpec:
    """One reserve. `price_base` is the root feed's first answer (for a ratio feed: the base asset's)."""

    symbol: str
    decimals: int
    price_base: int
    ltv_bps: int
    threshold_bps: int
    bonus_bps: int
    protocol_fee_bps: int
    reserve_factor_bps: int
    rate_bps: tuple[int, int, int, int]
    """Optimal usage, base rate, slope up to the optimum, slope beyond it."""
    feed: FeedKind = "plain"
    root: str | None = None
    """For a ratio feed: the asset whose feed it multiplies."""
    borrowable: bool = True


@dataclass(frozen=True)
class EModeSpec:
    """One e-mode category. Before 3.2 an asset belongs to one category and membership serves both sides."""

    category_id: int
    label: str
    ltv_bps: int
    threshold_bps: int
    bonus_bps: int
    collateral: tuple[str, ...]
    borrowable: tuple[str, ...]


_ETH_RATES = (9_000, 0, 270, 8_000)
_BTC_RATES = (4_500, 0, 400, 30_000)
_STABLE_RATES = (9_000, 50, 550, 6_000)

ASSETS: tuple[AssetSpec, ...] = (
    AssetSpec("WETH", 18, 3_200 * USD, 8_000, 8_350, 10_500, 1_000, 1_500, _ETH_RATES),
    AssetSpec("WBTC", 8, 64_000 * USD, 7_300, 7_800, 10_700, 1_000, 2_000, _BTC_RATES),
    AssetSpec("USDC", 6, 1 * USD, 7_700, 8_000, 10_450, 2_000, 1_000, _STABLE_RATES, feed="capped"),
    AssetSpec("DAI", 18, 99_980_000, 7_500, 7_800, 10_500, 0, 1_000, _STABLE_RATES),
    AssetSpec("wstETH", 18, 3_200 * USD, 7_850, 8_100, 10_600, 1_000, 1_500, _ETH_RATES, feed="ratio", root="WETH"),
    AssetSpec("GUSD", 2, 1 * USD, 6_500, 7_000, 10_800, 1_500, 1_000, _STABLE_RATES),
    # Collateral in the stablecoin e-mode only: outside of it threshold and bonus are 0.
    AssetSpec("sUSDe", 18, 111_000_000, 0, 0, 0, 1_000, 2_000, _STABLE_RATES, borrowable=False),
)

ETH_EMODE = EModeSpec(1, "ETH correlated", 9_300, 9_500, 10_100, ("WETH", "wstETH"), ("WETH", "wstETH"))
STABLE_EMODE = EModeSpec(2, "Stablecoins", 9_000, 9_200, 10_300, ("USDC", "DAI", "sUSDe"), ("USDC", "DAI"))
EMODES: tuple[EModeSpec, ...] = (ETH_EMODE, STABLE_EMODE)

WRAPPED_NATIVE = "WETH"


def asset_spec(symbol: str) -> AssetSpec:
    """The spec by symbol. Raises KeyError."""
    return next(spec for spec in ASSETS if spec.symbol == symbol)
