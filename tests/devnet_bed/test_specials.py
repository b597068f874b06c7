"""The special borrowers are what their names say once the crash has come, on both versions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keeper.core.units import UINT256_MAX, WAD, Address
from keeper.devnet.chain import salted_address
from keeper.devnet.errors import DevnetError, Reverted
from keeper.devnet.market import Bed
from keeper.devnet.openings import Opening
from keeper.devnet.script import set_prices
from keeper.devnet.spec import ASSETS, USD, Version, asset_spec
from keeper.devnet.specials import DEMO_CRASH, SPECIALS, special_openings
from keeper.devnet.state import Recipe, specials_for, started_bed

LIQUIDATOR = salted_address("liquidator")
GUSD_K_WAD = asset_spec("GUSD").threshold_bps * asset_spec("GUSD").bonus_bps * WAD // 10**8


@pytest.fixture(params=["3.6", "3.0.2"])
async def crashed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    version: Version = request.param
    async with started_bed(Recipe(version, crash=specials_for(DEMO_CRASH))) as bed:
        await set_prices(bed, DEMO_CRASH)
        yield bed


def special(bed: Bed, name: str) -> Opening:
    return next(each for each in bed.openings if each.kind == name)


async def health_wad(bed: Bed, borrower: Address) -> int:
    health: int = (await bed.pool("getUserAccountData", borrower))[5]
    return health


async def liquidate(bed: Bed, opening: Opening, amount_raw: int, collateral: str = "WETH") -> None:
    """Pay back so much of the one debt, against that collateral."""
    debt = bed.asset(opening.debt[0].symbol)
    await bed.chain.fund([LIQUIDATOR])
    token = bed.contracts["Token"]
    await bed.chain.send(LIQUIDATOR, debt.token, token, "mint", LIQUIDATOR, 10**30)
    await bed.chain.send(LIQUIDATOR, debt.token, token, "approve", bed.deployment.pool, UINT256_MAX)
    call = (bed.asset(collateral).token, debt.token, opening.borrower, amount_raw, False)
    await bed.chain.transact(bed.pool_tx(LIQUIDATOR, "liquidationCall", *call), "liquidationCall")


async def test_every_special_is_below_one_after_the_crash(crashed: Bed) -> None:
    absent = set() if crashed.deployment.version == "3.6" else {"dust_gap"}
    assert {each.kind for each in crashed.openings} == set(SPECIALS) - absent
    for opening in crashed.openings:
        assert await health_wad(crashed, opening.borrower) < WAD, opening.kind


async def test_healths_fit_the_names(crashed: Bed) -> None:
    toxic = await crashed.pool("getUserAccountData", special(crashed, "toxic").borrower)
    assert toxic[0] > toxic[1]
    assert toxic[5] < GUSD_K_WAD
    bad = await crashed.pool("getUserAccountData", special(crashed, "bad_debt").borrower)
    assert bad[0] < bad[1]
    assert WAD * 95 // 100 < await health_wad(crashed, special(crashed, "close_factor").borrower) < WAD


async def test_half_the_debt_is_not_enough_for_the_close_factor_borrower(crashed: Bed) -> None:
    opening = special(crashed, "close_factor")
    before = await crashed.pool("getUserAccountData", opening.borrower)
    await liquidate(crashed, opening, UINT256_MAX)
    after = await crashed.pool("getUserAccountData", opening.borrower)
    assert after[1] * 2 >= before[1] * 99 // 100
    weth = asset_spec("WETH")
    assert WAD < after[5] < WAD * weth.threshold_bps // weth.ltv_bps


async def test_either_collateral_alone_leaves_the_sequence_borrower_below_one(crashed: Bed) -> None:
    opening = special(crashed, "sequence")
    for collateral in ("WETH", "WBTC"):
        snapshot = await crashed.chain.rpc.request("evm_snapshot")
        await liquidate(crashed, opening, UINT256_MAX, collateral)
        assert await health_wad(crashed, opening.borrower) < WAD
        await crashed.chain.rpc.request("evm_revert", [snapshot])


async def test_liquidating_the_toxic_borrower_makes_it_worse(crashed: Bed) -> None:
    opening = special(crashed, "toxic")
    before = await health_wad(crashed, opening.borrower)
    await liquidate(crashed, opening, opening.debt[0].amount_raw // 4, opening.collateral[0].symbol)
    assert await health_wad(crashed, opening.borrower) < before


async def test_a_partial_repayment_of_the_dust_borrower_is_refused() -> None:
    async with started_bed(Recipe("3.6", crash=specials_for(DEMO_CRASH))) as bed:
        await set_prices(bed, DEMO_CRASH)
        opening = special(bed, "dust_gap")
        with pytest.raises(Reverted):
            await liquidate(bed, opening, opening.debt[0].amount_raw * 65 // 100)
        await liquidate(bed, opening, UINT256_MAX)
        assert (await bed.pool("getUserAccountData", opening.borrower))[1] == 0


def test_a_mild_crash_is_refused_by_name() -> None:
    prices = {spec.symbol: spec.price_base for spec in ASSETS}
    with pytest.raises(DevnetError, match="bad_debt"):
        special_openings("3.6", prices, {"WETH": 3_000 * USD}, ["bad_debt"])
