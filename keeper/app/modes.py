"""Dry, fork or live: chosen here and nowhere else. What comes out is a funding, a simulator and a submitter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from keeper.app.ground import Ground
from keeper.app.keys import KeyRing
from keeper.app.parts import FollowedMarkets
from keeper.app.plan import RunPlan
from keeper.app.queue import Post, left_behind, queue_of
from keeper.app.relays import private_routes
from keeper.app.signers import signers_of
from keeper.app.terms import expected_chain_id, final_rpc
from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.origin import Origin
from keeper.core.errors import ConfigError
from keeper.core.units import Address, address_from_hex
from keeper.devnet.anvil import AnvilOptions, find_anvil, running_anvil
from keeper.execution.by_call import CallSimulator
from keeper.execution.dry import DrySubmitter
from keeper.execution.fork import ForkSubmitter
from keeper.execution.funding import DealtFunding
from keeper.execution.live import DEVNET_CHAIN_IDS, LivePermit, may_go_live
from keeper.execution.loopback import is_loopback_anvil
from keeper.execution.simulate import NodeSimulator
from keeper.execution.slots import SlotFinder
from keeper.pipeline.carrying import Carrier
from keeper.pipeline.queues import Queues
from keeper.pipeline.railing import Railing
from keeper.pipeline.rails import SharedPurse
from keeper.pipeline.trade import DataFee
from keeper.ports import Funding, Journal, Simulator, Submitter, Transactions
from keeper.protocols.aave_v3.market import Market
from keeper.settings import Chain as ChainSettings
from keeper.settings import Settings
from keeper.settings.presets import Preset, chain_ids_of_testnets

PLACEHOLDER_KEEPER = address_from_hex("0x00000000000000000000000000000000000fA4e1")
"""Who liquidates in a dry run without `keeper_address`."""


@dataclass(frozen=True, slots=True)
class Carriage:
    """Who carries orders, and who signs for that where nobody is said to."""

    operator: Address
    carrier: Callable[[Market, Railing], Carrier]
    """One for each market."""
    data_fee: DataFee | None = None
    """Of one of its transactions; None where the chain asks none of its own."""


CarriageFor = Callable[[Sequence[Address], Address], Awaitable[Carriage]]
"""By who are said to sign, and who does where nobody is and the executor does not matter."""
RailsFor = Callable[[Sequence[Address]], Railing]
"""By who pay."""


@dataclass(frozen=True, slots=True)
class Means:
    """How a chain's loop acts."""

    funding: Mapping[Address, Funding]
    """By who signs, in the configured order."""
    simulator: Simulator
    submitter: Submitter
    rails: Railing
    name: str
    carriage: Carriage
    stands_behind: bool = False
    """Whether orders can be put right behind somebody's pending transaction: where relays take bundles."""


@dataclass(frozen=True, slots=True)
class Acting:
    """How this process acts, on all its chains."""

    mode: str
    keys: KeyRing
    purse: SharedPurse | None = None
    """What all chains of the process spend together; None where there is one chain alone."""


def effective_mode(settings: Settings, plan: RunPlan) -> str:
    """Live needs `--live` and `mode = "live"`; one without the other is refused, so nobody sends, or fails to, by mistake."""
    if plan.live and plan.fork:
        raise ConfigError("--live and --fork exclude each other: choose one")
    if plan.live and settings.mode != "live":
        raise ConfigError('sending also needs mode = "live" in the configuration; it says mode = "dry"')
    if settings.mode == "live" and not plan.live and not plan.fork:
        raise ConfigError('mode = "live" also needs --live on the command line; add it, or set mode = "dry"')
    if plan.fork:
        return "fork"
    return "live" if plan.live else "dry"


async def means_for(
    acting: Acting,
    ground: Ground,
    markets: FollowedMarkets,
    transactions: Transactions,
    journal: Journal,
    stack: AsyncExitStack,
    rails_for: RailsFor,
    carriage_for: CarriageFor,
) -> Means:
    """Everything that acts, for one chain. Only `live` loads a key; only `fork` starts an anvil."""
    mode = acting.mode
    if mode == "live":
        return await _live(acting.keys, rails_for, carriage_for, ground, markets, transactions, journal, stack)
    named = [] if ground.chain.keeper_address is None else [address_from_hex(ground.chain.keeper_address)]
    carriage = await carriage_for(named, PLACEHOLDER_KEEPER)
    owner = carriage.operator
    dealt = DealtFunding(SlotFinder(ground.rpc), owner)
    simulator = simulator_of(ground, markets, dealt)
    submitter = await _fork(ground, markets, dealt, stack) if mode == "fork" else DrySubmitter()
    return Means({owner: dealt}, simulator, submitter, rails_for([owner]), mode, carriage)


