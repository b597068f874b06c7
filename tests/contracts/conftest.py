"""One chain per module; each test gives its state back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from keeper.devnet.state import fresh_snapshot, revert_to
from tests.contracts.world import World, started_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world() -> AsyncIterator[World]:
    async with started_world() as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared_world: World) -> AsyncIterator[World]:
    """The same for every test of a module."""
    snapshot = await fresh_snapshot(shared_world.bed)
    yield shared_world
    await revert_to(shared_world.bed, snapshot)
