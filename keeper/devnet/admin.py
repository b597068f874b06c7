"""What the market's admin and the feeds' owner do: small actions for tests, the demo and scripts."""

from __future__ import annotations

from typing import Any

from keeper.core.units import Address, address_from_hex
from keeper.devnet.chain import OFF, ON
from keeper.devnet.errors import DevnetError
from keeper.devnet.market import ADMIN, ZERO, Bed
from keeper.devnet.spec import ASSETS, EMODES


async def _configure(bed: Bed, function: str, *args: Any) -> None:
    await bed.chain.send(ADMIN, bed.deployment.pool_configurator, bed.contracts["PoolConfigurator"], function, *args)


def _only_36(bed: Bed, what: str) -> None:
    if bed.deployment.version != "3.6":
        raise DevnetError(f"{what} does not exist in {bed.deployment.version}")


async def set_answer(bed: Bed, symbol: str, answer: int) -> None:
    """Set the root feed's answer (8 decimals; zero and negative are allowed). For a ratio feed that is its base's."""
    await bed.chain.send(ADMIN, bed.asset(symbol).feed, bed.contracts["Feed"], "setAnswer", answer)


async def set_answer_at(bed: Bed, symbol: str, answer: int, updated_at_s: int) -> None:
    """The same with a given update time, to make it stale."""
    await bed.chain.send(ADMIN, bed.asset(symbol).feed, bed.contracts["Feed"], "setAnswerAt", answer, updated_at_s)


async def new_feed(bed: Bed, answer: int) -> Address:
    """A fresh feed that nothing reads yet."""
    return await bed.chain.deploy(ADMIN, bed.contracts["Feed"], ("extra", 8, answer))


async def set_price_source(bed: Bed, symbol: str, source: Address) -> None:
    """Point the oracle to another source for one asset."""
    oracle, tokens = bed.deployment.oracle, [bed.asset(symbol).token]
    await bed.chain.send(ADMIN, oracle, bed.contracts["AaveOracle"], "setAssetSources", tokens, [source])


async def replace_oracle(bed: Bed) -> Address:
    """A second oracle with the same sources, made the market's; its address. (`deployment.oracle` names the first.)"""
    assets = [bed.asset(symbol) for symbol in bed.deployment.symbols]
    args = ([each.token for each in assets], [each.price_source for each in assets], ZERO, ZERO, 10**8)
    provider = bed.deployment.addresses_provider
    oracle = await bed.chain.deploy(ADMIN, bed.contracts["AaveOracle"], (provider, *args))
    await bed.chain.send(ADMIN, provider, bed.contracts["PoolAddressesProvider"], "setPriceOracle", oracle)
    return oracle


async def pause(bed: Bed, symbol: str) -> None:
    """Pause one reserve."""
    await _configure(bed, "setReservePause(address,bool)", bed.asset(symbol).token, ON)


async def unpause(bed: Bed, symbol: str, grace_period_s: int = 0) -> None:
    """Unpause one reserve; on 3.6 with a liquidation grace period of up to four hours."""
    token = bed.asset(symbol).token
    if grace_period_s:
        _only_36(bed, "a grace period")
        await _configure(bed, "setReservePause(address,bool,uint40)", token, OFF, grace_period_s)
    else:
        await _configure(bed, "setReservePause(address,bool)", token, OFF)


async def set_frozen(bed: Bed, symbol: str, frozen: bool) -> None:
    """Freeze or unfreeze one reserve."""
    await _configure(bed, "setReserveFreeze", bed.asset(symbol).token, frozen)


async def set_active(bed: Bed, symbol: str, active: bool) -> None:
    """Activate or deactivate one reserve; the protocol refuses to deactivate one that is supplied."""
    await _configure(bed, "setReserveActive", bed.asset(symbol).token, active)


async def set_collateral(bed: Bed, symbol: str, ltv_bps: int, threshold_bps: int, bonus_bps: int) -> None:
    """Set loan-to-value, liquidation threshold and bonus (10 500 is 5 %) of one reserve outside e-modes."""
    await _configure(bed, "configureReserveAsCollateral", bed.asset(symbol).token, ltv_bps, threshold_bps, bonus_bps)


async def set_protocol_fee(bed: Bed, symbol: str, fee_bps: int) -> None:
    """Set the protocol's share of the bonus."""
    await _configure(bed, "setLiquidationProtocolFee", bed.asset(symbol).token, fee_bps)


async def set_emode(
    bed: Bed,
    category_id: int,
    ltv_bps: int,
    threshold_bps: int,
    bonus_bps: int,
    label: str = "devnet",
    price_source: Address = ZERO,
) -> None:
    """Create or change an e-mode category. `price_source` is an asset-like key that only 3.0.2 knows."""
    settings = (category_id, ltv_bps, threshold_bps, bonus_bps)
    if bed.deployment.version == "3.6":
        if price_source != ZERO:
            raise DevnetError("an e-mode's own price source does not exist in 3.6")
        await _configure(bed, "setEModeCategory", *settings, label)
    else:
        await _configure(bed, "setEModeCategory", *settings, price_source, label)


