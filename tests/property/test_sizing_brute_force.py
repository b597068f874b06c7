"""The sizer against every possible repayment of small positions: a local minimum, and how far from the global one."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from keeper.core.lending import Health, Pair, Position
from keeper.core.size import PairSizer, Scenario
from keeper.core.units import BPS, HEALTH_ONE_WAD, RAY, WAD
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import ReserveState, State
from tests.unit.protocols.aave_v3.builders import (
    LIQUIDATOR,
    NOW_S,
    make_config,
    make_position,
    make_reserve_state,
    make_state,
)

WINDOW_S = 24
POSITIONS = 50
ADAPTER = AaveV3()


@dataclass(frozen=True)
class Small:
    """A borrower below 1 whose debt has few enough units to try them all."""

    state: State
    position: Position
    pair: Pair
    target_wad: int
    healths: tuple[Health, ...]

    def sizer(self) -> PairSizer[Market, State]:
        return PairSizer(
            ADAPTER, self.state, self.pair, [Scenario(s, self.position) for s in (NOW_S, NOW_S + WINDOW_S)]
        )


def reserve(rng: random.Random, decimals: int, price_base: int, threshold_bps: int) -> ReserveState:
    return make_reserve_state(
        make_config(
            decimals=decimals,
            liquidation_threshold_bps=threshold_bps,
            ltv_bps=threshold_bps - 300,
            liquidation_bonus_bps=rng.choice([10_100, 10_450, 10_500, 10_850]),
            protocol_fee_bps=rng.choice([0, 1000]),
        ),
        price_base=price_base,
        liquidity_index_ray=RAY + rng.randint(0, RAY),
        liquidity_rate_ray=rng.randint(0, RAY // 20),
        variable_borrow_index_ray=RAY + rng.randint(0, RAY),
        variable_borrow_rate_ray=rng.randint(0, RAY // 10),
        last_update_s=NOW_S - rng.randint(0, 10**6),
    )


def draw(rng: random.Random, release: str) -> Small | None:
    """Two collaterals of different thresholds and decimals, one debt of 300 to 2,000 units; None when it is not below 1
    or no pair is usable."""
    unit_price = rng.randint(10**6, 10**9)
    units = rng.randint(300, 2_000)
    debt_base = unit_price * units
    reserves = {
        0: reserve(rng, rng.choice([0, 2, 6, 18]), rng.randint(10**7, 10**9), rng.randint(6000, 8800)),
        1: reserve(rng, 0, unit_price, 8000),
        2: reserve(rng, rng.choice([6, 18]), rng.randint(10**8, 10**11), rng.randint(6000, 8800)),
    }
    state = make_state(release, reserves)
    wanted_base = debt_base * rng.randint(1_110, 1_600) // 1_000
    share = rng.randint(20, 100)

    def scaled(reserve_id: int, base: int) -> int:
        price = reserves[reserve_id].price_base
        assert price is not None
        raw = base * 10 ** reserves[reserve_id].config.decimals // price
        return max(1, int(raw * RAY // reserves[reserve_id].liquidity_index_ray))

    collateral = {0: scaled(0, wanted_base * share // 100)}
    if share < 100:
        collateral[2] = scaled(2, wanted_base * (100 - share) // 100)
    position = make_position(collateral, {1: max(1, units * RAY // reserves[1].variable_borrow_index_ray)})
    healths = [ADAPTER.health(state, position, second) for second in (NOW_S, NOW_S + WINDOW_S)]
    if not all(
        isinstance(h, Health) and HEALTH_ONE_WAD * 9 // 10 < h.health_factor_wad < HEALTH_ONE_WAD for h in healths
    ):
        return None
    pairs = [p for p in ADAPTER.pairs(state, position, LIQUIDATOR, NOW_S) if isinstance(p, Pair)]
    if not pairs:
        return None
    target_wad = HEALTH_ONE_WAD + rng.randint(1, 60) * 10**15
    return Small(state, position, rng.choice(pairs), target_wad, tuple(h for h in healths if isinstance(h, Health)))


def quantum_raw(small: Small) -> int:
    """One price quantum in debt units: one raw unit of every leg and one base unit of every sum, as health sees them."""
    unit_base = sum(
        ADAPTER.value_base_floor(small.state, small.state.market.by_id[leg].asset, 1) or 1
        for leg in (*small.position.collateral_scaled, *small.position.debt_scaled)
    )
    noise_base = unit_base + 2 + len(small.position.collateral_scaled)
    slope = small.target_wad * BPS * BPS // WAD - small.pair.bonus_bps * small.pair.threshold_bps
    if ADAPTER.health_is_floored(small.state):
        noise_base += 2  # the weighted sum is rounded to whole base units once more
    raw = ADAPTER.raw_from_base_ceil(small.state, small.pair.debt_asset, -(-noise_base * BPS * BPS // max(1, slope)))
    assert raw is not None
    return raw


@pytest.mark.parametrize("release", ["3.0.2", "3.3", "3.6", "3.7"])
def test_the_size_is_a_local_minimum_within_a_quantum_of_the_global_one(release: str) -> None:
    rng = random.Random(f"brute force {release}")
    tried, gaps, quanta = 0, [], []
    while tried < POSITIONS:
        small = draw(rng, release)
        if small is None:
            continue
        sizer = small.sizer()

        def reaches(
            request_raw: int, sizer: PairSizer[Market, State] = sizer, target_wad: int = small.target_wad
        ) -> bool:
            health = sizer.health_wad(request_raw)
            return health is not None and health >= target_wad

        owed = max(small.position.debt_scaled.values()) * 3
        best = next((x for x in range(1, owed) if reaches(x)), None)
        found = sizer.least_reaching(small.target_wad, small.healths)
        assert (found is None) == (best is None), small
        if found is None or best is None:
            continue
        tried += 1
        assert reaches(found) and not reaches(found - 1)
        gaps.append(found - best)
        quanta.append(quantum_raw(small))
        assert found - best <= quanta[-1], small
    print(f"{release}: {tried} positions, exact in {gaps.count(0)}, largest gap {max(gaps)} units")  # noqa: T201
