"""The recorded answers of each release's own libraries, as our values. Format: tests/vectors/README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keeper.core.lending import Position
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.profile import KNOWN, Features
from keeper.protocols.aave_v3.state import State
from tests.unit.protocols.aave_v3.builders import make_config, make_position, make_reserve_state, make_state

FOLDER = Path(__file__).parents[3] / "vectors" / "aave_v3"
RELEASES = {"3.0": "3.0.2"} | {release: release for release in ("3.1", "3.2", "3.3", "3.4", "3.5", "3.7")}
"""File name → release of the profile under test."""

Case = dict[str, Any]


def load(name: str) -> dict[str, list[Case]]:
    content: dict[str, list[Case]] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


def account_case(release: str, case: Case) -> tuple[State, Position, Mapping[int, int]]:
    """State, position and the debt that is not a scaled balance, of one recorded account."""
    features = KNOWN[release].features
    assets = [reserve["asset"] for reserve in case["reserves"]]
    prices = {asset: int(price) for asset, price in case["prices_base"].items()}
    bitmap = int(case["user_configuration_bitmap"])
    borrowed = [i for i in range(len(assets)) if bitmap >> 2 * i & 1]
    enabled = [i for i in range(len(assets)) if bitmap >> 2 * i + 1 & 1]
    extra_debt: dict[int, int] = {}
    debt: dict[int, int] = {}
    for i in borrowed:
        reserve = case["reserves"][i]
        debt[i] = int(reserve["scaled_variable_debt_raw"])
        if features <= Features.V3_1:
            extra_debt[i] = int(reserve["stable_debt_raw"])
        elif features is Features.V3_3 and not reserve["virtual_accounting"]:
            debt[i], extra_debt[i] = 0, int(reserve["variable_debt_balance_raw"])
    reserves = {
        i: make_reserve_state(
            make_config(
                ltv_bps=int(reserve["ltv_bps"]),
                liquidation_threshold_bps=int(reserve["liquidation_threshold_bps"]),
                decimals=int(reserve["decimals"]),
                category=int(reserve["emode_category"]) if features <= Features.V3_1 else 0,
            ),
            price_base=prices[reserve["asset"]],
            liquidity_index_ray=int(reserve["liquidity_index_ray"]),
            liquidity_rate_ray=int(reserve["liquidity_rate_ray"]),
            variable_borrow_index_ray=int(reserve["variable_borrow_index_ray"]),
            variable_borrow_rate_ray=int(reserve["variable_borrow_rate_ray"]),
            last_update_s=int(reserve["last_update_s"]),
        )
        for i, reserve in enumerate(case["reserves"])
    }
    state = make_state(
        release,
        reserves,
        [_category(int(key), emode) for key, emode in case["emodes"].items()],
        category_prices_base={
            int(key): prices.get(emode["price_source"], 0)
            for key, emode in case["emodes"].items()
            if emode["price_source"] and features <= Features.V3_1
        },
        timestamp_s=int(case["timestamp_s"]),
    )
    collateral = {i: int(reserve["scaled_collateral_raw"]) for i, reserve in enumerate(case["reserves"])}
    position = make_position(collateral, debt, enabled=enabled, category=int(case["user_emode"]))
    return state, position, extra_debt


def _category(category_id: int, emode: Case) -> Category:
    return Category(
        id=category_id,
        ltv_bps=int(emode["ltv_bps"]),
        liquidation_threshold_bps=int(emode["liquidation_threshold_bps"]),
        liquidation_bonus_bps=int(emode["liquidation_bonus_bps"]),
        collateral_bitmap=int(emode["collateral_bitmap"]),
        zero_ltv_bitmap=int(emode["ltvzero_bitmap"]),
        isolated=bool(int(emode["isolated"])),
    )
