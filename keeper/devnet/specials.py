"""Borrowers made to measure for a given crash: each shows one thing that a liquidation can run into.

With S the threshold-weighted collateral and D the debt, both at the prices after the crash, each is given the health
h = S/D that its lesson needs. For one collateral with threshold L and bonus b (1.05 is 5 %), k = L·b: below h = k
every liquidation makes health worse, below h = L the collateral is worth less than the debt.

* ``emode``: threshold and bonus come from the e-mode.
* ``dust_gap``: what reaches the target would leave less than 1,000 dollars of debt (3.6 refuses that).
* ``close_factor``: just above 0.95, where half the debt is the most that one call may repay, and not enough.
* ``sequence``: two collaterals, and seizing either one whole leaves health below 1.
* ``toxic``: h between L and k, so solvent, yet no liquidation improves it.
* ``bad_debt``: h below L.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.core.units import BPS
from keeper.devnet.chain import salted_address
from keeper.devnet.errors import DevnetError
from keeper.devnet.openings import Leg, Opening, Prices, amount_of, threshold_bps, value_base
from keeper.devnet.spec import EMODES, ETH_EMODE, RATIO_WAD, STABLE_EMODE, USD, EModeSpec, Version, asset_spec

SPECIALS = ("emode", "dust_gap", "close_factor", "sequence", "toxic", "bad_debt")

Crash = Mapping[str, int]
"""The new price of each asset that moves. wstETH follows WETH unless it is named."""

DEMO_CRASH: Crash = {
    "WETH": 2_816 * USD,
    "WBTC": 57_600 * USD,
    "wstETH": 2_816 * USD * 1_115 // 1_000,
    "GUSD": 67 * USD // 100,
}
"""Ether falls by 12 %, bitcoin by 10 %, staked ether loses 4.7 % against ether, and one stablecoin breaks its peg."""

_HEALTH_STEP = 1_000_000
_SINKING = ("WETH", "WBTC", "GUSD")
"""Where the toxic and the bad-debt borrower may have their collateral: in whichever falls most."""
_LEAST_START_PPM = 1_004_000
_WAD = 10**18


def prices_after(prices: Prices, crash: Crash) -> dict[str, int]:
    """All prices once the crash has happened (base currency per whole token)."""
    after = {**prices, **crash}
    if "WETH" in crash and "wstETH" not in crash:
        after["wstETH"] = crash["WETH"] * RATIO_WAD // _WAD
    return after


def special_openings(version: Version, prices: Prices, crash: Crash, names: Sequence[str] = SPECIALS) -> list[Opening]:
    """One borrower for each name. The dust rule is not in 3.0.2, so its borrower is left out there.

    Raises DevnetError if the crash is too mild for one of them: it would have to start below health 1.
    """
    wanted = [name for name in names if name != "dust_gap" or version != "3.0.2"]
    return [special_opening(name, prices, crash) for name in wanted]


def special_opening(name: str, prices: Prices, crash: Crash, serial: int = 0) -> Opening:
    """One special borrower; `serial` tells several of a kind apart. Raises DevnetError as above."""
    after = prices_after(prices, crash)
    if name == "emode":
        return _emode(prices, after, serial)
    fallen = max(_SINKING, key=lambda symbol: prices[symbol] * _HEALTH_STEP // after[symbol])
    l_ppm = asset_spec(fallen).threshold_bps * 100
    k_ppm = l_ppm * asset_spec(fallen).bonus_bps // BPS
    recipes: dict[str, tuple[int, int, tuple[str, ...]]] = {
        "dust_gap": (930_000, 1_500, ("WETH",)),
        "close_factor": (954_000, 40_000, ("WETH",)),
        "sequence": (900_000, 60_000, ("WETH", "WBTC")),
        "toxic": ((k_ppm + l_ppm) // 2, 30_000, (fallen,)),
        "bad_debt": (l_ppm * 98 // 100, 20_000, (fallen,)),
    }
    if name not in recipes:
        raise DevnetError(f"there is no special borrower {name!r}; there are {', '.join(SPECIALS)}")
    health_ppm, debt_usd, collateral = recipes[name]
    return _built(name, serial, None, collateral, "USDC", debt_usd * USD, health_ppm, prices, after)


def _emode(prices: Prices, after: Prices, serial: int) -> Opening:
    """In whichever e-mode the crash moves collateral against debt."""
    candidates = ((ETH_EMODE, "wstETH", "WETH"), (STABLE_EMODE, "DAI", "USDC"))
    for mode, collateral, debt in candidates:
        if after[collateral] * prices[debt] < prices[collateral] * after[debt]:
            health_ppm = (mode.threshold_bps * mode.bonus_bps // 100 + 1_000_000) // 2
            return _built("emode", serial, mode, (collateral,), debt, 50_000 * USD, health_ppm, prices, after)
    raise DevnetError("the crash moves no e-mode's collateral against its debt")


def _built(
    name: str,
    serial: int,
    mode: EModeSpec | None,
    collateral: Sequence[str],
    debt: str,
    debt_base: int,
    health_ppm: int,
    prices: Prices,
    after: Prices,
) -> Opening:
    """Collateral of equal worth in each asset, so much that health is as wanted at the prices after."""
    owed = Leg(debt, amount_of(debt_base, after[debt], asset_spec(debt).decimals))
    thresholds = sum(threshold_bps(symbol, mode) for symbol in collateral)
    each_base = debt_base * health_ppm * BPS // thresholds // _HEALTH_STEP
    legs = tuple(Leg(symbol, amount_of(each_base, after[symbol], asset_spec(symbol).decimals)) for symbol in collateral)
    who = salted_address(f"special {name} {serial}")
    opening = Opening(who, name, legs, (owed,), mode.category_id if mode else 0)
    start_ppm = health_ppm_at(opening, prices)
    if start_ppm < _LEAST_START_PPM:
        raise DevnetError(f"the crash is too mild for {name}: it would have to start at health {start_ppm} ppm")
    return opening


def health_ppm_at(opening: Opening, prices: Prices) -> int:
    """Its health at these prices in millionths, rounded down: a planning figure, not the contract's."""
    mode = next((each for each in EMODES if each.category_id == opening.emode_id), None)
    counted = sum(_worth(leg, prices) * threshold_bps(leg.symbol, mode) for leg in opening.collateral)
    owed = sum(_worth(leg, prices) for leg in opening.debt)
    return counted * _HEALTH_STEP // (owed * BPS)


def _worth(leg: Leg, prices: Prices) -> int:
    return value_base(leg.amount_raw, prices[leg.symbol], asset_spec(leg.symbol).decimals)
