"""The deployed market is what the spec says, and its borrowers are healthy and varied."""

from __future__ import annotations

from keeper.devnet.market import Bed
from keeper.devnet.spec import ASSETS, CAP_BASE, RATIO_WAD, asset_spec

WAD = 10**18


async def test_prices_come_through_the_adapters(bed: Bed) -> None:
    weth, usdc = asset_spec("WETH").price_base, asset_spec("USDC").price_base
    assert await bed.price_base("WETH") == weth
    assert await bed.price_base("wstETH") == weth * RATIO_WAD // WAD
    assert await bed.price_base("USDC") == min(usdc, CAP_BASE)


async def test_reserves_carry_the_spec(bed: Bed) -> None:
    for spec in ASSETS:
        asset = bed.asset(spec.symbol)
        (word,) = await bed.pool("getConfiguration", asset.token)
        assert word & 0xFFFF == spec.ltv_bps
        assert word >> 16 & 0xFFFF == spec.threshold_bps
        assert word >> 32 & 0xFFFF == spec.bonus_bps
        assert word >> 48 & 0xFF == spec.decimals
        assert word >> 152 & 0xFFFF == spec.protocol_fee_bps


async def test_borrowers_are_healthy_and_varied(bed: Bed) -> None:
    accounts = [await bed.pool("getUserAccountData", each.borrower) for each in bed.openings]
    healths = [account[5] for account in accounts]
    assert min(healths) > WAD
    assert sum(health < WAD * 106 // 100 for health in healths) >= len(healths) // 5
    assert max(healths) > 2 * WAD
    assert max(account[1] for account in accounts) > 1_000 * min(account[1] for account in accounts)
    assert {len(each.debt) for each in bed.openings} == {1, 2}
    assert {len(each.collateral) for each in bed.openings} == {1, 2, 3}
    assert {each.emode_id for each in bed.openings} == {0, 1, 2}
