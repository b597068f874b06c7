"""The pools and the inventory behind one port; what a batch says, however odd, and what is made of it."""

from __future__ import annotations

import random

import pytest

from keeper.core.block import CallResult
from keeper.core.errors import Defect, QuoteError
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.swap import Wish
from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.devnet.uniswap import add_v3_liquidity, deploy_uniswap, open_v2_pair, open_v3_pool
from keeper.routes.pools import PoolsVenue
from keeper.routes.v3_pool import V3Pool, V3Token
from keeper.routes.v3_reads import MOST_TICKS, V3Watch
from keeper.routes.watching import WatchedPools
from tests.routes.on_chain import following, pool_at

WETH, USDC, POOL = (Address(bytes([number]) * 20) for number in (0xA1, 0xA2, 0xA3))
FIXED = V3Token(POOL, WETH, USDC, 500, 10)
PRICE_X96 = 1 << 96


def wish(least_out_raw: int = 0, amount_out_raw: int | None = None) -> Wish:
    return Wish(WETH, USDC, 10**18, amount_out_raw, 2_000 * 10**6, least_out_raw, 0)


def answer(*words: int) -> CallResult:
    return CallResult(ok=True, returndata=b"".join(word.to_bytes(32, "big", signed=word < 0) for word in words))


def state(price_x96: int = PRICE_X96, tick: int = 0, liquidity: int = 10**18) -> list[CallResult]:
    return [answer(price_x96, tick, 0, 0, 0, 0, 1), answer(liquidity)]


def warmed() -> V3Watch:
    """A watch that knows the price, and one position from tick −50 to 70."""
    _, watch = V3Watch(FIXED).decoded(state())
    _, watch = watch.decoded([*state(), *bitmaps(watch, {-5, 7})])
    assert watch.indexes == (-5, 7)
    return watch


