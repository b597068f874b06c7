"""Borrowers to be: varied, planned from a seed with integer arithmetic. Pure values."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.core.units import Address
from keeper.devnet.chain import salted_address
from keeper.devnet.spec import ETH_EMODE, STABLE_EMODE, USD, EModeSpec, asset_spec

_VOLATILE = ("WETH", "WBTC", "wstETH")
_STABLE = ("USDC", "DAI", "GUSD")
_SIZES_USD = ((3, 800, 15), (800, 5_000, 25), (5_000, 200_000, 45), (1_000_000, 8_000_000, 15))
"""Collateral value from, to (dollars), and weight: dust, small, middle, whale."""
_HEALTHS_BPS = ((10_100, 10_500, 35), (10_500, 13_500, 40), (13_500, 35_000, 25))
"""Health from, to (bps of 1), and weight: near the edge, middling, far."""


@dataclass(frozen=True)
class Leg:
    """So much of one asset."""

    symbol: str
    amount_raw: int


@dataclass(frozen=True)
class Opening:
    """One borrower to be, or that is: what is supplied, what is borrowed, in which e-mode (0: none)."""

    borrower: Address
    kind: str
    collateral: tuple[Leg, ...]
    debt: tuple[Leg, ...]
    emode_id: int = 0


Prices = Mapping[str, int]
"""By symbol: base currency per whole token."""


def plan_positions(n: int, seed: int, prices: Prices, emode_collateral_only: Sequence[str] = ()) -> list[Opening]:
    """`n` varied borrowers, the same for the same arguments.

    `emode_collateral_only` names assets that are collateral in the stablecoin e-mode alone, where the version has such.
    """
    rng = random.Random(f"positions {seed}")
    return [_plan_one(rng, f"{seed}/{index}", prices, emode_collateral_only) for index in range(n)]


def value_base(amount_raw: int, price_base: int, decimals: int) -> int:
    """Worth of an amount in base currency, rounded down."""
    unit: int = 10**decimals
    return amount_raw * price_base // unit


def amount_of(value: int, price_base: int, decimals: int) -> int:
    """The raw amount worth `value` base currency, rounded down, at least one unit."""
    unit: int = 10**decimals
    return max(1, value * unit // price_base)


def _plan_one(rng: random.Random, name: str, prices: Prices, emode_only: Sequence[str]) -> Opening:
    mode = rng.choices((None, ETH_EMODE, STABLE_EMODE), weights=(78, 12, 10))[0]
    collateral, debt = _symbols(rng, mode, emode_only)
    low, high = _weighted(rng, _SIZES_USD)
    total_base = rng.randrange(low * USD, high * USD)
    collateral_legs = _split(rng, total_base, collateral, prices)
    health_bps = rng.randrange(*_weighted(rng, _HEALTHS_BPS))
    counted = sum(
        value_base(leg.amount_raw, prices[leg.symbol], asset_spec(leg.symbol).decimals)
        * threshold_bps(leg.symbol, mode)
        for leg in collateral_legs
    )
    debt_legs = _split(rng, counted // health_bps, debt, prices)
    kind = mode.label if mode else ("short" if collateral[0] in _STABLE else "long")
    return Opening(
        salted_address(f"borrower {name}"), kind, collateral_legs, debt_legs, mode.category_id if mode else 0
    )


def threshold_bps(symbol: str, mode: EModeSpec | None) -> int:
    """The liquidation threshold that counts for this asset in this e-mode."""
    if mode is not None and symbol in mode.collateral:
        return mode.threshold_bps
    return asset_spec(symbol).threshold_bps


def _symbols(rng: random.Random, mode: EModeSpec | None, emode_only: Sequence[str]) -> tuple[list[str], list[str]]:
    if mode is ETH_EMODE:
        extra = rng.choices(([], ["WBTC"], ["DAI"]), weights=(70, 20, 10))[0]
        return ["wstETH", *extra], ["WETH"]
    if mode is STABLE_EMODE:
        first = rng.choice([*emode_only, "USDC", "DAI"])
        debt = [symbol for symbol in ("USDC", "DAI") if symbol != first]
        extra = rng.choices(([], ["WETH"]), weights=(75, 25))[0]
        return [first, *extra], rng.sample(debt, rng.randint(1, len(debt)))
    pledge, owe = (_VOLATILE, _STABLE) if rng.randrange(100) < 80 else (_STABLE, _VOLATILE)
    pledged, owed = rng.choices((1, 2, 3), weights=(50, 35, 15))[0], rng.choices((1, 2), weights=(65, 35))[0]
    return rng.sample(pledge, pledged), rng.sample(owe, owed)


def _split(rng: random.Random, total_base: int, symbols: Sequence[str], prices: Prices) -> tuple[Leg, ...]:
    """Share a value out among assets, at random but none below a tenth of an even share."""
    weights = [rng.randrange(10, 100) for _ in symbols]
    legs = []
    for symbol, weight in zip(symbols, weights, strict=True):
        part = total_base * weight // sum(weights)
        legs.append(Leg(symbol, amount_of(part, prices[symbol], asset_spec(symbol).decimals)))
    return tuple(legs)


def _weighted(rng: random.Random, rows: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    low, high, _ = rng.choices(rows, weights=[row[2] for row in rows])[0]
    return low, high
