"""A call is looked at in a few seconds of its window where these tell all of them: the size is that of looking at every one."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from keeper.core.lending import Health, Pair, Position, Refusal
from keeper.core.plan import Window
from keeper.core.size import Scenario
from keeper.core.sizing import Sizing
from keeper.core.units import HEALTH_ONE_WAD, RAY
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
CASES = 40
ADAPTER = AaveV3()
USD = 10**8


@dataclass(frozen=True)
class Case:
    """A borrower below 1 at both ends of the window."""

    state: State
    position: Position
    pair: Pair
    target_wad: int

    def sizing(self, kind: type[Sizing[Market, State]] = Sizing) -> Sizing[Market, State]:
        return kind(ADAPTER, self.state, Window(NOW_S, NOW_S + WINDOW_S), self.position)


class EverySecond(Sizing[Market, State]):
    """Looks at each second by itself."""

    def _telling(
        self, between: list[Scenario], pair: Pair, request_raw: int, target_wad: int, healths: tuple[Health, ...]
    ) -> list[Scenario]:
        return between


class Counting(Sizing[Market, State]):
    """Knows whether it was spared any second."""

    spared = False

    def _telling(
        self, between: list[Scenario], pair: Pair, request_raw: int, target_wad: int, healths: tuple[Health, ...]
    ) -> list[Scenario]:
        found = super()._telling(between, pair, request_raw, target_wad, healths)
        self.spared |= len(found) < len(between)
        return found


def reserve(rng: random.Random) -> ReserveState:
    """From coins of which a unit is worth nothing to those of which it is worth dollars; interest up to 200 % a year."""
    decimals, price_base = rng.choice(
        [(18, 2_000 * USD), (18, USD), (6, USD), (18, USD // 10**5)]
        if rng.random() < 0.8
        else [(8, 60_000 * USD), (2, USD), (0, 3 * USD)]
    )
    most_ray = rng.choice([RAY // 1_000, RAY // 20, 2 * RAY])
    return make_reserve_state(
        make_config(
            decimals=decimals,
            liquidation_threshold_bps=rng.randint(6_000, 8_800),
            liquidation_bonus_bps=rng.choice([10_100, 10_500, 10_850]),
            protocol_fee_bps=rng.choice([0, 1_000]),
        ),
        price_base=price_base * rng.randint(900, 1_100) // 1_000,
        liquidity_index_ray=RAY + rng.randint(0, RAY),
        liquidity_rate_ray=rng.randint(0, most_ray),
        variable_borrow_index_ray=RAY + rng.randint(0, RAY),
        variable_borrow_rate_ray=rng.randint(0, most_ray),
        last_update_s=NOW_S - rng.choice([0, rng.randint(0, 10**6)]),
    )


def draw(rng: random.Random, release: str) -> Case | None:
    reserves = {number: reserve(rng) for number in range(rng.randint(2, 4))}
    state = make_state(release, reserves)
    if rng.random() < 0.3:  # prices that move by the second
        prices = {
            key: price and price * rng.randint(9_990, 10_010) // 10_000 for key, price in state.prices_base().items()
        }
        state = state.with_later_prices(NOW_S + WINDOW_S, prices)
    debt_base = rng.choice([1_000, 2_000, 3_990, 50_000, 10**6]) * USD * rng.randint(990, 1_010) // 1_000
    wanted_base = debt_base * rng.randint(1_110, 1_600) // 1_000
    debt_id, *collateral_ids = rng.sample(sorted(reserves), len(reserves))

    def scaled(number: int, base: int, index_ray: int) -> int:
        price_base = reserves[number].price_base
        assert price_base is not None
        raw = base * int(10 ** reserves[number].config.decimals) // price_base
        return max(1, raw * RAY // index_ray)

    pledged = {each: wanted_base // len(collateral_ids) for each in collateral_ids}
    position = make_position(
        {each: scaled(each, base, reserves[each].liquidity_index_ray) for each, base in pledged.items()},
        {debt_id: scaled(debt_id, debt_base, reserves[debt_id].variable_borrow_index_ray)},
    )
    healths = [ADAPTER.health(state, position, second) for second in (NOW_S, NOW_S + WINDOW_S)]
    if not all(isinstance(each, Health) and each.health_factor_wad < HEALTH_ONE_WAD for each in healths):
        return None
    pairs = [pair for pair in ADAPTER.pairs(state, position, LIQUIDATOR, NOW_S) if isinstance(pair, Pair)]
    target_wad = HEALTH_ONE_WAD + rng.choice([0, rng.randint(1, 60) * 10**15])
    return Case(state, position, rng.choice(pairs), target_wad) if pairs else None


@pytest.mark.parametrize("release, cases", [("3.0.2", 4), ("3.6", CASES), ("3.7", CASES)])
def test_the_size_is_the_same_as_with_every_second_looked_at(release: str, cases: int) -> None:
    rng = random.Random(f"seconds {release}")
    sized, spared = 0, 0
    while sized < cases:
        case = draw(rng, release)
        if case is None:
            continue
        few, all_of_them = case.sizing(Counting), case.sizing(EverySecond)
        assert isinstance(few, Counting)
        found = few.least_call(case.pair, few.start, case.target_wad, ())
        assert found == all_of_them.least_call(case.pair, all_of_them.start, case.target_wad, ()), case
        if found is None:
            continue
        sized += 1
        spared += few.spared
        for second in range(NOW_S, NOW_S + WINDOW_S + 1):
            quote = ADAPTER.quote_liquidation(case.state, case.position, case.pair, found.request_raw, second)
            assert not isinstance(quote, Refusal) and quote.health_after.health_factor_wad >= case.target_wad
    assert spared > cases // 5 if release != "3.0.2" else spared == 0, spared
