"""Small adapters between rooms that may not know each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keeper.core.checkpoint import Checkpoint
from keeper.core.errors import ConfigError, MarketError
from keeper.core.events import Event
from keeper.core.standing import Standing
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.execution.markets import MarketHandle
from keeper.pipeline.loop import ChainLoop, Round
from keeper.pipeline.market import MarketFollower
from keeper.ports import Journal
from keeper.protocols.aave_v3.market import Market
from keeper.settings.presets import Preset
from keeper.telemetry.health import ChainHealth, MarketState


class FollowedMarkets(Mapping[Address, MarketHandle[Any, Any]]):
    """The markets as the followers have them right now, for execution."""

    def __init__(self, followers: Sequence[MarketFollower[Any, Any]], wrapped_native: Address | None) -> None:
        self._followers = {follower.entry: follower for follower in followers}
        self._wrapped_native = wrapped_native

    def __getitem__(self, market: Address) -> MarketHandle[Any, Any]:
        follower = self._followers[market]
        return MarketHandle(follower.adapter, follower.market, self._wrapped_native)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._followers)

    def __len__(self) -> int:
        return len(self._followers)


class NullCheckpoints:
    """Remembers nothing: for one-shot commands that must not touch the store."""

    async def save(self, checkpoint: Checkpoint) -> bool:
        return False

    async def load(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        return ()

    async def set_aside(self, checkpoint: Checkpoint, cause: str) -> None:
        return None


class ObservedJournal:
    """A journal that an observer listens to: told only what was recorded."""

    def __init__(self, journal: Journal, observer: Journal) -> None:
        self._journal = journal
        self._observer = observer

    async def record(self, events: Sequence[Event]) -> None:
        await self._journal.record(events)
        await self._observer.record(events)

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        await self._journal.record_standing(chain, market, block_number, standing)
        await self._observer.record_standing(chain, market, block_number, standing)


class BoardWatcher:
    """Shows the loop on the health page."""

    def __init__(self, health: ChainHealth) -> None:
        self._health = health

    def on_round(self, loop: ChainLoop, result: Round) -> None:
        self._health.note_head(result.head)
        self._health.open_orders = len(loop.open)
        self._health.paused, self._health.paused_signers = loop.paused, loop.paused_signers
        for desk in loop.desks:
            self._health.note_market(desk.market, *market_state(loop, desk.market, desk.follower))
        # The chain stands where the slowest of its markets does; one that is refused or stopped does not count.
        counted = [desk for desk in loop.desks if desk.market not in {**loop.stopped, **loop.refusals}]
        applied = [desk.follower.applied for desk in counted if desk.follower.applied is not None]
        if applied and len(applied) == len(counted):
            self._health.note_applied(min(applied, key=lambda block: block.number))

    def on_error(self, loop: ChainLoop, error: Exception) -> None:
        self._health.note_error(error)


def market_state(loop: ChainLoop, market: Address, follower: MarketFollower[Any, Any]) -> tuple[MarketState, str]:
    if market in loop.stopped:
        return MarketState.STOPPED, loop.stopped[market]
    if market in loop.refusals:
        return MarketState.REFUSED, loop.refusals[market]
    if follower.applied is None:
        return MarketState.STARTING, ""
    if follower.refused is not None:
        return MarketState.REFUSED, follower.refused
    if follower.verified is None:
        return MarketState.VERIFIED, "nobody borrows yet: verified with the first borrower"
    return MarketState.VERIFIED, f"{follower.verified.rules}, {follower.verified.checked_borrowers} borrowers checked"


def preset_check(preset: Preset | None, entry: Address) -> Callable[[Market], None]:
    """Compares what discovery found with what the preset says. Raises `MarketError` naming the first difference."""

    def check(market: Market) -> None:
        if preset is None or address_from_hex(preset.addresses_provider) != entry:
            return
        expected = {
            "pool": (preset.pool, market.pool),
            "pool_configurator": (preset.pool_configurator, market.configurator),
            "oracle": (preset.oracle, market.oracle),
        }
        for name, (said, found) in expected.items():
            if address_from_hex(said) != found:
                raise MarketError(
                    f"preset '{preset.name}' says {name} {said}, the chain says {to_hex(found)}:"
                    " the preset is out of date or the node is of another chain"
                )

    return check


def whole_tokens_raw(bound: Any, decimals: int, where: str) -> int:
    """A configured number of whole tokens in raw units. Raises `ConfigError` when it has more digits than the token."""
    raw = bound * 10**decimals
    if raw != int(raw):
        raise ConfigError(f"{where}: {bound} has more digits than the token's {decimals} decimals")
    return int(raw)
