"""A devnet that stands until somebody ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from keeper.app.signals import StopSignals
from keeper.core.units import Address
from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.cache import Say
from keeper.devnet.chain import tx_body
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.spec import Version, asset_spec
from keeper.devnet.state import Recipe, started_bed

BLOCK_S = 1
"""A block a second, with or without transactions, so that a keeper beside it has heads to follow."""
FALLING = "WETH"


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody needs to know of it."""

    rpc_url: str
    chain_id: int
    addresses_provider: Address
    borrowers: int
    version: Version
    fall: str
    """The JSON-RPC request that lowers the price of WETH by a fifth."""


async def stand(version: Version, positions: int, seed: int, say: Say, ready: Callable[[Standing], None]) -> None:
    """Start it, tell when it is ready, and stay until SIGINT or SIGTERM: then CancelledError, with everything put away. Raises
    `ConfigError`, `DevnetError`."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    with StopSignals(task):
        async with started_bed(Recipe(version, positions, seed), AnvilOptions(block_time_s=BLOCK_S), say) as bed:
            deployment = bed.deployment
            borrowers, fall = len(bed.openings), _falls(bed)
            ready(Standing(bed.url, deployment.chain_id, deployment.addresses_provider, borrowers, version, fall))
            await asyncio.Event().wait()


def _falls(bed: Bed) -> str:
    price_base = asset_spec(FALLING).price_base
    falls = bed.call_tx(ADMIN, bed.asset(FALLING).feed, "Feed", "setAnswer", price_base * 4 // 5)
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransactionSync", "params": [tx_body(falls)]})
