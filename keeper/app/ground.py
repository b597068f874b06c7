"""Reaching a chain and looking at it: the right node, the right markets, what the native coin is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from keeper.app.parts import preset_check
from keeper.app.terms import (
    advance_within_s,
    block_time_s,
    clock_tolerance_s,
    endpoints_of,
    expected_chain_id,
    fee_cap_wei,
    few_blocks,
    poll_s,
    providers_of,
    quiet_after_s,
    sockets_of,
    window_blocks,
)
from keeper.chain.announced import Announcements
from keeper.chain.client import ChainClient
from keeper.chain.clock_watch import ClockWatch
from keeper.chain.endpoints import Endpoints
from keeper.chain.heads import Stall
from keeper.chain.notice import Notice
from keeper.chain.pending import PendingFeed
from keeper.chain.watchdog import Watchdog
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, KeeperError, MarketError, NoMarket, WrongChain
from keeper.core.units import Address, address_from_hex
from keeper.execution.loopback import is_loopback_anvil
from keeper.execution.native import find_wrapped_native
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.settings import Chain as ChainSettings
from keeper.settings import Settings
from keeper.settings.presets import Preset, load_preset, preset_names

SYNCING_AFTER_S = 3_600
"""A node whose newest block is older has not caught up: what it does not know yet proves nothing."""


@dataclass(frozen=True, slots=True)
class Ground:
    """One chain, reached and looked at, before anybody can act on it."""

    name: str
    settings: Settings
    chain: ChainSettings
    preset: Preset | None
    rpc: Endpoints
    client: ChainClient
    chain_id: int
    head: BlockRef
    wrapped_native: Address | None
    markets: Sequence[Market]
    refused: Mapping[Address, str]
    """Configured markets that cannot be trusted, with why."""
    block_s: float
    on_demand: bool
    """A local anvil: it may mine only when something is sent."""


class NoneTrusted(MarketError):
    """Every market of a chain is refused; `refused` says why."""

    def __init__(self, refused: Mapping[Address, str]) -> None:
        super().__init__("; ".join(refused.values()))
        self.refused = refused


class Listener(Protocol):
    """Told what the node does while its heads are waited for."""

    def on_error(self, error: ChainError) -> None: ...

    def on_stall(self, stall: Stall) -> None: ...

    def on_notice(self, notice: Notice) -> None: ...


class Unheard:
    """Nobody listens."""

    def on_error(self, error: ChainError) -> None:
        return None

    def on_stall(self, stall: Stall) -> None:
        return None

    def on_notice(self, notice: Notice) -> None:
        return None


@asynccontextmanager
async def reached(
    name: str, settings: Settings, chain: ChainSettings, listener: Listener | None = None
) -> AsyncIterator[Ground]:
    """One chain, reached. Raises `ConfigError` for what a person must mend, `ChainError` for what the node must, `NoneTrusted`
    when there is no market left to look after."""
    preset = chain.load_preset()
    expected = expected_chain_id(name, chain, preset)
    listener = listener or Unheard()
    async with endpoints_of(chain, expected) as rpc:
        try:
            chain_id = await rpc.check()
        except WrongChain as error:
            raise ConfigError(f"chains.{name}: {error}; correct rpc_url, chain_id or preset") from None
        head = await Watchdog(rpc, tell=listener.on_notice).latest()
        block_s = await block_time_s(chain, preset, rpc, head)
        on_demand = await is_loopback_anvil(chain.rpc_url[0].get_secret_value(), rpc)
        sockets, tell = sockets_of(chain), listener.on_notice
        announced = Announcements(sockets, chain_id, tell=tell) if sockets else None
        clock = None if on_demand else ClockWatch(clock_tolerance_s(block_s))
        client = ChainClient(
            rpc,
            poll_s=poll_s(chain, block_s),
            fee_cap_wei=fee_cap_wei(chain),
            priority_percentile=chain.fees.priority_percentile,
            window_blocks=window_blocks(chain, block_s),
            log_span=chain.rpc.log_span,
            reorg_depth=chain.reorg_depth,
            announced=announced,
            watchdog=Watchdog(rpc, announced=announced, clock=clock, tell=tell, few_blocks=few_blocks(chain, block_s)),
            pending=PendingFeed(rpc, sockets, chain_id, tell=tell, on_error=listener.on_error),
            quiet_after_s=quiet_after_s(chain, block_s),
            stall_after_s=None if on_demand else advance_within_s(block_s),
            on_stall=listener.on_stall,
            on_error=listener.on_error,
        )
        markets, refused = await _discovered(name, chain, preset, client, head)
        native = configured_native(chain, chain_id)
        if native is None:
            assets = list(dict.fromkeys(reserve.asset for market in markets for reserve in market.reserves))
            native = await find_wrapped_native(rpc, assets, head)
        async with nullcontext() if announced is None else announced.followed():
            yield Ground(
                name, settings, chain, preset, rpc, client, chain_id, head, native, markets, refused, block_s, on_demand
            )


async def _discovered(
    name: str, chain: ChainSettings, preset: Preset | None, client: ChainClient, head: BlockRef
) -> tuple[list[Market], dict[Address, str]]:
    """The markets in order, and why the others are refused. One that is refused does not stand in the way of the rest."""
    markets: list[Market] = []
    refused: dict[Address, str] = {}
    for provider in providers_of(chain, preset):
        try:
            markets.append(await client.drive(AaveV3().discover(provider), head))
        except NoMarket as error:
            raise _nothing_there(name, error, head) from None
        except MarketError as error:
            refused[provider] = str(error)
            continue
        try:
            preset_check(preset, provider)(markets[-1])
        except MarketError as error:
            raise ConfigError(f"chains.{name}: {error}") from None
    if not markets:
        raise NoneTrusted(refused)
    return markets, refused


def _nothing_there(name: str, error: NoMarket, head: BlockRef) -> KeeperError:
    age_s = int(time.time()) - head.timestamp_s
    if age_s > SYNCING_AFTER_S:
        return MarketError(
            f"chains.{name}: {error} at block {head.number}, the node's newest, which is {age_s // 3_600} hours old:"
            " let the node catch up"
        )
    return ConfigError(
        f"chains.{name}: {error} at block {head.number}: correct addresses_provider, or rpc_url if the node is of another"
        " chain"
    )


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
