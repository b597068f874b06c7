"""Quotes and objectives on random markets: what one costs, and how near to the best `max_profit` comes.

Pools are values here; that they answer as the contracts do is for the tests to show. The best is a scan over pairs, sizes,
paths and splits, which is coarser than what is looked for and so may be beaten.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from functools import partial

from keeper.core.block import Call, CallResult
from keeper.core.selling.deal import Dealt
from keeper.core.selling.objective import MaxProfit, Objective, Restore, choose
from keeper.core.selling.split import best_sale
from keeper.core.units import UINT256_MAX
from keeper.routes.discover import Watch
from keeper.routes.v3_pool import V3Pool, V3Token
from keeper.routes.v3_reads import MOST_TICKS, V3Watch
from keeper.routes.watching import WatchedPools
from tests.bench import measure
from tests.property.test_max_profit import Scan
from tests.routes.states import Drawn, draw
from tests.routes.test_venues import bitmaps, state
from tests.routes.test_venues import ticks as ticks_of
from tests.unit.protocols.aave_v3.builders import address

MARKETS = 60
QUOTES = 2_000
FORTY = 40


def main() -> None:
    rng = random.Random("bench routes")
    markets = [draw(rng) for _ in range(MARKETS)]
    head_reads()
    quotes(markets)
    kinds: tuple[tuple[str, Objective], ...] = (("restore", Restore()), ("max_profit", MaxProfit()))
    for name, objective in kinds:
        took = [timed(partial(chosen, one, objective)) for one in markets]
        figures = f"{1e3 * statistics.median(took):.1f} ms, p90 {1e3 * measure.quantile(took, 0.9):.1f} ms"
        measure.record("routes", f"{name}: plan, route and earnings of one borrower, p50", figures)
    nearness(markets)


def head_reads() -> None:
    """What a head takes for reading all pools of a market, whoever is below 1: our own time, and how much is asked."""
    for ticks in (20, MOST_TICKS):
        pools = WatchedPools([])
        shown = {*range(-ticks // 2, ticks // 2)}
        fixed = [V3Token(address(0xF0000 + n), address(n), address(1_000 + n), 500, 10) for n in range(FORTY)]
        pools._watches = {each.address: V3Watch(each) for each in fixed}
        wanted = [(each.token0, each.token1) for each in fixed]
        calls: tuple[Call, ...] = ()
        took_s = 0.0
        for _ in range(3):  # price, bitmap, ticks
            begun_s = time.process_time()
            reads = pools.encode(wanted)
            calls = reads.calls
            encoded_s = time.process_time() - begun_s
            results = [result for watch in reads.watches for result in answers(watch, shown)]
            begun_s = time.process_time()
            pools.decode(reads, results)
            took_s = encoded_s + time.process_time() - begun_s
        what = f"a head's reads of {FORTY} V3 pools, {ticks} ticks each: {len(calls)} calls, to write and to read"
        assert len(pools.encode(wanted).calls) == len(calls), "everything is known"
        measure.record("routes", what, f"{1e3 * took_s:.1f} ms")


def answers(watch: Watch, shown: set[int]) -> list[CallResult]:
    assert isinstance(watch, V3Watch)
    return [*state(), *bitmaps(watch, shown), *ticks_of(*(1 if index < 0 else -1 for index in watch.indexes))]


def quotes(markets: list[Drawn]) -> None:
    pools = [pool for one in markets for pool in one.terms.exchange.pools if isinstance(pool, V3Pool)]
    asked = [(pool, pool.fixed.token0, max(1, pool.liquidity // 10**6)) for pool in pools][:QUOTES]
    for pool, token, amount_raw in asked:
        pool.sell(token, amount_raw)
    begun_s = time.process_time()
    for pool, token, amount_raw in asked:
        pool.sell(token, amount_raw)
    each_us = 1e6 * (time.process_time() - begun_s) / len(asked)
    measure.record("routes", "one V3 quote, its ticks known", f"{each_us:.1f} µs")
    took = []
    for one in markets:
        found = chosen(one, MaxProfit(-UINT256_MAX))
        for route in (route for deal in found.deals for route in deal.routes) if isinstance(found, Dealt) else ():
            paths = one.terms.exchange.paths(route.token_in, route.token_out)
            gas_price_wad = one.terms.costs.gas_price_wad(one.terms.prices[route.token_out])
            took.append(timed(partial(best_sale, paths, route.amount_in_raw, gas_price_wad)))
    best_ms = 1e3 * statistics.median(took)
    measure.record("routes", "best of direct, two-hop and split routes, p50", f"{best_ms:.2f} ms")


def timed(work: Callable[[], object]) -> float:
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s


def chosen(one: Drawn, objective: Objective) -> object:
    return choose(objective, one.planner(), one.position, one.terms)


def nearness(markets: list[Drawn]) -> None:
    worst, compared = 0, 0
    for one in markets:
        best_base = Scan(one).best_base()
        found = chosen(one, MaxProfit())
        if best_base is not None and best_base > 0 and isinstance(found, Dealt):
            compared += 1
            worst = max(worst, (best_base - found.net_base) * 10**6 // best_base)
    what = f"max_profit below the scan's best, worst of {compared} markets"
    measure.record("routes", what, f"{worst} ppm", "1000 ppm", met=worst <= 1_000)
