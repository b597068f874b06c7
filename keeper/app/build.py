"""One chain's loop put together from the rooms."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from keeper import __version__
from keeper.app.carriage import carriage_of
from keeper.app.ground import Ground, Listener, reached
from keeper.app.modes import Acting, Means, means_for
from keeper.app.parts import FollowedMarkets, preset_check
from keeper.app.railing import purse_of, railing_of
from keeper.app.signers import token_decimals
from keeper.app.terms import desk_terms, head_age_limit_s, sockets_of
from keeper.chain.capabilities import Capabilities, probe, slower_ways
from keeper.chain.deployed import first_code_block
from keeper.chain.sockets import SocketAddress
from keeper.core import event_build
from keeper.core.checkpoint import Start
from keeper.core.event_build import AssetLabel
from keeper.core.events import Event
from keeper.core.units import Address
from keeper.pipeline.desk import Desk
from keeper.pipeline.loop import ChainLoop
from keeper.pipeline.market import MarketFollower
from keeper.ports import Checkpoints, Journal, Kept
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.settings import Chain as ChainSettings
from keeper.settings import Settings

Follower = MarketFollower[Market, State]

POLLED = "nothing announces heads (set ws_url or ipc_path): they are polled, and price updates show when mined"


@asynccontextmanager
async def built_chain(
    name: str,
    settings: Settings,
    chain: ChainSettings,
    acting: Acting,
    checkpoints: Checkpoints,
    kept: Kept,
    journal: Journal,
    listener: Listener | None = None,
) -> AsyncIterator[tuple[Ground, Means, ChainLoop]]:
    """One chain's loop with everything it needs; it has started by the journal, and so have its refusals. On the way out
    the books are saved."""
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(reached(name, settings, chain, listener))
        capabilities = await probe(ground.rpc, ground.head)
        followers = followers_of(ground, checkpoints)
        markets = FollowedMarkets(followers, ground.wrapped_native)
        purse = acting.purse or purse_of(settings, kept)
        rails_for = partial(railing_of, ground, purse, kept, journal)

        means = await means_for(acting, ground, markets, kept, journal, stack, rails_for, partial(carriage_of, ground))
        loop = ChainLoop(
            name,
            ground.client,
            [
                desk_of(ground, follower, market, means)
                for follower, market in zip(followers, ground.markets, strict=True)
            ],
            means.funding,
            means.simulator,
            means.submitter,
            journal,
            time.time,
            head_age_limit_s(chain, ground.block_s, ground.on_demand),
            await asset_labels(ground),
            means.rails,
        )
        await journal.record(
            [
                _started(ground, means),
                *endpoint_events(name, ground.head.number, capabilities, sockets_of(chain)),
                *refusals(name, ground.refused, ground.head.number),
            ]
        )
        try:
            yield ground, means, loop
        finally:
            for follower in followers:
                await follower.save_checkpoint()


def followers_of(
    ground: Ground, checkpoints: Checkpoints, kind: type[MarketFollower[Market, State]] = MarketFollower
) -> list[Follower]:
    async def first_block(entry: Address) -> int:
        if ground.chain.start_block is not None:
            return ground.chain.start_block
        if ground.preset is not None and ground.preset.start_block is not None:
            return ground.preset.start_block
        return await first_code_block(ground.rpc, entry, ground.head)

    return [
        kind(
            ground.client,
            ground.name,
            AaveV3(),
            market.provider,
            checkpoints,
            first_block,
            preset_check(ground.preset, market.provider),
            chain_id=ground.chain_id,
            start=Start(ground.chain.start),
            reorg_depth=ground.chain.reorg_depth,
        )
        for market in ground.markets
    ]


def desk_of(ground: Ground, follower: Follower, market: Market, means: Means) -> Desk:
    unit, native = market.base_currency_unit, ground.wrapped_native
    terms = desk_terms(ground.chain, unit, native, ground.block_s, ground.on_demand)
    return Desk(follower, terms, ground.chain_id, means.carriage.carrier(market, means.rails), means.carriage.data_fee)


async def asset_labels(ground: Ground) -> dict[Address, Sequence[AssetLabel]]:
    """Per market, how people read its assets; but for those that do not say their decimals."""
    decimals = await token_decimals(ground)
    return {
        market.provider: [
            AssetLabel(r.asset, r.label, decimals[r.asset]) for r in market.reserves if r.asset in decimals
        ]
        for market in ground.markets
    }


def _started(ground: Ground, means: Means) -> Event:
    return event_build.started(
        ground.name,
        version=__version__,
        mode=means.name,
        chain_id=ground.chain_id,
        signers=list(means.funding),
        markets=[market.provider for market in ground.markets],
    )


def endpoint_events(
    name: str, block_number: int, found: Sequence[Capabilities], sockets: Sequence[SocketAddress]
) -> list[Event]:
    """What each endpoint can do, and what is done otherwise for what it cannot; what nobody does is told of the first."""
    events = []
    unannounced = [] if sockets else [POLLED]
    for each in found:
        known = each.trouble is None
        events.append(
            event_build.endpoint(
                name,
                block_number,
                each.label,
                archive=each.archive if known else None,
                state_depth_blocks=each.state_depth_blocks,
                batches=each.batches if known else None,
                simulates=each.simulates if known else None,
                detail="; ".join([*slower_ways(each, found), *unannounced]),
            )
        )
        unannounced = []
    return events


def refusals(name: str, refused: Mapping[Address, str], block_number: int | None = None) -> list[Event]:
    """As the journal tells of markets that cannot be trusted."""
    return [event_build.market_refused(name, market, block_number, why) for market, why in refused.items()]
