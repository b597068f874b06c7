"""A daemon inside the test's own process, where a test may shorten what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from keeper.app.plan import RunPlan
from keeper.app.run import run_keeper
from keeper.core.events import Event
from keeper.core.standing import Standing
from keeper.core.units import Address
from tests.devnet.keeping import Keeping


class Deaf:
    """A journal's observer that does not listen. With an observer the run leaves the signals alone."""

    async def record(self, events: Sequence[Event]) -> None:
        return None

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        return None


@asynccontextmanager
async def inside(kept: Keeping, port: int = 0, *, live: bool = False) -> AsyncIterator[None]:
    """A dry or a live daemon, stopped on the way out."""
    settings = kept.settings(health_port=port, mode="live" if live else "dry")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run_keeper(settings, RunPlan(once=False, live=live, fork=False), observer=Deaf()))
        yield
        running.cancel()
