"""Aave v3.0.2 on a devnet, from the compiled artifacts that its package carries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keeper.core.units import RAY, Address
from keeper.devnet.artifacts import Artifact, link_offsets
from keeper.devnet.cache import Say, quiet
from keeper.devnet.chain import DevChain
from keeper.devnet.compile import Artifacts, own_artifacts
from keeper.devnet.market import TREASURY, ZERO, Builder, Deployment, Listing
from keeper.devnet.packages import install
from keeper.devnet.spec import EMODES, AssetSpec

_LIBRARIES = (
    "BorrowLogic",
    "BridgeLogic",
    "ConfiguratorLogic",
    "EModeLogic",
    "FlashLoanLogic",
    "LiquidationLogic",
    "PoolLogic",
    "SupplyLogic",
)
_ARTIFACTS = {
    "protocol/libraries/logic": _LIBRARIES,
    "protocol/configuration": (
        "PoolAddressesProviderRegistry",
        "PoolAddressesProvider",
        "ACLManager",
        "PriceOracleSentinel",
    ),
    "protocol/pool": ("Pool", "PoolConfigurator", "DefaultReserveInterestRateStrategy"),
    "protocol/tokenization": ("AToken", "StableDebtToken", "VariableDebtToken"),
    "misc": ("AaveOracle", "AaveProtocolDataProvider"),
}
_STABLE_RATES_BPS = (400, 6_000, 100, 500, 2_000)
"""Stable slope below and beyond the optimum, offset over the variable slope, offset for excess, optimal share."""
_FLASH_PREMIUM_BPS = 9


def contracts(say: Say = quiet) -> Artifacts:
    """Every interface and code that a 3.0.2 devnet needs; only our own contracts are compiled."""
    root = install("aave_v302", say) / "@aave" / "core-v3" / "artifacts" / "contracts"
    published = {name: _artifact(root / folder, name) for folder, names in _ARTIFACTS.items() for name in names}
    return published | dict(own_artifacts(say))


def _artifact(folder: Path, name: str) -> Artifact:
    stored: dict[str, Any] = json.loads((folder / f"{name}.sol" / f"{name}.json").read_text())
    return Artifact(
        name=name,
        abi=stored["abi"],
        bytecode=stored["bytecode"].removeprefix("0x"),
        runtime=stored["deployedBytecode"].removeprefix("0x"),
        links=link_offsets(stored["linkReferences"]),
    )


async def deploy(chain: DevChain, artifacts: Artifacts, chain_id: int) -> Deployment:
    """The whole market on an empty chain that mines each transaction. Raises Reverted."""
    build = Builder(chain, artifacts)
    await build.prepare()
    provider = await build.provider()
    for name in _LIBRARIES:
        await build.library(name)
    pool = await build.proxied(provider, "Pool", await build.create("Pool", provider))
    acl = await build.roles(provider)
    configurator = await build.proxied(provider, "PoolConfigurator", await build.create("PoolConfigurator"))
    data_provider = await build.create("AaveProtocolDataProvider", provider)
    await build.send(provider, "PoolAddressesProvider", "setPoolDataProvider", data_provider)

    listings = await build.listings()
    oracle = await build.oracle(provider, listings)
    await list_reserves(build, provider, pool, configurator, listings)
    for listing in listings:
        await build.collateral_settings(configurator, listing)
    await build.send(configurator, "PoolConfigurator", "updateFlashloanPremiumTotal", _FLASH_PREMIUM_BPS)
    await _emodes(build, configurator, listings)
    return Deployment(
        version="3.0.2",
        chain_id=chain_id,
        addresses_provider=provider,
        pool=pool,
        pool_configurator=configurator,
        acl=acl,
        oracle=oracle,
        protocol_data_provider=data_provider,
        liquidation_data_provider=None,
        assets=await build.assets(pool, listings),
    )


async def list_reserves(
    build: Builder, provider: Address, pool: Address, configurator: Address, listings: Sequence[Listing]
) -> None:
    """Tokens and rates of every listing, with implementations of their own."""
    a_token = await build.create("AToken", pool)
    s_token = await build.create("StableDebtToken", pool)
    v_token = await build.create("VariableDebtToken", pool)
    for listing in listings:
        symbol = listing.spec.symbol
        strategy = await build.create("DefaultReserveInterestRateStrategy", provider, *_rates_ray(listing.spec))
        implementations = (a_token, s_token, v_token, listing.spec.decimals, strategy)
        owners = (listing.token, TREASURY, ZERO)
        names = (f"Aave {symbol}", f"a{symbol}", f"Aave Variable Debt {symbol}", f"v{symbol}")
        stable_names = (f"Aave Stable Debt {symbol}", f"s{symbol}")
        reserve = (*implementations, *owners, *names, *stable_names, b"")
        await build.send(configurator, "PoolConfigurator", "initReserves", [reserve])


def _rates_ray(spec: AssetSpec) -> list[int]:
    return [bps * RAY // 10_000 for bps in (*spec.rate_bps, *_STABLE_RATES_BPS)]


async def _emodes(build: Builder, configurator: Address, listings: Sequence[Listing]) -> None:
    """Here an asset has one category, and must count for something outside of it."""
    for mode in EMODES:
        settings = (mode.category_id, mode.ltv_bps, mode.threshold_bps, mode.bonus_bps, ZERO, mode.label)
        await build.send(configurator, "PoolConfigurator", "setEModeCategory", *settings)
        for listing in listings:
            if listing.spec.symbol in mode.collateral and listing.spec.threshold_bps:
                await build.send(
                    configurator, "PoolConfigurator", "setAssetEModeCategory", listing.token, mode.category_id
                )
