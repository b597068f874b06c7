"""Settings taken apart into the plain values that the rooms receive."""

from __future__ import annotations

import math
from decimal import Decimal

from keeper.chain.agreement import Agreement
from keeper.chain.blocks import read_header
from keeper.chain.deadlines import Deadlines
from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
from keeper.chain.rpc import Rpc
from keeper.chain.sockets import IpcAddress, SocketAddress, WebSocketAddress
from keeper.core.block import BlockRef
from keeper.core.errors import ConfigError
from keeper.core.planner import PlanPolicy
from keeper.core.price_policy import Action, PricePolicies, PricePolicy, SequencerPolicy
from keeper.core.target import TargetPolicy
from keeper.core.units import BPS, WAD, Address, address_from_hex
from keeper.pipeline.desk import Terms
from keeper.settings import Chain as ChainSettings
from keeper.settings import Policy
from keeper.settings import Prices as PriceSettings
from keeper.settings.presets import Preset

GWEI = 10**9
MEASURED_BLOCKS = 100
SHORTEST_HEAD_AGE_S = 60.0
SHORTEST_QUIET_S = 2.0
SHORTEST_INCLUSION_S = 6
"""Where blocks come every second, reading, planning and simulating take a block or two of their own."""


def endpoints_of(chain: ChainSettings, chain_id: int | None) -> Endpoints:
    """The node(s) of a chain. Raises `ConfigError` for a URL that is none, without repeating it."""
    pace, seconds = chain.rpc.requests_per_second, chain.rpc.deadlines_s
    deadlines = Deadlines(seconds.head, seconds.state, seconds.logs, seconds.simulate, seconds.send)
    endpoints = [
        Endpoint(
            url.get_secret_value(),
            timeout_s=chain.rpc.timeout_s,
            batch_size=100 if chain.rpc.batch else 1,
            calls_per_s=None if pace is None else max(1, int(pace)),
            deadlines=deadlines,
        )
        for url in chain.rpc_url
    ]
    return Endpoints(endpoints, chain_id, deadline_s=3 * chain.rpc.timeout_s, hedged_share=chain.rpc.hedged_share)


def final_rpc(name: str, chain: ChainSettings, rpc: Endpoints) -> Endpoints | Agreement:
    """Who is asked for the last word on an order. Raises `ConfigError` when fewer can agree than must."""
    if chain.rpc.agreement == 1:
        return rpc
    try:
        return Agreement(rpc, chain.rpc.agreement)
    except ConfigError as error:
        raise ConfigError(f"chains.{name}: {error}") from None


def sockets_of(chain: ChainSettings) -> list[SocketAddress]:
    """Where heads are announced, in order."""
    addresses: list[SocketAddress] = [] if chain.ipc_path is None else [IpcAddress(chain.ipc_path)]
    return addresses + [WebSocketAddress(url.get_secret_value()) for url in chain.ws_url]


def expected_chain_id(name: str, chain: ChainSettings, preset: Preset | None) -> int | None:
    """Configured or preset, or named for real money; None when none says. Raises `ConfigError` when they disagree."""
    if preset is not None and chain.chain_id is not None and chain.chain_id != preset.chain_id:
        raise ConfigError(
            f"chains.{name}.chain_id is {chain.chain_id}, but the preset '{preset.name}' is for chain {preset.chain_id}:"
            " remove chain_id or choose another preset"
        )
    known = chain.chain_id if preset is None else preset.chain_id
    if known is not None and chain.live_chain_id not in (None, known):
        raise ConfigError(
            f"chains.{name}.live_chain_id is {chain.live_chain_id}, but its {'preset' if preset else 'chain_id'} says chain"
            f" {known}: name the chain on which real money is meant to be spent"
        )
    return known if known is not None else chain.live_chain_id


def providers_of(chain: ChainSettings, preset: Preset | None) -> list[Address]:
    """The addresses providers of the chain's markets, the preset's first."""
    texts = ([preset.addresses_provider] if preset is not None else []) + list(chain.addresses_provider)
    return list(dict.fromkeys(address_from_hex(text) for text in texts))


async def block_time_s(chain: ChainSettings, preset: Preset | None, rpc: Rpc, head: BlockRef) -> float:
    """Configured, the preset's, or the mean over the last blocks, at least a tenth of a second."""
    if chain.block_time_s is not None:
        return chain.block_time_s
    if preset is not None:
        return preset.block_time_s
    span = min(MEASURED_BLOCKS, head.number)
    if span == 0:
        return 12.0
    earlier = await read_header(rpc, head.number - span)
    return max(0.1, (head.timestamp_s - earlier.timestamp_s) / span)


