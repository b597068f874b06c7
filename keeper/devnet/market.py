"""A deployed market on a devnet: its addresses, its contracts' interfaces, and how it comes to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet.artifacts import Artifact
from keeper.devnet.chain import ON, DevChain, Tx, salted_address
from keeper.devnet.compile import Artifacts
from keeper.devnet.openings import Opening
from keeper.devnet.spec import ASSETS, CAP_BASE, RATIO_WAD, WRAPPED_NATIVE, AssetSpec, Version, asset_spec

ADMIN = salted_address("admin")
"""Owns every contract and holds every role. Impersonated; nobody has its key."""
TREASURY = salted_address("treasury")
MULTICALL = address_from_hex("0xcA11bde05977b3631167028862bE2a173976CA11")
ZERO = Address(bytes(20))
BASE_UNIT = 10**8


@dataclass(frozen=True)
class DevAsset:
    """One reserve's addresses. `price_source` is what the market's oracle reads; `feed` is the settable feed under it
    (for a ratio feed that is the base asset's), `ratio_feed` the ratio adapter where there is one."""

    symbol: str
    decimals: int
    reserve_id: int
    token: Address
    price_source: Address
    feed: Address
    a_token: Address
    v_token: Address

    @property
    def spec(self) -> AssetSpec:
        return asset_spec(self.symbol)


@dataclass(frozen=True)
class Deployment:
    """The addresses of a market. Discovery needs only `addresses_provider`; the rest is for tests and the demo."""

    version: Version
    chain_id: int
    addresses_provider: Address
    pool: Address
    pool_configurator: Address
    acl: Address
    oracle: Address
    protocol_data_provider: Address
    liquidation_data_provider: Address | None
    """3.6 only: the protocol's own second opinion on a liquidation's amounts."""
    assets: Mapping[str, DevAsset]
    admin: Address = ADMIN
    treasury: Address = TREASURY
    multicall: Address = MULTICALL

    @property
    def wrapped_native(self) -> Address:
        return self.assets[WRAPPED_NATIVE].token

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """By reserve id, ascending."""
        return tuple(sorted(self.assets, key=lambda symbol: self.assets[symbol].reserve_id))


@dataclass(frozen=True)
class Bed:
    """A chain with a market on it, and the interfaces to drive both.

    `contracts` holds, whatever the version: Pool, PoolConfigurator, PoolAddressesProvider, ACLManager, AaveOracle,
    AaveProtocolDataProvider, PriceOracleSentinel, AToken, VariableDebtToken, Token, WrappedNative, Feed, RatioFeed,
    CappedFeed, Multicall.
    """

    chain: DevChain
    deployment: Deployment
    contracts: Artifacts
    openings: tuple[Opening, ...] = ()
    """The borrowers opened when the bed was made."""

    @property
    def url(self) -> str:
        """The RPC URL; anvil serves WebSocket on the same port."""
        return self.chain.url

    def asset(self, symbol: str) -> DevAsset:
        return self.deployment.assets[symbol]

    def call_tx(self, sender: Address, to: Address, contract: str, function: str, *args: Any) -> Tx:
        """A transaction to be sent later, by `chain.transact` or in a batch."""
        return Tx(sender, to, self.contracts[contract].function(function).encode(args))

    def pool_tx(self, sender: Address, function: str, *args: Any) -> Tx:
        return self.call_tx(sender, self.deployment.pool, "Pool", function, *args)

    async def pool(self, function: str, *args: Any, block: str = "latest") -> Any:
        """A view of the pool."""
        return await self.chain.call(self.deployment.pool, self.contracts["Pool"], function, *args, block=block)

    async def price_base(self, symbol: str) -> int:
        """The oracle's price now, in base currency per whole token."""
        answer: int = await self.chain.call(
            self.deployment.oracle, self.contracts["AaveOracle"], "getAssetPrice", self.asset(symbol).token
        )
        return answer


@dataclass(frozen=True)
class Listing:
    """A token and its feeds, before the market knows them."""

    spec: AssetSpec
    token: Address
    price_source: Address
    feed: Address


class Builder:
    """Deploys as the admin. The version's module says what."""

    def __init__(self, chain: DevChain, contracts: Artifacts) -> None:
        self.chain = chain
        self.contracts = contracts
        self.libraries: dict[str, Address] = {}

    async def create(self, contract: str, *args: Any) -> Address:
        return await self.chain.deploy(ADMIN, self.contracts[contract], args, self.libraries)

    async def library(self, name: str) -> None:
        """Deploy a library and remember it for whatever is linked later."""
        self.libraries[name] = await self.create(name)

    async def send(self, to: Address, contract: str, function: str, *args: Any) -> None:
        await self.chain.send(ADMIN, to, self.contracts[contract], function, *args)

    async def view(self, to: Address, contract: str, function: str, *args: Any) -> Any:
        return await self.chain.call(to, self.contracts[contract], function, *args)

    async def prepare(self) -> None:
        """Fund the admin and put the multicall where keepers expect it."""
        await self.chain.rpc.request("anvil_autoImpersonateAccount", [True])
        await self.chain.fund([ADMIN])
        runtime = self.contracts["Multicall"].runtime
        await self.chain.rpc.request("anvil_setCode", [to_hex(MULTICALL), "0x" + runtime])

    async def provider(self) -> Address:
        """The registry and the addresses provider, with the admin as owner and ACL admin."""
        registry = await self.create("PoolAddressesProviderRegistry", ADMIN)
        provider = await self.create("PoolAddressesProvider", "Keeper devnet", ADMIN)
        await self.send(registry, "PoolAddressesProviderRegistry", "registerAddressesProvider", provider, 1)
        await self.send(provider, "PoolAddressesProvider", "setACLAdmin", ADMIN)
        return provider

    async def roles(self, provider: Address) -> Address:
        """The ACL manager, with the admin as pool and emergency admin."""
        acl = await self.create("ACLManager", provider)
        await self.send(provider, "PoolAddressesProvider", "setACLManager", acl)
        await self.send(acl, "ACLManager", "addPoolAdmin", ADMIN)
        await self.send(acl, "ACLManager", "addEmergencyAdmin", ADMIN)
        return acl

    async def listings(self, specs: Sequence[AssetSpec] = ASSETS) -> list[Listing]:
        """Tokens and feeds of ours for every asset."""
        made: dict[str, Listing] = {}
        for spec in specs:
            made[spec.symbol] = await self._listing(spec, made)
        return list(made.values())

    async def _listing(self, spec: AssetSpec, made: Mapping[str, Listing]) -> Listing:
        if spec.symbol == WRAPPED_NATIVE:
            token = await self.create("WrappedNative", "Wrapped Ether", spec.symbol)
        else:
            token = await self.create("Token", spec.symbol, spec.symbol, spec.decimals)
        if spec.feed == "ratio" and spec.root is not None:
            root = made[spec.root].feed
            return Listing(spec, token, await self.create("RatioFeed", root, RATIO_WAD), root)
        feed = await self.create("Feed", f"{spec.symbol} / USD", 8, spec.price_base)
        source = await self.create("CappedFeed", feed, CAP_BASE) if spec.feed == "capped" else feed
        return Listing(spec, token, source, feed)

    async def oracle(self, provider: Address, listings: Sequence[Listing]) -> Address:
        tokens = [listing.token for listing in listings]
        sources = [listing.price_source for listing in listings]
        oracle = await self.create("AaveOracle", provider, tokens, sources, ZERO, ZERO, BASE_UNIT)
        await self.send(provider, "PoolAddressesProvider", "setPriceOracle", oracle)
        return oracle

    async def proxied(self, provider: Address, what: str, implementation: Address) -> Address:
        """Hand the provider an implementation (`Pool` or `PoolConfigurator`); the address of the proxy it makes."""
        await self.send(provider, "PoolAddressesProvider", f"set{what}Impl", implementation)
        return address_from_hex(await self.view(provider, "PoolAddressesProvider", f"get{what}"))

    async def collateral_settings(self, configurator: Address, listing: Listing) -> None:
        """What both versions set in the same words."""
        spec, token = listing.spec, listing.token

        async def configure(function: str, *args: Any) -> None:
            await self.send(configurator, "PoolConfigurator", function, token, *args)

        if spec.threshold_bps:
            await configure("configureReserveAsCollateral", spec.ltv_bps, spec.threshold_bps, spec.bonus_bps)
        if spec.borrowable:
            await configure("setReserveBorrowing", ON)
        await configure("setReserveFlashLoaning", ON)
        await configure("setLiquidationProtocolFee", spec.protocol_fee_bps)
        await configure("setReserveFactor", spec.reserve_factor_bps)

    async def assets(self, pool: Address, listings: Sequence[Listing]) -> dict[str, DevAsset]:
        """The reserves as the pool knows them now."""
        found: dict[str, DevAsset] = {}
        for listing in listings:
            (reserve,) = (await self.view(pool, "Pool", "getReserveData", listing.token),)
            found[listing.spec.symbol] = DevAsset(
                symbol=listing.spec.symbol,
                decimals=listing.spec.decimals,
                reserve_id=reserve[7],
                token=listing.token,
                price_source=listing.price_source,
                feed=listing.feed,
                a_token=address_from_hex(reserve[8]),
                v_token=address_from_hex(reserve[10]),
            )
        return found


def renamed(artifacts: Artifacts, names: Mapping[str, str]) -> dict[str, Artifact]:
    """The artifacts by the names that both versions share."""
    return {names.get(name, name): artifact for name, artifact in artifacts.items()}
