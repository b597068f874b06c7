"""Each admin action does on the chain what its name says."""

from __future__ import annotations

import pytest

from keeper.core.errors import RpcFailure
from keeper.core.units import UINT256_MAX, WAD, Address, address_from_hex
from keeper.devnet import admin
from keeper.devnet.chain import salted_address
from keeper.devnet.errors import DevnetError, Reverted
from keeper.devnet.market import Bed
from keeper.devnet.openings import Leg, Opening
from keeper.devnet.positions import VARIABLE_RATE, drain, open_all
from keeper.devnet.spec import ETH_EMODE, STABLE_EMODE, USD

ACTIVE, FROZEN, PAUSED = 56, 57, 60
LIQUIDATOR = salted_address("liquidator")


async def flag(bed: Bed, symbol: str, bit: int) -> int:
    (word,) = await bed.pool("getConfiguration", bed.asset(symbol).token)
    return int(word >> bit & 1)


async def account(bed: Bed, who: Address) -> tuple[int, ...]:
    answer: tuple[int, ...] = await bed.pool("getUserAccountData", who)
    return answer


async def prices(bed: Bed) -> dict[str, int]:
    return {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}


async def borrower(bed: Bed, emode_id: int, collateral: Leg, debt: Leg) -> Address:
    who = salted_address(f"borrower of {collateral} {debt}")
    await open_all(bed, [Opening(who, "test", (collateral,), (debt,), emode_id)], await prices(bed))
    return who


async def liquidate(bed: Bed, collateral: str, debt: str, who: Address) -> None:
    token, pool = bed.contracts["Token"], bed.deployment.pool
    await bed.chain.fund([LIQUIDATOR])
    await bed.chain.send(LIQUIDATOR, bed.asset(debt).token, token, "mint", LIQUIDATOR, 10**30)
    await bed.chain.send(LIQUIDATOR, bed.asset(debt).token, token, "approve", pool, UINT256_MAX)
    args = (bed.asset(collateral).token, bed.asset(debt).token, who, UINT256_MAX, False)
    await bed.chain.transact(bed.pool_tx(LIQUIDATOR, "liquidationCall", *args))


async def test_pause_freeze_and_activity(bed: Bed) -> None:
    await admin.pause(bed, "WETH")
    assert await flag(bed, "WETH", PAUSED) == 1
    await admin.unpause(bed, "WETH")
    assert await flag(bed, "WETH", PAUSED) == 0
    await admin.set_frozen(bed, "DAI", frozen=True)
    assert await flag(bed, "DAI", FROZEN) == 1
    with pytest.raises(Reverted):
        await admin.set_active(bed, "WETH", active=False)
    assert await flag(bed, "WETH", ACTIVE) == 1


async def test_an_empty_reserve_can_be_deactivated(bed302: Bed) -> None:
    await admin.set_active(bed302, "sUSDe", active=False)
    assert await flag(bed302, "sUSDe", ACTIVE) == 0


async def test_a_grace_period_starts_on_unpausing(bed36: Bed) -> None:
    await admin.pause(bed36, "WBTC")
    await admin.unpause(bed36, "WBTC", grace_period_s=3_600)
    until_s = await bed36.pool("getLiquidationGracePeriod", bed36.asset("WBTC").token)
    assert until_s == await bed36.chain.now_s() + 3_600


async def test_an_asset_taken_out_of_its_emode_counts_for_nothing(bed36: Bed) -> None:
    who = await borrower(bed36, STABLE_EMODE.category_id, Leg("sUSDe", 1_000 * 10**18), Leg("USDC", 900 * 10**6))
    assert (await account(bed36, who))[5] > WAD
    with pytest.raises(Reverted):
        await admin.set_emode_collateral(bed36, "sUSDe", STABLE_EMODE.category_id, member=False)
    await admin.force_out_of_emode(bed36, "sUSDe", STABLE_EMODE.category_id)
    after = await account(bed36, who)
    assert after[0] > 0
    assert after[3] == after[5] == 0


async def test_an_emode_price_rules_in_302_only(bed302: Bed, bed36: Bed) -> None:
    who = await borrower(bed302, ETH_EMODE.category_id, Leg("wstETH", 10 * 10**18), Leg("WETH", 9 * 10**18))
    await admin.set_emode_price(bed302, ETH_EMODE.category_id, 1_000 * USD)
    assert (await account(bed302, who))[0] == 10 * 1_000 * USD
    with pytest.raises(DevnetError, match=r"3\.6"):
        await admin.set_emode_price(bed36, ETH_EMODE.category_id, 1_000 * USD)


