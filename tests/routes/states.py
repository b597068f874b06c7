"""Random markets with borrowers below 1 and pools to sell their collateral in. Values only, no chain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from keeper.core.block import BlockRef
from keeper.core.lending import Health, Position
from keeper.core.plan import Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.selling.costs import AssetPrice, Costs
from keeper.core.selling.deal import Terms
from keeper.core.selling.exchange import Exchange
from keeper.core.swap import Pool
from keeper.core.units import HEALTH_ONE_WAD, RAY, Address
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import ReserveState, State
from keeper.routes.v2_pair import V2Pair
from keeper.routes.v3_pool import Ticks, V3Pool, V3Token
from keeper.routes.v3_price import sqrt_price_at, tick_at
from tests.unit.protocols.aave_v3.builders import (
    LIQUIDATOR,
    NOW_S,
    POOL,
    address,
    make_block,
    make_config,
    make_position,
    make_reserve_state,
    make_state,
)

ADAPTER = AaveV3()
USD = 10**8
WINDOW = Window(NOW_S, NOW_S + 24)
WAY = address(0x3A9)
SPACINGS = {100: 1, 500: 10, 3_000: 60, 10_000: 200}
NATIVE = AssetPrice(2_000 * USD, 10**18)


@dataclass(frozen=True)
class Drawn:
    """One borrower below 1, and what selling its collateral takes."""

    state: State
    position: Position
    terms: Terms

    def planner(self, policy: PlanPolicy | None = None) -> Planner[Market, State]:
        block: BlockRef = make_block()
        return Planner(ADAPTER, self.state, POOL, block, WINDOW, LIQUIDATOR, policy or PlanPolicy())


def draw(rng: random.Random) -> Drawn:
    """One or two collaterals and debts; each may be sold in a few pools, thin and deep, directly or through another token."""
    while True:
        collaterals, debts = rng.choice(((1, 1), (1, 1), (2, 1), (1, 2), (2, 2)))
        reserves = {reserve_id: _reserve(rng) for reserve_id in range(collaterals + debts)}
        state = make_state(rng.choice(["3.0.2", "3.3", "3.6", "3.7"]), reserves)
        position = _position(rng, state, range(collaterals), range(collaterals, collaterals + debts))
        healths = [ADAPTER.health(state, position, second) for second in (WINDOW.earliest_s, WINDOW.latest_s)]
        if all(isinstance(each, Health) and each.health_factor_wad < HEALTH_ONE_WAD for each in healths):
            return Drawn(state, position, _terms(rng, state, collaterals, debts))


def _reserve(rng: random.Random) -> ReserveState:
    threshold_bps = rng.randint(6_000, 8_800)
    return make_reserve_state(
        make_config(
            decimals=rng.choice([6, 8, 18]),
            liquidation_threshold_bps=threshold_bps,
            ltv_bps=threshold_bps - 300,
            liquidation_bonus_bps=rng.choice([10_200, 10_450, 10_500, 10_850, 11_000]),
            protocol_fee_bps=rng.choice([0, 1_000]),
        ),
        price_base=rng.choice([USD, rng.randint(USD // 2, 5 * USD), rng.randint(500 * USD, 90_000 * USD)]),
        liquidity_index_ray=RAY + rng.randint(0, RAY // 2),
        liquidity_rate_ray=rng.randint(0, RAY // 20),
        variable_borrow_index_ray=RAY + rng.randint(0, RAY // 2),
        variable_borrow_rate_ray=rng.randint(0, RAY // 10),
        last_update_s=NOW_S - rng.randint(0, 10**5),
    )


def _position(rng: random.Random, state: State, collateral: Sequence[int], debt: Sequence[int]) -> Position:
    worth_base = int(10 ** rng.uniform(3, 7) * USD)

    def scaled(reserve_id: int, base: int, index_ray: int) -> int:
        reserve = state.reserves[reserve_id]
        assert reserve.price_base is not None
        raw = base * 10**reserve.config.decimals // reserve.price_base
        return int(max(1, raw * RAY // index_ray))

    parts = [rng.randint(1, 10) for _ in collateral]
    held = {each: worth_base * part // sum(parts) for each, part in zip(collateral, parts, strict=True)}
    weighted = sum(
        base * state.reserves[each].config.liquidation_threshold_bps // 10_000 for each, base in held.items()
    )
    owed_base = weighted * 1_000 // rng.randint(850, 998)
    shares = [rng.randint(1, 10) for _ in debt]
    return make_position(
        {each: scaled(each, base, state.reserves[each].liquidity_index_ray) for each, base in held.items()},
        {
            each: scaled(each, owed_base * share // sum(shares), state.reserves[each].variable_borrow_index_ray)
            for each, share in zip(debt, shares, strict=True)
        },
    )


def _terms(rng: random.Random, state: State, collaterals: int, debts: int) -> Terms:
    prices = {
        state.market.by_id[each].asset: AssetPrice(reserve.price_base or 0, 10**reserve.config.decimals)
        for each, reserve in state.reserves.items()
    }
    known = {**prices, WAY: AssetPrice(USD, 10**6)}
    owned = [state.market.by_id[each].asset for each in range(collaterals)]
    owed = [state.market.by_id[each].asset for each in range(collaterals, collaterals + debts)]
    pools: list[Pool] = []
    for token_in in owned:
        for token_out in owed:
            for _ in range(rng.choice((1, 2, 3))):
                pools.append(draw_pool(rng, len(pools), token_in, token_out, known))
    if rng.random() < 0.7:
        for token in (*owned, *owed):
            for _ in range(rng.choice((1, 1, 2))):
                pools.append(draw_pool(rng, len(pools), token, WAY, known))
    costs = Costs(
        gas=400_000,
        more_gas=250_000,
        fee_per_gas_wei=rng.randint(1, 60) * 10**9,
        data_fee_wei=rng.choice([0, 10**14]),
        premium=rng.choice([0, 500, 3_000]),
        native=NATIVE,
    )
    return Terms(Exchange(tuple(pools), (WAY,)), prices, costs)


def draw_pool(
    rng: random.Random, number: int, first: Address, second: Address, prices: dict[Address, AssetPrice]
) -> Pool:
    """Up to half a percent off the oracle's price, ten thousand to a hundred million dollars deep."""
    token0, token1 = min(first, second), max(first, second)
    depth_base = int(10 ** rng.uniform(4, 8) * USD)
    raw0, raw1 = (depth_base * prices[each].unit_raw // prices[each].price_base for each in (token0, token1))
    raw1 = raw1 * rng.randint(9_950, 10_050) // 10_000
    where = address(0xF0000 + number)
    if rng.random() < 0.35:
        return V2Pair(where, token0, token1, rng.choice([25, 30]), raw0, raw1, rng.choice([0, 5]))
    fee = rng.choice(list(SPACINGS))
    return draw_v3(rng, V3Token(where, token0, token1, fee, SPACINGS[fee]), raw0, raw1)


def draw_v3(rng: random.Random, fixed: V3Token, raw0: int, raw1: int) -> V3Pool:
    """The liquidity of those reserves over the whole range, and some more in random ranges around the price."""
    sqrt_price_x96 = isqrt((raw1 << 192) // raw0)
    tick = tick_at(sqrt_price_x96)
    here, liquidity = tick // fixed.spacing, isqrt(raw0 * raw1)
    net: dict[int, int] = {}
    current = liquidity
    for _ in range(rng.randint(0, 8)):
        low = here + rng.randint(-2_000 // fixed.spacing, 1_500 // fixed.spacing)
        high = low + rng.randint(1, max(2, 1_500 // fixed.spacing))
        more = liquidity * rng.randint(1, 300) // 100
        net[low] = net.get(low, 0) + more
        net[high] = net.get(high, 0) - more
        if low <= here < high:
            current += more
    span = 4_000 // fixed.spacing
    indexes = tuple(sorted(net))
    ticks = Ticks(min(here - span, *net, here), max(here + span, *net, here), net, indexes)
    assert sqrt_price_at(tick) <= sqrt_price_x96
    return V3Pool(fixed, sqrt_price_x96, (tick, tick), current, ticks)
