"""`keeper audit`: the book of every configured market against the chain, reading only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keeper.app.build import followers_of
from keeper.app.ground import reached
from keeper.app.looking import caught_up
from keeper.app.parts import NullCheckpoints
from keeper.core.checkpoint import Checkpoint
from keeper.core.errors import MarketError
from keeper.core.units import Address
from keeper.pipeline.audit_all import MarketAudit, UnprovenFollower, audit_all
from keeper.pipeline.progress import Progress
from keeper.settings import Settings
from keeper.store import StoreReader


class ReadCheckpoints(NullCheckpoints):
    """The saved books of a store that is only read: beside a running keeper, or after it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        with StoreReader.open(self._path) as reader:
            return reader.saved_books(chain, market)


@dataclass(frozen=True, slots=True)
class Audited:
    """One market's audit, and where the audited book came from."""

    audit: MarketAudit
    origin: str
    """`saved at block …` or how it was built."""
    labels: dict[int, str]
    """Reserves by id, as people call them."""


async def audit_markets(
    settings: Settings, store: Path | None, progress: Progress, told: Callable[[int, int], None]
) -> list[Audited]:
    """Every configured market: the store's saved book followed to the newest block (or a book built from the chain when there
    is none), and everybody in it compared at that block. Raises `MarketError` when a market is refused."""
    checkpoints = NullCheckpoints() if store is None else ReadCheckpoints(store)
    audited: list[Audited] = []
    for name, chain in settings.chains.items():
        async with reached(name, settings, chain) as ground:
            for follower in followers_of(ground, checkpoints, UnprovenFollower):
                origin = (await caught_up(ground, follower, progress)).origin
                audit = await audit_all(follower, ground.client, told)
                labels = {reserve.id: reserve.label for reserve in follower.market.reserves}
                audited.append(Audited(audit, origin, labels))
            for why in ground.refused.values():
                raise MarketError(why)
    return audited