async def test_stable_debt_can_be_made_on_302(bed302: Bed) -> None:
    who = await borrower(bed302, 0, Leg("WETH", 10 * 10**18), Leg("USDC", 100 * 10**6))
    await admin.set_stable_borrowing(bed302, "DAI", enabled=True)
    await bed302.chain.transact(
        bed302.pool_tx(who, "borrow", bed302.asset("DAI").token, 50 * 10**18, 1, 0, who), "borrow"
    )
    stable = address_from_hex((await bed302.pool("getReserveData", bed302.asset("DAI").token))[9])
    assert await bed302.chain.call(stable, bed302.contracts["Token"], "balanceOf", who) == 50 * 10**18


async def test_settings_reach_the_reserve(bed: Bed) -> None:
    await admin.set_protocol_fee(bed, "DAI", 2_500)
    await admin.set_collateral(bed, "DAI", 7_000, 7_700, 10_600)
    (word,) = await bed.pool("getConfiguration", bed.asset("DAI").token)
    assert [word & 0xFFFF, word >> 16 & 0xFFFF, word >> 32 & 0xFFFF, word >> 152 & 0xFFFF] == [
        7_000,
        7_700,
        10_600,
        2_500,
    ]


async def test_feeds_can_be_replaced_and_broken(bed: Bed) -> None:
    await admin.set_price_source(bed, "GUSD", await admin.new_feed(bed, 98_000_000))
    assert await bed.price_base("GUSD") == 98_000_000
    for answer in (0, -1):
        await admin.set_answer(bed, "DAI", answer)
        with pytest.raises(RpcFailure, match="revert"):
            await bed.price_base("DAI")
    await admin.set_answer_at(bed, "DAI", 1 * USD, 1_700_000_000)
    feed = bed.contracts["Feed"]
    assert (await bed.chain.call(bed.asset("DAI").feed, feed, "latestRoundData"))[3] == 1_700_000_000


async def test_a_second_oracle_takes_over(bed: Bed) -> None:
    second = await admin.replace_oracle(bed)
    assert second != bed.deployment.oracle
    provider = bed.contracts["PoolAddressesProvider"]
    oracle = await bed.chain.call(bed.deployment.addresses_provider, provider, "getPriceOracle")
    assert address_from_hex(oracle) == second
    assert await admin.price_source_of(bed, "USDC") == bed.asset("USDC").price_source


async def test_the_sentinel_stops_mild_liquidations_while_the_sequencer_is_down(bed: Bed) -> None:
    who = await borrower(bed, 0, Leg("WETH", 10 * 10**18), Leg("USDC", 26_000 * 10**6))
    await admin.set_answer(bed, "WETH", 3_050 * USD)
    assert WAD * 95 // 100 < (await account(bed, who))[5] < WAD
    uptime = await admin.set_sentinel(bed, grace_period_s=3_600)
    await admin.set_sequencer(bed, uptime, up=False)
    with pytest.raises(Reverted):
        await liquidate(bed, "WETH", "USDC", who)
    await admin.remove_sentinel(bed)
    await liquidate(bed, "WETH", "USDC", who)
    assert (await account(bed, who))[5] > WAD


async def test_drained_liquidity_refuses_the_underlying(bed: Bed) -> None:
    who = await borrower(bed, 0, Leg("WBTC", 10**8), Leg("USDC", 49_000 * 10**6))
    await drain(bed, "WBTC", leave_raw=10**5)
    left = await bed.chain.call(bed.asset("WBTC").token, bed.contracts["Token"], "balanceOf", bed.asset("WBTC").a_token)
    assert left == 10**5
    await admin.set_answer(bed, "WBTC", 61_000 * USD)
    assert (await account(bed, who))[5] < WAD
    with pytest.raises(Reverted):
        await liquidate(bed, "WBTC", "USDC", who)


async def test_delegated_debt_falls_on_the_delegator(bed: Bed) -> None:
    delegator = await borrower(bed, 0, Leg("WETH", 10 * 10**18), Leg("USDC", 100 * 10**6))
    usdc = bed.asset("USDC")
    await bed.chain.fund([LIQUIDATOR])
    await bed.chain.send(
        delegator, usdc.v_token, bed.contracts["VariableDebtToken"], "approveDelegation", LIQUIDATOR, UINT256_MAX
    )
    borrow = bed.pool_tx(LIQUIDATOR, "borrow", usdc.token, 500 * 10**6, VARIABLE_RATE, 0, delegator)
    await bed.chain.transact(borrow)
    # Each of the two borrows may be rounded down by a raw unit of USDC, which is worth 100 base units.
    assert (await account(bed, delegator))[1] >= 600 * USD - 2 * 100
    assert await bed.chain.call(usdc.token, bed.contracts["Token"], "balanceOf", LIQUIDATOR) == 500 * 10**6
