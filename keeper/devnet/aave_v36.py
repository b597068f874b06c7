"""Aave v3.6 on a devnet, from its published sources."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode

from keeper.core.units import Address
from keeper.devnet.cache import Say, quiet
from keeper.devnet.chain import ON, DevChain
from keeper.devnet.compile import Artifacts, aave_v36_artifacts, own_artifacts
from keeper.devnet.market import TREASURY, ZERO, Builder, Deployment, Listing, renamed
from keeper.devnet.spec import EMODES, AssetSpec

_NAMES = {
    "PoolInstance": "Pool",
    "PoolConfiguratorInstance": "PoolConfigurator",
    "ATokenInstance": "AToken",
    "VariableDebtTokenInstance": "VariableDebtToken",
}
_LIBRARIES = ("BorrowLogic", "FlashLoanLogic", "LiquidationLogic", "PoolLogic", "SupplyLogic", "ConfiguratorLogic")
_FLASH_PREMIUM_BPS = 5
_LEAST_DECIMALS = 6
_DECIMALS_SHIFT = 48


def contracts(say: Say = quiet) -> Artifacts:
    """Every interface and code that a 3.6 devnet needs, compiled if need be."""
    return renamed(aave_v36_artifacts(say), _NAMES) | dict(own_artifacts(say))


async def deploy(chain: DevChain, artifacts: Artifacts, chain_id: int) -> Deployment:
    """The whole market on an empty chain that mines each transaction. Raises Reverted."""
    build = Builder(chain, artifacts)
    await build.prepare()
    provider = await build.provider()
    for name in _LIBRARIES:
        await build.library(name)
    strategy = await build.create("DefaultReserveInterestRateStrategyV2", provider)
    pool = await build.proxied(provider, "Pool", await build.create("Pool", provider, strategy))
    acl = await build.roles(provider)
    configurator = await build.proxied(provider, "PoolConfigurator", await build.create("PoolConfigurator"))
    data_provider = await build.create("AaveProtocolDataProvider", provider)
    await build.send(provider, "PoolAddressesProvider", "setPoolDataProvider", data_provider)

    listings = await build.listings()
    oracle = await build.oracle(provider, listings)
    await list_reserves(build, pool, configurator, listings)
    for listing in listings:
        await build.collateral_settings(configurator, listing)
    await build.send(configurator, "PoolConfigurator", "updateFlashloanPremium", _FLASH_PREMIUM_BPS)
    await _emodes(build, configurator, listings)
    return Deployment(
        version="3.6",
        chain_id=chain_id,
        addresses_provider=provider,
        pool=pool,
        pool_configurator=configurator,
        acl=acl,
        oracle=oracle,
        protocol_data_provider=data_provider,
        liquidation_data_provider=await build.create("LiquidationDataProvider", pool, provider),
        assets=await build.assets(pool, listings),
    )


async def list_reserves(build: Builder, pool: Address, configurator: Address, listings: Sequence[Listing]) -> None:
    """Tokens and rates of every listing, with implementations of their own."""
    a_token = await build.create("AToken", pool, ZERO, TREASURY)
    v_token = await build.create("VariableDebtToken", pool, ZERO)
    small = [listing for listing in listings if listing.spec.decimals < _LEAST_DECIMALS]
    for listing in small:
        await build.send(listing.token, "Token", "setDecimals", _LEAST_DECIMALS)
    for listing in listings:
        symbol = listing.spec.symbol
        names = (f"Aave {symbol}", f"a{symbol}", f"Aave Variable Debt {symbol}", f"v{symbol}")
        reserve = (a_token, v_token, listing.token, *names, b"", _rate_parameters(listing.spec))
        await build.send(configurator, "PoolConfigurator", "initReserves", [reserve])
    for listing in small:
        await _set_decimals(build, pool, configurator, listing)


def _rate_parameters(spec: AssetSpec) -> bytes:
    return encode(["uint16", "uint32", "uint32", "uint32"], spec.rate_bps)


async def _set_decimals(build: Builder, pool: Address, configurator: Address, listing: Listing) -> None:
    """This version refuses to list a token under 6 decimals, yet older markets that were upgraded to it hold some.

    So list with 6 and let the configurator (impersonated) write the true decimals, which the pool accepts.
    """
    decimals = listing.spec.decimals
    await build.send(listing.token, "Token", "setDecimals", decimals)
    (word,) = await build.view(pool, "Pool", "getConfiguration", listing.token)
    word = word & ~(0xFF << _DECIMALS_SHIFT) | decimals << _DECIMALS_SHIFT
    await build.chain.fund([configurator])
    await build.chain.send(configurator, pool, build.contracts["Pool"], "setConfiguration", listing.token, (word,))


async def _emodes(build: Builder, configurator: Address, listings: Sequence[Listing]) -> None:
    tokens = {listing.spec.symbol: listing.token for listing in listings}
    for mode in EMODES:
        settings = (mode.category_id, mode.ltv_bps, mode.threshold_bps, mode.bonus_bps, mode.label)
        await build.send(configurator, "PoolConfigurator", "setEModeCategory", *settings)
        sides = (("setAssetCollateralInEMode", mode.collateral), ("setAssetBorrowableInEMode", mode.borrowable))
        for function, symbols in sides:
            for symbol in symbols:
                await build.send(configurator, "PoolConfigurator", function, tokens[symbol], mode.category_id, ON)
