"""A devnet that stands until somebody ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from keeper.app.signals import StopSignals
from keeper.core.units import Address
from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.cache import Say
from keeper.devnet.spec import Version
from keeper.devnet.state import Recipe, started_bed

BLOCK_S = 1
"""A block a second, with or without transactions, so that a keeper beside it has heads to follow."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody needs to know of it."""

    rpc_url: str
    chain_id: int
    addresses_provider: Address
    borrowers: int
    version: Version


async def stand(version: Version, positions: int, seed: int, say: Say, ready: Callable[[Standing], None]) -> None:
    """Start it, tell when it is ready, and stay until SIGINT or SIGTERM: then CancelledError, with everything put away. Raises
    `ConfigError`, `DevnetError`."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    with StopSignals(task):
        async with started_bed(Recipe(version, positions, seed), AnvilOptions(block_time_s=BLOCK_S), say) as bed:
            deployment = bed.deployment
            ready(Standing(bed.url, deployment.chain_id, deployment.addresses_provider, len(bed.openings), version))
            await asyncio.Event().wait()
