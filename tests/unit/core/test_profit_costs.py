"""Costs and earnings, by hand: every rounding is against us."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from keeper.core.selling.costs import AssetPrice, Costs, Earnings
from keeper.core.units import WAD, Address

USD = 10**8
USDC = AssetPrice(USD, 10**6)
WETH = AssetPrice(2_000 * USD, 10**18)
COSTS = Costs(400_000, 250_000, 10 * 10**9, 5 * 10**14, 500, WETH)
ASSET = Address(b"\1" * 20)


def earnings(proceeds_raw: int = 1_040_000_000, least_raw: int = 1_030_000_000) -> Earnings:
    return Earnings(
        debt_asset=ASSET,
        price=USDC,
        native=WETH,
        revenue_raw=1_050_000_000,
        proceeds_raw=proceeds_raw,
        least_proceeds_raw=least_raw,
        repaid_raw=1_000_000_000,
        premium_raw=COSTS.premium_raw(1_000_000_001),
        gas_wei=COSTS.gas_wei(2, 100_000),
        data_fee_wei=COSTS.data_fee_wei,
    )


def test_gas_is_of_all_calls_and_swaps_and_the_data_fee() -> None:
    assert COSTS.gas_wei(1, 0) == 400_000 * 10**10 + 5 * 10**14
    assert COSTS.gas_wei(3, 90_000) == 990_000 * 10**10 + 5 * 10**14


def test_a_premium_is_rounded_up() -> None:
    assert COSTS.premium_raw(1_000_000_000) == 500_000
    assert COSTS.premium_raw(1_000_000_001) == 500_001
    assert COSTS.premium_raw(0) == 0


def test_what_is_left() -> None:
    found = earnings()
    # 750,000 gas at 10 gwei and 0.0005 are 0.008 coins, 16 dollars.
    assert found.gas_raw == 16_000_000 and found.slippage_raw == 10_000_000
    assert found.net_raw == 40_000_000 - 500_001 - 16_000_000
    assert found.least_net_raw == found.net_raw - 10_000_000
    assert found.net_base == found.net_raw * 100
    assert found.net_wei == found.net_raw * 10**18 // (2_000 * 10**6)
    assert (
        found.revenue_raw - found.slippage_raw - found.repaid_raw - found.premium_raw - found.gas_raw == found.net_raw
    )
    assert found.least_gain_raw(7) == 16_000_007


def test_a_loss_is_rounded_up_in_the_coin() -> None:
    found = earnings(proceeds_raw=1_000_000_000)
    exact = Fraction(found.net_raw * USD * WAD, 10**6 * 2_000 * USD)
    assert found.net_raw < 0 and found.net_wei <= exact < found.net_wei + 1


def test_conversions_have_one_rounding_and_it_is_against_us() -> None:
    rng = random.Random("conversions")
    for _ in range(300):
        one, other = (AssetPrice(rng.randint(1, 10**13), 10 ** rng.choice((0, 2, 6, 8, 18))) for _ in range(2))
        amount_raw = rng.randint(-(10**20), 10**24)
        exact = Fraction(amount_raw * one.price_base * other.unit_raw, one.unit_raw * other.price_base)
        assert one.raw_in(other, amount_raw) <= exact < one.raw_in(other, amount_raw) + 1
        assert one.raw_in_ceil(other, amount_raw) - 1 < exact <= one.raw_in_ceil(other, amount_raw)


def test_the_price_of_gas_in_an_asset_is_rounded_up() -> None:
    # 10 gwei at 2,000 dollars: 0.00002 dollars, 20 raw units.
    assert COSTS.gas_price_wad(USDC) == 20 * WAD
    odd = Costs(1, 1, 1, 0, 0, WETH)
    assert odd.gas_price_wad(USDC) == 2 * 10**9  # 1 wei is 2e-9 raw units


@pytest.mark.parametrize("price_base, unit_raw", [(0, 1), (-1, 1), (1, 0)])
def test_no_price_is_no_asset_price(price_base: int, unit_raw: int) -> None:
    with pytest.raises(ValueError, match="is no price"):
        AssetPrice(price_base, unit_raw)