def poll_s(chain: ChainSettings, block_s: float) -> float:
    return chain.rpc.poll_s if chain.rpc.poll_s is not None else min(2.0, block_s / 2)


def quiet_after_s(chain: ChainSettings, block_s: float) -> float:
    """So long without a new head, and it is asked for."""
    return max(SHORTEST_QUIET_S, chain.rpc.quiet_blocks * block_s)


def few_blocks(chain: ChainSettings, block_s: float) -> int:
    """So far apart may the heads of nodes be that are well."""
    return max(2, math.ceil(quiet_after_s(chain, block_s) / block_s))


def clock_tolerance_s(block_s: float) -> float:
    """New blocks are never that old when they arrive, nor stamped that far ahead, unless a clock is wrong."""
    return max(15.0, 2 * block_s)


def head_age_limit_s(chain: ChainSettings, block_s: float, on_demand: bool) -> float:
    """How old a head may be to act on it. `on_demand`: a devnet that mines only when asked has heads of any age."""
    if chain.max_head_age_s is not None:
        return chain.max_head_age_s
    return math.inf if on_demand else advance_within_s(block_s)


def advance_within_s(block_s: float) -> float:
    """Within this time a chain that is well shows a new block: ten block times, at least a minute."""
    return max(SHORTEST_HEAD_AGE_S, 10 * block_s)


def window_blocks(chain: ChainSettings, block_s: float) -> int:
    """How many blocks a plan must hold for."""
    return max(chain.inclusion_blocks, math.ceil(SHORTEST_INCLUSION_S / block_s))


def fee_cap_wei(chain: ChainSettings) -> int:
    return int(chain.fees.max_fee_gwei * GWEI)


def desk_terms(
    chain: ChainSettings, base_unit: int, wrapped_native: Address | None, block_s: float, on_demand: bool
) -> Terms:
    """What the operator asks of every order of a market whose base currency has `base_unit`. Blocks that are mined on demand
    may come a second apart."""
    return Terms(
        policy=plan_policy(chain.policy, base_unit, most_in_flight(chain)),
        min_profit_base=int(chain.policy.min_profit * base_unit),
        fee_cap_wei=fee_cap_wei(chain),
        priority_share_bps=int(chain.fees.priority_profit_share * BPS),
        wrapped_native=wrapped_native,
        inclusion_s=max(SHORTEST_INCLUSION_S, math.ceil(chain.inclusion_blocks * block_s)),
        block_s=1 if on_demand else math.floor(block_s),
        prices=price_policies(chain.prices),
    )


def most_in_flight(chain: ChainSettings) -> int | None:
    """Of the signer that may have the most on its way; None where one has no bound of its own."""
    bounds = [signer.most_in_flight for signer in chain.signing.values()]
    known = [bound for bound in bounds if bound is not None]
    return max(known) if known and len(known) == len(bounds) else None


def plan_policy(policy: Policy, base_unit: int, most_in_flight: int | None = None) -> PlanPolicy:
    """`most_in_flight`: a sequence of more calls would wait for ever."""
    only = policy.only_borrowers
    return PlanPolicy(
        target=TargetPolicy(
            market_wad=None if policy.target is None else _wad(policy.target),
            category_wad={category: _wad(target) for category, target in policy.target_by_emode.items()},
            asset_wad={address_from_hex(asset): _wad(target) for asset, target in policy.target_by_asset.items()},
        ),
        most_calls=min(policy.most_calls, most_in_flight or policy.most_calls),
        minimum_repay_base=int(policy.min_repay * base_unit),
        skip_borrowers=frozenset(map(address_from_hex, policy.skip_borrowers)),
        only_borrowers=None if only is None else frozenset(map(address_from_hex, only)),
        skip_assets=frozenset(map(address_from_hex, policy.skip_assets)),
    )


def price_policies(prices: PriceSettings) -> PricePolicies:
    """Each asset's own limits where it has any, the chain's otherwise."""
    default = PricePolicy(Action(prices.action), prices.max_age_s, _bps(prices.max_jump_percent))
    sequencer = None
    if prices.sequencer_feed is not None:
        feed = address_from_hex(prices.sequencer_feed)
        sequencer = SequencerPolicy(feed, prices.sequencer_grace_s, default.action)
    return PricePolicies(
        default=default,
        by_asset={
            address_from_hex(asset): PricePolicy(
                default.action if own.action is None else Action(own.action),
                default.max_age_s if own.max_age_s is None else own.max_age_s,
                default.max_jump_bps if own.max_jump_percent is None else _bps(own.max_jump_percent),
            )
            for asset, own in prices.by_asset.items()
        },
        sequencer=sequencer,
    )


def _bps(percent: Decimal) -> int:
    return int(percent * 100)


def _wad(number: Decimal) -> int:
    return int(number * WAD)