async def set_emode_price(bed: Bed, category_id: int, answer: int) -> Address:
    """3.0.2: give an e-mode its own price, by a fresh feed whose address comes back (0 or less: fall back)."""
    if bed.deployment.version != "3.0.2":
        raise DevnetError(f"an e-mode's own price source does not exist in {bed.deployment.version}")
    feed = await new_feed(bed, answer)
    # The category names a key of the oracle; the feed's own address serves as one.
    oracle = bed.deployment.oracle
    await bed.chain.send(ADMIN, oracle, bed.contracts["AaveOracle"], "setAssetSources", [feed], [feed])
    mode = next(each for each in EMODES if each.category_id == category_id)
    settings = (category_id, mode.ltv_bps, mode.threshold_bps, mode.bonus_bps, mode.label)
    await set_emode(bed, *settings, price_source=feed)
    return feed


async def set_stable_borrowing(bed: Bed, symbol: str, enabled: bool) -> None:
    """3.0.2: allow or forbid borrowing at a stable rate (interest rate mode 1)."""
    if bed.deployment.version != "3.0.2":
        raise DevnetError(f"stable debt does not exist in {bed.deployment.version}")
    await _configure(bed, "setReserveStableRateBorrowing", bed.asset(symbol).token, enabled)


async def set_emode_collateral(bed: Bed, symbol: str, category_id: int, member: bool) -> None:
    """3.6: make one reserve collateral of a category, or not any more."""
    _only_36(bed, "an e-mode's collateral bitmap")
    await _configure(bed, "setAssetCollateralInEMode", bed.asset(symbol).token, category_id, member)


async def force_out_of_emode(bed: Bed, symbol: str, category_id: int) -> None:
    """3.6: take one reserve off a category's collateral though it is in use, so that threshold and bonus become 0.

    The configurator refuses that for an asset without a threshold of its own, so the pool is told in its name; there
    is no event.
    """
    _only_36(bed, "an e-mode's collateral bitmap")
    pool, configurator = bed.deployment.pool, bed.deployment.pool_configurator
    bitmap = await bed.pool("getEModeCategoryCollateralBitmap", category_id)
    bitmap &= ~(1 << bed.asset(symbol).reserve_id)
    await bed.chain.fund([configurator])
    function = "configureEModeCategoryCollateralBitmap"
    await bed.chain.send(configurator, pool, bed.contracts["Pool"], function, category_id, bitmap)


async def set_emode_category(bed: Bed, symbol: str, category_id: int) -> None:
    """3.0.2: put one reserve into a category (0: none)."""
    if bed.deployment.version != "3.0.2":
        raise DevnetError(f"a reserve's single e-mode category does not exist in {bed.deployment.version}")
    await _configure(bed, "setAssetEModeCategory", bed.asset(symbol).token, category_id)


async def set_sentinel(bed: Bed, grace_period_s: int = 3_600) -> Address:
    """Put the protocol's price sentinel over a sequencer feed of ours; the feed's address. It starts as up."""
    provider = bed.deployment.addresses_provider
    uptime = await new_feed(bed, 0)
    sentinel = await bed.chain.deploy(ADMIN, bed.contracts["PriceOracleSentinel"], (provider, uptime, grace_period_s))
    await bed.chain.send(ADMIN, provider, bed.contracts["PoolAddressesProvider"], "setPriceOracleSentinel", sentinel)
    return uptime


async def remove_sentinel(bed: Bed) -> None:
    """Take the sentinel away."""
    provider = bed.deployment.addresses_provider
    await bed.chain.send(ADMIN, provider, bed.contracts["PoolAddressesProvider"], "setPriceOracleSentinel", ZERO)


async def set_sequencer(bed: Bed, uptime_feed: Address, up: bool) -> None:
    """Report the sequencer as up (answer 0) or down (1), as of now."""
    await bed.chain.send(ADMIN, uptime_feed, bed.contracts["Feed"], "setAnswer", 0 if up else 1)


async def price_source_of(bed: Bed, symbol: str) -> Address:
    """The source that the market's present oracle reads for one asset."""
    provider, contracts = bed.deployment.addresses_provider, bed.contracts
    oracle = await bed.chain.call(provider, contracts["PoolAddressesProvider"], "getPriceOracle")
    source = await bed.chain.call(
        address_from_hex(oracle), contracts["AaveOracle"], "getSourceOfAsset", bed.asset(symbol).token
    )
    return address_from_hex(source)


async def raise_ltv(bed: Bed, to_threshold: bool) -> None:
    """Set every loan-to-value limit to its liquidation threshold, or back to what the spec says."""
    for mode in EMODES:
        ltv_bps = mode.threshold_bps if to_threshold else mode.ltv_bps
        await set_emode(bed, mode.category_id, ltv_bps, mode.threshold_bps, mode.bonus_bps, mode.label)
    for spec in ASSETS:
        if spec.threshold_bps:
            ltv_bps = spec.threshold_bps if to_threshold else spec.ltv_bps
            await set_collateral(bed, spec.symbol, ltv_bps, spec.threshold_bps, spec.bonus_bps)


async def repeat_answers(bed: Bed) -> None:
    """Set every root feed to the answer that it has, so that it is as fresh as the chain."""
    feeds = {bed.asset(symbol).feed: symbol for symbol in bed.deployment.symbols}
    for feed, symbol in feeds.items():
        await set_answer(bed, symbol, await bed.chain.call(feed, bed.contracts["Feed"], "latestAnswer"))
