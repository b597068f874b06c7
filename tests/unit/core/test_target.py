"""Target health: the default and its overrides."""

from __future__ import annotations

import pytest

from keeper.core.lending import Health
from keeper.core.target import TargetPolicy, default_target_wad
from keeper.core.units import WAD, Address

WETH = Address(b"\x01" * 20)
USDC = Address(b"\x02" * 20)


def health(threshold_bps: int, ltv_bps: int) -> Health:
    return Health(WAD, 1, 1, 0, threshold_bps, ltv_bps, 1)


@pytest.mark.parametrize(
    "threshold_bps, ltv_bps, expected_wad",
    [
        (8250, 8000, 8250 * WAD // 8000),
        (8000, 7500, 105 * WAD // 100),
        (9300, 9290, 1005 * WAD // 1000),
        (7800, 0, 105 * WAD // 100),
        (0, 0, 105 * WAD // 100),
    ],
)
def test_the_default_lies_between_its_bounds(threshold_bps: int, ltv_bps: int, expected_wad: int) -> None:
    assert default_target_wad(health(threshold_bps, ltv_bps)) == expected_wad


def test_the_narrowest_override_wins() -> None:
    policy = TargetPolicy(market_wad=11, category_wad={3: 12}, asset_wad={WETH: 13, USDC: 14})
    assert policy.target_wad(health(8250, 8000), 0, []) == 11
    assert policy.target_wad(health(8250, 8000), 3, []) == 12
    assert policy.target_wad(health(8250, 8000), 3, [WETH]) == 13
    assert policy.target_wad(health(8250, 8000), 3, [WETH, USDC]) == 14
