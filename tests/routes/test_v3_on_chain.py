"""Our arithmetic of a V3 pool against the real contracts, to the wei: QuoterV2 and mined swaps."""

from __future__ import annotations

import random

from keeper.devnet.market import Bed
from keeper.devnet.uniswap import TICK_SPACINGS, Uniswap, add_v3_liquidity, deploy_uniswap, open_v3_pool
from keeper.routes.v3_pool import V3Pool
from tests.protocols.onchain import cases
from tests.routes.on_chain import (
    Following,
    equip,
    following,
    pool_at,
    quoted_in,
    quoted_out,
    swap,
)

FEES = (100, 500, 3_000, 10_000)


async def opened(bed: Bed, uniswap: Uniswap, rng: random.Random) -> Following:
    """One pool of each tier with ranges of liquidity scattered around the price: some overlap, some leave a gap."""
    for fee in FEES:
        await open_v3_pool(bed, uniswap, "WETH", "USDC", fee, rng.choice((200_000, 1_000_000, 9_000_000)))
    watch = following(bed, uniswap, ("WETH", "USDC"))
    await watch.discover()
    for pool in (await watch.look(("WETH", "USDC"))).pools:
        assert isinstance(pool, V3Pool)
        spacing = TICK_SPACINGS[pool.fixed.fee]
        here = pool.tick // spacing
        for _ in range(12):
            low = here + rng.randint(-1_600 // spacing, 1_500 // spacing)
            high = low + rng.randint(1, max(2, 900 // spacing))
            worth = rng.choice((3_000, 50_000, 900_000))
            await add_v3_liquidity(bed, uniswap, "WETH", "USDC", pool.fixed.fee, low * spacing, high * spacing, worth)
    await watch.discover()
    return watch


def amounts(rng: random.Random, unit: int) -> list[int]:
    """From a single unit to a good part of the pool."""
    sizes = [rng.randint(1, 10 ** rng.randint(0, 4) * unit) + 1 for _ in range(5)]
    return [1, rng.randint(2, 1_000), *sizes]


async def test_quotes_and_swaps_equal_the_contracts(bed36: Bed) -> None:
    rng = random.Random("v3 quotes")
    uniswap = await deploy_uniswap(bed36)
    watch = await opened(bed36, uniswap, rng)
    await equip(bed36, uniswap, ("WETH", "USDC"))
    compared = unanswered = crossing = 0
    for _ in range(cases(3, 40)):
        exchange = await watch.look(("WETH", "USDC"))
        assert len(exchange.pools) == len(FEES) and not watch.pools.troubles
        for pool in exchange.pools:
            assert isinstance(pool, V3Pool)
            for symbol, other in (("WETH", "USDC"), ("USDC", "WETH")):
                token = watch.token(symbol)
                for raw in amounts(rng, 10 ** bed36.asset(symbol).decimals):
                    sold = pool.sell(token, raw)
                    if sold is None:
                        unanswered += 1
                        continue
                    assert sold.amount_out_raw == await quoted_in(bed36, uniswap, pool, token, raw)
                    compared += 1
                for raw in amounts(rng, 10 ** bed36.asset(other).decimals)[:4]:
                    bought = pool.buy(token, raw)
                    if bought is None:
                        unanswered += 1
                        continue
                    assert bought.amount_in_raw == await quoted_out(bed36, uniswap, pool, token, raw)
                    compared += 1
            # One mined swap each way moves every pool, and what is said to be left behind is there at the next look.
            symbol = rng.choice(("WETH", "USDC"))
            token = watch.token(symbol)
            worth = rng.choice((20_000, 300_000, 900_000))
            raw = worth * 10**6 if symbol == "USDC" else worth * 10**18 // 2_000
            sold = pool.sell(token, raw)
            if sold is None:
                continue
            assert sold.amount_out_raw == await swap(bed36, uniswap, pool, token, raw, exact_out=False)
            after = pool_at(await watch.look(("WETH", "USDC")), pool.address)
            assert isinstance(after, V3Pool) and isinstance(sold.after, V3Pool)
            assert (after.sqrt_price_x96, after.tick, after.liquidity) == (
                sold.after.sqrt_price_x96,
                sold.after.tick,
                sold.after.liquidity,
            )
            crossing += after.liquidity != pool.liquidity
            exact = sold.amount_out_raw // 3 + 1
            bought = sold.after.buy(token, exact)
            if bought is not None:
                assert bought.amount_in_raw == await swap(bed36, uniswap, after, token, exact, exact_out=True)
    print(f"{compared} quotes equal, {unanswered} beyond what is known, {crossing} swaps crossed ticks")  # noqa: T201
    assert compared > 120 and crossing > 2
    assert unanswered < compared // 4
