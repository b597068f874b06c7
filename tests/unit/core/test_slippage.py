"""Limits from depth, splits and steps, on pools that can be worked out by hand."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from keeper.core.selling.costs import AssetPrice
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.route import route_of_purchase, route_of_sale
from keeper.core.selling.slippage import SlippagePolicy, increased, lessened
from keeper.core.selling.split import Splitting, best_purchase, best_sale
from keeper.core.swap import StepKind
from keeper.core.units import WAD, Address
from keeper.routes.v2_pair import V2Pair
from keeper.routes.v3_pool import V3Pool, V3Token
from tests.routes.states import NATIVE, draw_pool, draw_v3

A, B, WAY = (Address(bytes([number]) * 20) for number in (0xA, 0xB, 0xC))
POLICY = SlippagePolicy(10, 100)


def pair(number: int, first: Address, second: Address, depth: int, fee_bps: int = 30) -> V2Pair:
    low, high = sorted((first, second))
    return V2Pair(Address(bytes([number]) * 20), low, high, fee_bps, depth, depth)


def test_a_limit_is_what_the_same_amount_brings_again_and_a_little() -> None:
    assert POLICY.tolerance_bps(10_000, 10_000) == 10
    assert POLICY.tolerance_bps(10_000, 9_980) == 30
    assert POLICY.tolerance_bps(10_001, 9_980) == 31  # rounded up
    assert POLICY.tolerance_bps(10_000, 5_000) == 100
    assert POLICY.tolerance_bps(10_000, None) == 100
    assert POLICY.tolerance_bps(10_000, 10_050) == 10
    for least, most in ((5, 4), (-1, 5), (5, 10_000)):
        with pytest.raises(ValueError):
            SlippagePolicy(least, most)
    assert (lessened(1_001, 10), increased(1_001, 10)) == (999, 1_003)


def test_equal_pools_share_equally() -> None:
    exchange = Exchange((pair(1, A, B, 10**24), pair(2, A, B, 10**24)))
    sale = best_sale(exchange.paths(A, B), 10**22, 0)
    assert sale is not None and len(sale.legs) == 2 and sale.amount_in_raw == 10**22
    one, other = (leg.amount_in_raw for leg in sale.legs)
    assert abs(one - other) <= 10**22 >> 12


def test_gas_decides_how_many_legs_there_are() -> None:
    exchange = Exchange((pair(1, A, B, 10**24), pair(2, A, B, 10**24)))
    dear = best_sale(exchange.paths(A, B), 10**22, 10**15 * WAD)
    assert dear is not None and len(dear.legs) == 1


def test_there_are_no_more_legs_than_asked_for() -> None:
    exchange = Exchange(tuple(pair(number, A, B, 10**24) for number in range(1, 6)))
    legs = [best_sale(exchange.paths(A, B), 10**22, 0, most) for most in range(4)]
    assert legs[0] is None
    assert [len(sale.legs) for sale in legs[1:] if sale is not None] == [1, 2, 3]


def test_paths_of_one_split_share_no_pool() -> None:
    pools = (pair(1, A, WAY, 10**22), pair(2, WAY, B, 10**22), pair(3, A, B, 10**21), pair(4, A, WAY, 10**22))
    exchange = Exchange(pools, (WAY,))
    assert len(exchange.paths(A, B)) == 3
    sale = best_sale(exchange.paths(A, B), 10**21, 0)
    assert sale is not None
    used = [filled.after.address for filled in sale.fills]
    assert len(used) == len(set(used))


def test_what_no_pool_takes_is_not_sold() -> None:
    assert best_sale([], 5, 0) is None
    exchange = Exchange((pair(1, A, B, 10**24),))
    assert best_sale(exchange.paths(A, B), 0, 0) is None
    assert best_sale(exchange.paths(A, B), 2**113, 0) is None


def test_a_split_is_as_good_as_a_scan_of_all_splits() -> None:
    rng = random.Random("splits")
    prices = {A: AssetPrice(2_000 * 10**8, 10**18), B: AssetPrice(10**8, 10**6)}
    for _ in range(40):
        pools = tuple(draw_pool(rng, number, A, B, prices) for number in range(2))
        paths = Exchange(pools).paths(A, B)
        amount_raw = int(10 ** rng.uniform(16, 22))
        sale = best_sale(paths, amount_raw, 0)
        outs = []
        for share in range(257):
            given = amount_raw * share // 256
            parts = [path.sell(each) for path, each in zip(paths, (given, amount_raw - given), strict=True) if each]
            if all(part is not None for part in parts):
                outs.append(sum(part[-1].amount_out_raw for part in parts if part is not None))
        assert (sale is None) == (not outs)
        if sale is not None:
            assert sale.amount_out_raw * 1_000_000 >= max(outs) * 999_999
            assert sale.amount_in_raw == amount_raw


def test_the_grid_of_a_split_is_concave() -> None:
    rng = random.Random("concave")
    prices = {A: NATIVE, B: AssetPrice(10**8, 10**18)}
    for _ in range(20):
        pools = tuple(draw_pool(rng, number, A, B, prices) for number in range(3))
        splitting = Splitting(Exchange(pools).paths(A, B), 10**20, 0)
        for division in splitting.divisions:
            gains = [after - before for before, after in pairwise(division.out_raw)]
            # Single units are rounded on the way: a handful may go either way.
            assert all(later <= sooner + 20 for sooner, later in pairwise(gains))


def test_steps_of_a_split_have_a_limit_each_and_the_last_takes_the_rest() -> None:
    exchange = Exchange((even(1, A, B, 3_000), even(2, A, WAY, 500), even(3, WAY, B, 500)), (WAY,))
    sale = best_sale(exchange.paths(A, B), 10**22, 0)
    assert sale is not None and [len(leg.path.hops) for leg in sale.legs] == [1, 2]
    route = route_of_sale("pools", A, B, sale, POLICY)
    sold = [step for step in route.steps if step.token_in == A]
    assert sold[0].amount_raw == sale.legs[0].amount_in_raw
    assert sold[-1].amount_raw == 2 * sale.legs[-1].amount_in_raw, "room for what comes in besides"
    assert route.amount_out_raw * 9_899 // 10_000 <= route.least_out_raw < route.amount_out_raw * 9_991 // 10_000
    assert all(step.kind is StepKind.POOL_V3 and step.limit_raw for step in route.steps)


def test_an_exact_output_is_bought_where_it_takes_least() -> None:
    rng = random.Random("purchase")
    prices = {A: NATIVE, B: AssetPrice(10**8, 10**6)}
    drawn = [draw_v3_pool(rng, number, A, B, prices) for number in range(3)]
    paths = Exchange((*drawn, pair(9, A, B, 10**30))).paths(A, B)
    leg = best_purchase(paths, 5_000 * 10**6, 0)
    assert leg is not None and leg.path.takes_exact_orders
    costs = [found[0].amount_in_raw for path in paths[:3] if (found := path.buy(5_000 * 10**6)) is not None]
    assert leg.amount_in_raw == min(costs)
    made = route_of_purchase("pools", A, B, leg, 10**19, POLICY)
    assert made is not None
    route, fills = made
    assert route.least_out_raw == 5_000 * 10**6 == fills[-1].amount_out_raw
    assert route.amount_in_raw <= route.most_in_raw <= increased(route.amount_in_raw, 100)
    assert route_of_purchase("pools", A, B, leg, leg.amount_in_raw - 1, POLICY) is None


def even(number: int, first: Address, second: Address, fee: int) -> V3Pool:
    """At a price of 1, a million deep on either side."""
    fixed = V3Token(Address(bytes([number]) * 20), min(first, second), max(first, second), fee, 10)
    return draw_v3(random.Random("no ranges 2"), fixed, 10**24, 10**24)


def draw_v3_pool(
    rng: random.Random, number: int, first: Address, second: Address, prices: dict[Address, AssetPrice]
) -> V3Pool:
    """Deep enough for some thousand dollars."""
    while True:
        pool = draw_pool(rng, number, first, second, prices)
        if isinstance(pool, V3Pool) and pool.liquidity > 10**17:
            return pool