def bitmaps(watch: V3Watch, indexes: set[int]) -> list[CallResult]:
    bits = {word: sum(1 << index % 256 for index in indexes if index // 256 == word) for word in watch.words}
    return [answer(bits[word]) for word in watch.words]


def ticks(*net: int) -> list[CallResult]:
    return [answer(abs(each), each, 0, 0, 0, 0, 0, 1) for each in net]


def test_a_tick_that_is_new_bounds_what_is_known_until_the_next_batch() -> None:
    watch = warmed()
    pool, _ = watch.decoded([*state(), *bitmaps(watch, {-5, 7}), *ticks(10**17, -(10**17))])
    assert pool is not None and pool.ticks.indexes == (-5, 7)
    far = pool.sell(USDC, 10**16)
    assert far is not None
    pool, following_watch = watch.decoded([*state(), *bitmaps(watch, {-5, 3, 7}), *ticks(10**17, -(10**17))])
    assert pool is not None and pool.ticks.indexes == (-5, 3, 7)
    assert pool.sell(USDC, 10**16) is None
    near = pool.sell(USDC, 10**14)
    assert near is not None and near.amount_out_raw > 9 * 10**13
    # Up to the very unit that would reach it: half a bp of the price for each basis point of ticks.
    room = max(amount for amount in range(10**15, 3 * 10**15, 10**12) if pool.sell(USDC, amount) is not None)
    assert 1_400 * 10**12 < room < 1_600 * 10**12 and pool.buy(USDC, 2 * 10**15) is None
    assert following_watch.indexes == (-5, 3, 7)


def test_a_price_that_left_what_was_read_is_found_again() -> None:
    watch = warmed()
    away = [*state(tick=40_000), *bitmaps(watch, {-5, 7}), *ticks(1, -1)]
    pool, watch = watch.decoded(away)
    assert pool is None and 40_000 // 2_560 in watch.words


def test_only_the_nearest_ticks_are_read() -> None:
    _, watch = V3Watch(FIXED).decoded(state())
    _, watch = watch.decoded([*state(), *bitmaps(watch, set(range(-200, 200)))])
    assert len(watch.indexes) == MOST_TICKS and watch.indexes[0] == 1 - MOST_TICKS // 2


@pytest.mark.parametrize(
    "results",
    [
        [CallResult(ok=False, returndata=b""), answer(1)],
        [answer(PRICE_X96, 0), answer(1)],
        [answer(1 << 200, 0, 0, 0, 0, 0, 1), answer(1)],
        [answer(PRICE_X96, 1 << 30, 0, 0, 0, 0, 1), answer(1)],
        [answer(PRICE_X96, 0, 0, 0, 0, 0, 1), answer(1 << 130)],
        [answer(PRICE_X96, 0, 0, 0, 0, 0, 1), CallResult(ok=True, returndata=bytes(31))],
    ],
)
def test_what_no_pool_answers_is_an_error(results: list[CallResult]) -> None:
    with pytest.raises(QuoteError, match=f"pool 0x{POOL.hex()}"):
        V3Watch(FIXED).decoded(results)


def test_a_pool_without_a_price_is_none_yet() -> None:
    pool, watch = V3Watch(FIXED).decoded(state(price_x96=0))
    assert pool is None and watch == V3Watch(FIXED)


async def test_no_pools_are_no_route() -> None:
    pools = PoolsVenue(WatchedPools([]), SlippagePolicy())
    assert pools.encode_quotes([(WETH, USDC)]) == ()
    pools.decode_quotes([])
    with pytest.raises(QuoteError, match="pools: no pools between"):
        await pools.quote(wish())


async def test_pools_are_followed_from_head_to_head_and_a_broken_one_is_left_out(bed36: Bed) -> None:
    rng = random.Random("venue")
    uniswap = await deploy_uniswap(bed36)
    await open_v3_pool(bed36, uniswap, "WETH", "USDC", 500, 1_000_000)
    deep = await open_v3_pool(bed36, uniswap, "WETH", "USDC", 3_000, 5_000_000)
    pair = await open_v2_pair(bed36, uniswap, "WETH", "USDC", 1_000_000)
    for first, second in (("WETH", "DAI"), ("DAI", "USDC"), ("WBTC", "WETH")):
        await open_v3_pool(bed36, uniswap, first, second, 500, 1_000_000)
    watch = following(bed36, uniswap, ("WETH", "USDC", "WBTC"), ("DAI",))
    await watch.discover()
    assert len(watch.pools.pools) == 6
    wanted = [(watch.token("WETH"), watch.token("USDC"))]
    assert len(watch.pools.encode(wanted).watches) == 5, "WBTC is of no use for this"
    exchange = await watch.look(("WETH", "USDC"))
    assert len(exchange.paths(*wanted[0])) == 4
    # New liquidity: its ticks are not known at once, and are at the next head.
    before = pool_at(exchange, deep)
    assert isinstance(before, V3Pool)
    here = before.tick // 60
    await add_v3_liquidity(
        bed36, uniswap, "WETH", "USDC", 3_000, (here - 3) * 60, (here + 4) * 60, rng.randint(10**5, 10**6)
    )
    bounded, known = [pool_at(await watch.look(("WETH", "USDC")), deep) for _ in range(2)]
    assert isinstance(bounded, V3Pool) and isinstance(known, V3Pool)
    assert {here - 3, here + 4} <= {*bounded.ticks.indexes} and not {here - 3, here + 4} & {*bounded.ticks.net}
    assert {here - 3, here + 4} <= {*known.ticks.net}
    # A pool whose code is gone answers nothing: the others serve.
    await bed36.chain.rpc.request("anvil_setCode", ["0x" + deep.hex(), "0x"])
    left = await watch.look(("WETH", "USDC"))
    assert deep not in {pool.address for pool in left.pools} and pair in {pool.address for pool in left.pools}
    assert watch.pools.troubles == (f"pool 0x{deep.hex()} slot0: 0 bytes instead of 224",)
    with pytest.raises(Defect):
        watch.pools.decode(watch.pools.encode(wanted), [])


async def test_a_quote_is_the_best_over_the_pools() -> None:
    pools = PoolsVenue(WatchedPools([]), SlippagePolicy())
    watch = warmed()
    pool, _ = watch.decoded([*state(), *bitmaps(watch, {-5, 7}), *ticks(10**17, -(10**17))])
    assert pool is not None
    pools.exchange = Exchange((pool,))
    asked = Wish(WETH, USDC, 10**15, None, 10**15, 0, 0)
    sold = pool.sell(WETH, 10**15)
    assert sold is not None
    route = await pools.quote(asked)
    assert route.amount_out_raw == sold.amount_out_raw and len(route.steps) == 1
    exact = await pools.quote(Wish(WETH, USDC, 10**15, 10**14, 10**15, 0, 0))
    assert exact.least_out_raw == 10**14 and exact.amount_in_raw < exact.most_in_raw <= 10**15
    for impossible in (Wish(WETH, USDC, 10**30, None, 1, 0, 0), Wish(WETH, USDC, 10**13, 10**14, 1, 0, 0)):
        with pytest.raises(QuoteError, match="the pools do not take"):
            await pools.quote(impossible)
