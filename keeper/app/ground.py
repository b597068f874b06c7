"""Reaching a chain and looking at it: the right node, the right markets, what the native coin is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from keeper.app.modes import Ground
from keeper.app.parts import preset_check
from keeper.app.terms import block_time_s, endpoints_of, expected_chain_id, fee_cap_wei, poll_s, providers_of
from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, WrongChain
from keeper.core.units import Address, address_from_hex
from keeper.execution.native import find_wrapped_native
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.settings import Chain as ChainSettings
from keeper.settings import Settings
from keeper.settings.presets import Preset, load_preset, preset_names

OnError = Callable[[ChainError], None]


@asynccontextmanager
async def reached(
    name: str, settings: Settings, chain: ChainSettings, on_error: OnError = lambda error: None
) -> AsyncIterator[Ground]:
    """One chain, reached. Raises `ConfigError` for what a person must mend, `ChainError` and `MarketError` otherwise."""
    preset = chain.load_preset()
    expected = expected_chain_id(name, chain, preset)
    async with endpoints_of(chain, expected) as rpc:
        try:
            chain_id = await rpc.check()
        except WrongChain as error:
            raise ConfigError(f"chains.{name}: {error}; correct rpc_url, chain_id or preset") from None
        head = await read_header(rpc, "latest")
        block_s = await block_time_s(chain, preset, rpc, head)
        client = ChainClient(
            rpc,
            poll_s=poll_s(chain, block_s),
            fee_cap_wei=fee_cap_wei(chain),
            priority_percentile=chain.fees.priority_percentile,
            log_span=chain.rpc.log_span,
            on_error=on_error,
        )
        markets = [await discovered(client, provider, preset, head) for provider in providers_of(chain, preset)]
        native = configured_native(chain, chain_id)
        if native is None:
            assets = list(dict.fromkeys(reserve.asset for market in markets for reserve in market.reserves))
            native = await find_wrapped_native(rpc, assets, head)
        yield Ground(name, settings, chain, preset, rpc, client, chain_id, head, native, markets, block_s)


async def discovered(client: ChainClient, provider: Address, preset: Preset | None, head: BlockRef) -> Market:
    """The market behind a provider, as its preset says if there is one. Raises `MarketError`."""
    market = await client.drive(AaveV3().discover(provider), head)
    preset_check(preset, provider)(market)
    return market


def configured_native(chain: ChainSettings, chain_id: int) -> Address | None:
    """The wrapped native coin by configuration, or by any preset that knows this very market."""
    if chain.wrapped_native is not None:
        return address_from_hex(chain.wrapped_native)
    providers = {address_from_hex(text) for text in chain.addresses_provider}
    for preset_name in [chain.preset] if chain.preset is not None else preset_names():
        preset = load_preset(preset_name)
        ours = chain.preset is not None or address_from_hex(preset.addresses_provider) in providers
        if ours and preset.chain_id == chain_id and preset.wrapped_native is not None:
            return address_from_hex(preset.wrapped_native)
    return None
