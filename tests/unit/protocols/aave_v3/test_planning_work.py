"""Anybody can hold and owe a little of every asset: planning such a position must not hold up everybody else's."""

from __future__ import annotations

from collections import Counter

import pytest

from keeper.core.lending import Pair, Position, Quote, Refusal
from keeper.core.plan import Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.units import RAY
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.state import State
from tests.unit.protocols.aave_v3.builders import (
    LIQUIDATOR,
    NOW_S,
    PROVIDER,
    make_config,
    make_position,
    make_reserve_state,
    make_state,
)

UNIT = 10**18


class CountingAdapter(AaveV3):
    """The real adapter; counts what a planner asks of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def quote_liquidation(
        self, state: State, position: Position, pair: Pair, debt_to_cover_raw: int, timestamp_s: int
    ) -> Quote | Refusal:
        self.asked["quotes"] += 1
        return super().quote_liquidation(state, position, pair, debt_to_cover_raw, timestamp_s)

    def allowed_debt_to_cover(
        self, state: State, position: Position, pair: Pair, timestamp_s: int
    ) -> list[tuple[int, int]]:
        self.asked["bounds"] += 1
        return list(super().allowed_debt_to_cover(state, position, pair, timestamp_s))


@pytest.mark.parametrize("release", ["3.0.2", "3.6"])
@pytest.mark.parametrize("assets", [6, 40])
def test_the_work_hardly_grows_with_the_assets(release: str, assets: int) -> None:
    reserves = {
        i: make_reserve_state(
            make_config(liquidation_threshold_bps=7_500 + 13 * i),
            variable_borrow_index_ray=RAY * 11 // 10,
            variable_borrow_rate_ray=RAY // 20,
        )
        for i in range(assets)
    }
    state = make_state(release, reserves)
    collateral = {i: UNIT * (100 + i) for i in range(assets)}
    owed = sum(collateral.values()) * 78 // 97 // assets * 10 // 11
    adapter = CountingAdapter()
    window = Window(NOW_S, NOW_S + 24)
    planner = Planner(adapter, state, PROVIDER, state.block, window, LIQUIDATOR, PlanPolicy())
    planner.plan(make_position(collateral, dict.fromkeys(range(assets), owed)))
    assert 0 < adapter.asked["quotes"] < 15_000
    assert 0 < adapter.asked["bounds"] < 10_000
