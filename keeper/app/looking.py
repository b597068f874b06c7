"""Looking at markets without touching them: every borrower at one block, for the commands that only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.app.build import Follower, followers_of
from keeper.app.ground import Ground, reached
from keeper.app.parts import NullCheckpoints
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, MarketError
from keeper.core.lending import Health, LendingAdapter, Position
from keeper.core.units import Address, to_hex
from keeper.core.valued import Valued
from keeper.pipeline.market import Advance
from keeper.pipeline.progress import Progress
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.settings import Settings

LISTING_TRIES = 5


@dataclass(frozen=True, slots=True)
class MarketLook:
    """One market at one block. The adapter and the state value any of its positions."""

    chain: str
    market: Address
    """Its entry."""
    block: BlockRef
    base_unit: int
    """One whole unit of the base currency."""
    names: Mapping[Address, str]
    """Of every price that the oracle is asked for: an asset's symbol, or which e-mode's own price it is."""
    adapter: LendingAdapter[Market, State]
    state: State
    positions: Sequence[Position]
    """Everybody with debt."""

    @property
    def base_decimals(self) -> int:
        return len(str(self.base_unit)) - 1


async def look_at_markets(settings: Settings, progress: Progress) -> list[MarketLook]:
    """Every configured market at the newest block. Raises `MarketError` when one of them is refused, or its book is not what
    the chain says: half a list is none. The store is not touched."""
    looks: list[MarketLook] = []
    for name, chain in settings.chains.items():
        async with reached(name, settings, chain) as ground:
            for follower in followers_of(ground, NullCheckpoints()):
                looks += [await _look(ground, follower, progress)]
            for why in ground.refused.values():
                raise MarketError(why)
    return looks


async def list_positions(settings: Settings, progress: Progress) -> list[Valued]:
    """Every borrower with debt of every configured market, lowest health first."""
    rows = [
        Valued(position.borrower, look.market, look.block.number, _health(look, position), look.base_decimals)
        for look in await look_at_markets(settings, progress)
        for position in look.positions
    ]
    return sorted(
        rows, key=lambda row: (row.health is not None, row.health and row.health.health_factor_wad, row.borrower)
    )


def _health(look: MarketLook, position: Position) -> Health | None:
    health = look.adapter.health(look.state, position, look.block.timestamp_s)
    return health if isinstance(health, Health) else None


async def _look(ground: Ground, follower: Follower, progress: Progress) -> MarketLook:
    await caught_up(ground, follower, progress)
    if follower.refused is not None:
        raise MarketError(f"{to_hex(follower.entry)}: {follower.refused}")
    market, block = follower.market, follower.applied
    assert block is not None, "a market that caught up stands at a block"
    return MarketLook(
        chain=ground.name,
        market=follower.entry,
        block=block,
        base_unit=follower.adapter.base_unit(market),
        names=_names(market),
        adapter=follower.adapter,
        state=follower.state,
        positions=list(follower.book.positions()),
    )


def _names(market: Market) -> dict[Address, str]:
    """An asset's own name wins where it also prices an e-mode."""
    sources = {
        category.price_source: f"e-mode {category.id}"
        for category in market.categories.values()
        if category.price_source is not None
    }
    return sources | {reserve.asset: reserve.label for reserve in market.reserves}


async def caught_up(ground: Ground, follower: Follower, progress: Progress) -> Advance:
    """Bring a market to the newest block, with every row that is to be read anew. Finding the borrowers may outlast the state
    that the node keeps of a block: then a newer one is taken, and the search goes on from where it got."""
    head = ground.head
    for tries_left in reversed(range(LISTING_TRIES)):
        try:
            follower.rewind(await ground.client.extend(head))
            advance = await follower.start(head, progress)
            while follower.is_reading:
                head = await ground.client.latest()
                follower.rewind(await ground.client.extend(head))
                await follower.advance(head)
            return advance
        except BlockUnavailable:
            if not tries_left:
                raise
            head = await ground.client.latest()
    raise AssertionError("the last try returns or raises")
