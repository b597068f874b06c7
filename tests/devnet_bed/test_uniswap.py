"""Uniswap beside the market quotes what its depth allows."""

from __future__ import annotations

from keeper.devnet.market import Bed
from keeper.devnet.uniswap import deploy_uniswap, open_v2_pair, open_v3_pool


async def test_pools_stand_at_the_oracle_s_prices(bed36: Bed) -> None:
    uniswap = await deploy_uniswap(bed36)
    for fee in (100, 500, 3_000):
        await open_v3_pool(bed36, uniswap, "WETH", "USDC", fee, 10_000_000)
    weth, usdc = bed36.asset("WETH"), bed36.asset("USDC")
    price_base = await bed36.price_base("WETH")
    for fee in (100, 500, 3_000):
        asked = (weth.token, usdc.token, 10**18, fee, 0)
        quote = await bed36.chain.call(uniswap.quoter, uniswap.contracts["QuoterV2"], "quoteExactInputSingle", asked)
        ideal_raw = price_base * 10**6 // 10**8 * (1_000_000 - fee) // 1_000_000
        assert ideal_raw * 9_990 // 10_000 < quote[0] < ideal_raw * 10_001 // 10_000


async def test_a_pair_holds_its_depth(bed36: Bed) -> None:
    uniswap = await deploy_uniswap(bed36)
    pair = await open_v2_pair(bed36, uniswap, "WETH", "DAI", 1_000_000)
    low_raw, high_raw, _ = await bed36.chain.call(pair, uniswap.contracts["UniswapV2Pair"], "getReserves")
    weth_first = bed36.asset("WETH").token < bed36.asset("DAI").token
    weth_raw, dai_raw = (low_raw, high_raw) if weth_first else (high_raw, low_raw)
    weth_base = weth_raw * await bed36.price_base("WETH") // 10**18
    dai_base = dai_raw * await bed36.price_base("DAI") // 10**18
    assert abs(weth_base - 10**14) <= 10**6 and abs(dai_base - 10**14) <= 10**6
