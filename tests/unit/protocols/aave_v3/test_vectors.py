"""Every recorded answer of every release, to the wei."""

from __future__ import annotations

import pytest

from keeper.core.lending import Health
from keeper.protocols.aave_v3.math import compounded_interest_ray
from keeper.protocols.aave_v3.profile import KNOWN
from keeper.protocols.aave_v3.valuation import value_account
from tests.unit.protocols.aave_v3.vectors import RELEASES, account_case, load

each_release = pytest.mark.parametrize("name", RELEASES)


@each_release
def test_account_valuations(name: str) -> None:
    cases = load(name)["accounts"]
    assert len(cases) >= 40
    for number, case in enumerate(cases):
        state, position, extra_debt_raw = account_case(RELEASES[name], case)
        health = value_account(state.at(int(case["timestamp_s"])), position, extra_debt_raw)
        expected = case["expected"]
        assert isinstance(health, Health), (name, number, health)
        assert {
            "total_collateral_base": health.collateral_base,
            "total_debt_base": health.debt_base,
            "average_ltv_bps": health.ltv_bps,
            "average_liquidation_threshold_bps": health.liquidation_threshold_bps,
            "health_factor_wad": health.health_factor_wad,
        } == {key: int(value) for key, value in expected.items() if key != "has_zero_ltv_collateral"}, (name, number)


@each_release
def test_compounded_interest(name: str) -> None:
    cases = load(name)["compounded"]
    assert len(cases) >= 100
    features = KNOWN[RELEASES[name]].features
    for case in cases:
        factor_ray = compounded_interest_ray(features, int(case["rate_ray"]), int(case["elapsed_s"]))
        assert factor_ray == int(case["factor_ray"]), (name, case)
