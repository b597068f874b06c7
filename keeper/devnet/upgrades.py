"""What changes a market's code or its reserves while it runs: new implementations behind the proxies, new listings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet import aave_v36, aave_v302
from keeper.devnet.market import ADMIN, TREASURY, ZERO, Bed, Builder
from keeper.devnet.spec import AssetSpec

IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
"""Where a proxy keeps the address of its code (EIP-1967)."""
NO_FUNCTION = bytes(4)


async def implementation_of(bed: Bed, proxy: Address) -> Address:
    """Whose code a proxy runs now."""
    word = await bed.chain.rpc.request("eth_getStorageAt", [to_hex(proxy), IMPLEMENTATION_SLOT, "latest"])
    return address_from_hex("0x" + word[-40:])


async def _newer(bed: Bed, proxy: Address, contract: str, named: bytes, answer: int) -> Address:
    """An implementation that does what the proxy's present one does, but for one answer."""
    initializer = bed.contracts[contract].function("initialize").selector
    before = await implementation_of(bed, proxy)
    return await bed.chain.deploy(ADMIN, bed.contracts["Newer"], (to_hex(before), named, answer, initializer))


async def upgrade_pool(bed: Bed, revision: int) -> Address:
    """Put another implementation behind the pool's proxy, which calls itself this revision; its address."""
    named = bed.contracts["Pool"].function("POOL_REVISION").selector
    newer = await _newer(bed, bed.deployment.pool, "Pool", named, revision)
    provider = bed.deployment.addresses_provider
    await bed.chain.send(ADMIN, provider, bed.contracts["PoolAddressesProvider"], "setPoolImpl", newer)
    return newer


async def upgrade_a_token(bed: Bed, symbol: str) -> Address:
    """Put another implementation, which does the same, behind one aToken's proxy; its address."""
    asset = bed.asset(symbol)
    newer = await _newer(bed, asset.a_token, "AToken", NO_FUNCTION, 0)
    names = (f"Aave {symbol}", f"a{symbol}", newer, b"")
    if bed.deployment.version == "3.6":
        arguments: tuple[Any, ...] = (asset.token, *names)
    else:
        arguments = (asset.token, TREASURY, ZERO, *names)
    configurator = bed.deployment.pool_configurator
    await bed.chain.send(ADMIN, configurator, bed.contracts["PoolConfigurator"], "updateAToken", arguments)
    return newer


async def list_reserve(bed: Bed, spec: AssetSpec) -> Bed:
    """List one more asset, with a token and a feed of its own, on the running market; the bed that knows it."""
    deployment = bed.deployment
    build = Builder(bed.chain, bed.contracts)
    listings = await build.listings([spec])
    tokens, sources = [each.token for each in listings], [each.price_source for each in listings]
    await build.send(deployment.oracle, "AaveOracle", "setAssetSources", tokens, sources)
    if deployment.version == "3.6":
        await aave_v36.list_reserves(build, deployment.pool, deployment.pool_configurator, listings)
    else:
        provider = deployment.addresses_provider
        await aave_v302.list_reserves(build, provider, deployment.pool, deployment.pool_configurator, listings)
    for listing in listings:
        await build.collateral_settings(deployment.pool_configurator, listing)
    assets: Mapping[str, Any] = {**deployment.assets, **await build.assets(deployment.pool, listings)}
    return replace(bed, deployment=replace(deployment, assets=assets))