def simulator_of(ground: Ground, markets: FollowedMarkets, dealt: DealtFunding | None = None) -> Simulator:
    """By `eth_simulateV1` where any endpoint offers it, else order by order in an `eth_call`; from as many hosts as must
    agree."""
    rpc = final_rpc(ground.name, ground.chain, ground.rpc)
    kind = NodeSimulator if ground.rpc.offers("eth_simulateV1") else CallSimulator
    return kind(rpc, markets, dealt)


async def _fork(ground: Ground, markets: FollowedMarkets, dealt: DealtFunding, stack: AsyncExitStack) -> ForkSubmitter:
    configured = ground.settings.anvil
    binary = find_anvil(str(configured) if configured is not None else None)
    if binary is None:
        raise ConfigError('--fork needs anvil: put it on PATH, set anvil = "/path/to/anvil", or run `make demo` once')
    upstream_url = ground.chain.rpc_url[0].get_secret_value()
    return await stack.enter_async_context(
        ForkSubmitter(
            lambda head: running_anvil(binary, AnvilOptions(fork_url=upstream_url, fork_block_number=head.number)),
            JsonRpc,
            Origin(upstream_url).shown,
            dealt,
            markets,
        )
    )


async def _live(
    keys: KeyRing,
    rails_for: RailsFor,
    carriage_for: CarriageFor,
    ground: Ground,
    markets: FollowedMarkets,
    transactions: Transactions,
    journal: Journal,
    stack: AsyncExitStack,
) -> Means:
    permit = await permit_for(ground)
    signers = await signers_of(keys, ground)
    addresses = [signer.address for signer in signers]
    carriage = await carriage_for(addresses, addresses[0])
    rails = rails_for(addresses)
    halted = {signer: each.halted for signer, each in rails.by_signer.items()}
    routes = await private_routes(
        ground.name, ground.chain, keys, halted, ground.rpc, journal, stack, ground.head.number
    )
    post = Post(permit, ground, markets, transactions, journal, ground.client.heads())
    funding: dict[Address, Funding] = {}
    queues: dict[Address, Submitter] = {}
    others = await rails.others_on_their_way(ground.chain_id, ground.head.timestamp_s)
    left = [await left_behind(signer, post) for signer in others]
    for signer in signers:
        route = routes.get(signer.address)
        funding[signer.address], queues[signer.address] = await queue_of(
            signer, post, rails.by_signer[signer.address], route
        )
    bundles = ground.chain.relays is not None and ground.chain.relays.method == "bundle"
    simulator, submitter = simulator_of(ground, markets), Queues(queues, left)
    return Means(funding, simulator, submitter, rails, "live", carriage, stands_behind=bundles)


async def permit_for(ground: Ground) -> LivePermit:
    """Raises `ConfigError` where nothing may be sent."""
    url = ground.chain.rpc_url[0].get_secret_value()
    is_testnet = is_testnet_preset(ground.preset, ground.chain_id)
    return may_go_live(
        ground.chain_id,
        is_testnet_preset=is_testnet,
        node_is_anvil_devnet=not is_testnet and await is_loopback_anvil(url, ground.rpc),
        named_chain_id=ground.chain.live_chain_id,
    )


def is_testnet_preset(preset: Preset | None, chain_id: int) -> bool:
    """Whether the preset is a testnet's, by its own word and by the shipped presets': a file of the operator's own cannot
    make a testnet of a chain that is none."""
    if preset is None or not preset.testnet or preset.chain_id != chain_id:
        return False
    return chain_id in chain_ids_of_testnets()


def live_concerns(settings: Settings) -> list[str]:
    """Why a configuration that says live will not go live, as far as can be told without a node. None where it says dry."""
    if settings.mode != "live":
        return []
    concerns = []
    for name, chain in settings.chains.items():
        if not chain.signing:
            concerns.append(f"chains.{name}: mode is live, but there is no signer table: nobody can sign")
        preset = chain.load_preset()
        chain_id = expected_chain_id(name, chain, preset)
        if chain_id is None or chain_id in DEVNET_CHAIN_IDS or is_testnet_preset(preset, chain_id):
            continue
        if chain.live_chain_id == chain_id:
            concerns.append(
                f"chains.{name}: live_chain_id = {chain_id}: `keeper run --live` spends real money on chain {chain_id}; by the"
                f" rails of each signer, in a day: {_day_of(chain)}"
            )
        else:
            concerns.append(
                f"chains.{name}: mode is live, but chain {chain_id} is none of the testnets of config/chains, so there is real"
                f" money on it: `keeper run --live` will refuse it unless live_chain_id = {chain_id} says that it is meant"
            )
    return concerns


def _day_of(chain: ChainSettings) -> str:
    """What the rails let one signer spend in a day, in words."""
    rails = chain.rails
    bounds = (
        (rails.gas.per_day, "native coins of gas"),
        (rails.loss.per_day, "lost in base currency"),
        (rails.notional.per_day, "of debt repaid"),
    )
    return ", ".join(f"{'without bound' if bound is None else f'up to {bound:,}'} {what}" for bound, what in bounds)
