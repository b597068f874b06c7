"""What changes on a running market is picked up without a restart; what is not known stops it, and is watched on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from keeper.core.errors import MarketError
from keeper.core.units import UINT256_MAX, Address, to_hex
from keeper.devnet import admin, upgrades
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.devnet.openings import Leg, Opening
from keeper.devnet.positions import VARIABLE_RATE, open_all
from keeper.devnet.spec import ETH_EMODE, STABLE_EMODE, USD, AssetSpec
from keeper.pipeline.audit import compare
from tests.protocols.following import Following

NEW = AssetSpec("NEW", 18, 5 * USD, 6_000, 7_000, 10_800, 1_000, 1_500, (8_000, 0, 400, 10_000))
UNKNOWN_REVISION = 99


async def assert_all_is_equal(following: Following) -> None:
    """Every row, every valuation, every total and index."""
    follower = following.follower
    assert follower.applied is not None and follower.verified is not None
    compared = await compare(
        following.client,
        follower.adapter,
        follower.market,
        follower.state,
        follower.book,
        list(follower.book.every_position()),
        follower.adapter.reserve_ids(follower.market),
        follower.applied,
    )
    assert compared.differences == ()
    assert len(compared.right) == len(follower.book)


async def started(bed: Bed) -> Following:
    following = Following(bed)
    await following.start()
    return following


async def opened(bed: Bed, name: str, collateral: Leg, debt: Leg) -> Address:
    """One more borrower."""
    who = salted_address(name)
    prices = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
    await open_all(bed, [Opening(who, "test", (collateral,), (debt,), 0)], prices)
    return who


async def holds_new(bed: Bed, who: Address) -> None:
    """A known borrower supplies the new asset, as collateral, and borrows some of it back."""
    asset, token = bed.asset("NEW"), bed.contracts["Token"]
    await bed.chain.send(who, asset.token, token, "mint", who, 10**24)
    await bed.chain.send(who, asset.token, token, "approve", bed.deployment.pool, UINT256_MAX)
    await bed.chain.transact(bed.pool_tx(who, "supply", asset.token, 10**24, who, 0))
    await bed.chain.transact(bed.pool_tx(who, "setUserUseReserveAsCollateral", asset.token, True))
    await bed.chain.transact(bed.pool_tx(who, "borrow", asset.token, 10**19, VARIABLE_RATE, 0, who))


async def test_a_new_reserve_and_what_is_done_with_it_at_once(bed: Bed) -> None:
    """Listed, supplied and borrowed between two heads; nobody else's row is read again for it."""
    following = await started(bed)
    listed = await upgrades.list_reserve(bed, NEW)
    who = next(each.borrower for each in bed.openings if each.emode_id == 0)
    await holds_new(listed, who)
    result = await following.advance()
    assert "ReserveInitialized" in result.changes and result.verified is not None
    reserve_id = listed.asset("NEW").reserve_id
    row = following.follower.book.position(who)
    assert reserve_id in row.collateral_enabled
    assert row.collateral_scaled[reserve_id] > row.debt_scaled[reserve_id] > 0
    await assert_all_is_equal(following)
    await bed.chain.advance(86_400)
    await following.advance()
    await assert_all_is_equal(following)


async def raised_emode(bed: Bed) -> None:
    mode = ETH_EMODE
    await admin.set_emode(bed, mode.category_id, mode.ltv_bps, mode.threshold_bps + 100, mode.bonus_bps)


async def left_emode(bed: Bed) -> None:
    if bed.deployment.version == "3.6":
        await admin.force_out_of_emode(bed, "sUSDe", STABLE_EMODE.category_id)
        await admin.set_emode(bed, 9, 9_000, 9_200, 10_200)
    else:
        await admin.set_emode_price(bed, ETH_EMODE.category_id, 3_100 * USD)


async def other_source(bed: Bed) -> None:
    await admin.set_price_source(bed, "DAI", await admin.new_feed(bed, 97_000_000))


async def other_oracle(bed: Bed) -> None:
    await admin.replace_oracle(bed)
    await admin.set_answer(bed, "WBTC", 60_000 * USD)


async def other_terms(bed: Bed) -> None:
    await admin.set_collateral(bed, "WETH", 7_500, 7_900, 10_800)


async def paused(bed: Bed) -> None:
    await admin.pause(bed, "WBTC")


async def other_a_token(bed: Bed) -> None:
    await upgrades.upgrade_a_token(bed, "WETH")


async def other_pool(bed: Bed) -> None:
    await upgrades.upgrade_pool(bed, await bed.pool("POOL_REVISION"))


CHANGES: dict[str, Callable[[Bed], Awaitable[None]]] = {
    "e-mode terms": raised_emode,
    "e-mode members": left_emode,
    "price source": other_source,
    "oracle": other_oracle,
    "aToken code": other_a_token,
    "pool code": other_pool,
    "threshold and bonus": other_terms,
    "pause": paused,
}


async def test_every_kind_of_change_is_picked_up(bed: Bed) -> None:
    following = await started(bed)
    known: set[str] = set()
    for number, (name, change) in enumerate(CHANGES.items()):
        if change is not paused:  # to open somebody sets the terms anew
            await opened(bed, f"{name} before", Leg("WETH", (2 + number) * 10**18), Leg("USDC", 900 * 10**6))
        await change(bed)
        known |= set((await following.advance()).changes)
        assert following.follower.refused is None, name
        await assert_all_is_equal(following)
    assert {"EModeCategoryAdded", "AssetSourceUpdated", "PriceOracleUpdated", "ATokenUpgraded", "PoolUpdated"} <= known
    state = following.follower.state
    weth, wbtc, dai = (state.reserves[bed.asset(symbol).reserve_id] for symbol in ("WETH", "WBTC", "DAI"))
    assert (weth.config.liquidation_threshold_bps, weth.config.liquidation_bonus_bps) == (7_900, 10_800)
    assert wbtc.config.paused
    assert following.follower.market.oracle != bed.deployment.oracle
    assert dai.price_base is not None


async def test_an_unknown_revision_stops_the_market_is_watched_and_goes_on_once_known(bed: Bed) -> None:
    following = await started(bed)
    known = await bed.pool("POOL_REVISION")
    await upgrades.upgrade_pool(bed, UNKNOWN_REVISION)
    for name in ("first", "second"):
        who = await opened(bed, name, Leg("WETH", 10**19), Leg("USDC", 900 * 10**6))
        with pytest.raises(MarketError, match=f"pool revision {UNKNOWN_REVISION} is unknown.*nothing is liquidated"):
            await following.advance()
        assert following.follower.verified is None
        assert who in following.follower.book, "it is watched all the same"
        assert await following.chain_rows() == {
            row.borrower: row for row in following.follower.book.every_position()
        }, to_hex(who)
    await upgrades.upgrade_pool(bed, known)
    result = await following.advance()
    assert result.verified is not None and following.follower.refused is None
    await assert_all_is_equal(following)


async def test_a_reorg_takes_an_upgrade_back(bed: Bed) -> None:
    following = await started(bed)
    await bed.chain.mine(2)
    await following.advance()
    height = await bed.chain.block_number()
    await upgrades.upgrade_pool(bed, UNKNOWN_REVISION)
    with pytest.raises(MarketError, match="is unknown"):
        await following.advance()
    await bed.chain.rpc.request("anvil_rollback", [await bed.chain.block_number() - height + 1])
    await opened(bed, "after the reorg", Leg("WETH", 10**19), Leg("USDC", 900 * 10**6))
    result = await following.advance()
    assert result.verified is not None
    await assert_all_is_equal(following)
