"""A devnet that stands until somebody ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keeper.app.signals import StopSignals
from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.cache import Say
from keeper.devnet.chain import tx_body
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.purse import fill_purse
from keeper.devnet.spec import WRAPPED_NATIVE, Version, asset_spec
from keeper.devnet.state import Recipe, started_bed
from keeper.devnet.uniswap import deploy_uniswap, open_v3_pool

BLOCK_S = 1
"""A block a second, with or without transactions, so that a keeper beside it has heads to follow."""
FALLING = WRAPPED_NATIVE
POOL_FEE = 500
"""In hundredths of a basis point."""
POOL_DEPTH_USD = 50_000_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to stand there. `fund`: whose account gets coin and tokens; `pools`: whether there is anywhere to sell."""

    version: Version
    positions: int
    seed: int
    fund: Sequence[Address] = ()
    pools: bool = False


@dataclass(frozen=True, slots=True)
class Pools:
    """Uniswap V3 pools, by the other token than the wrapped native coin."""

    factory: Address
    by_symbol: dict[str, Address]


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody needs to know of it."""

    rpc_url: str
    chain_id: int
    addresses_provider: Address
    pool: Address
    """The market's own contract for loans and liquidations."""
    borrowers: int
    version: Version
    fall: str
    """The JSON-RPC request that lowers the price of WETH by a fifth."""
    pools: Pools | None


async def stand(wish: Wish, say: Say, ready: Callable[[Standing], None]) -> None:
    """Start it, tell when it is ready, and stay until SIGINT or SIGTERM: then CancelledError, with everything put away. Raises
    `ConfigError`, `DevnetError`."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    with StopSignals(task):
        async with started_bed(Recipe(wish.version, wish.positions, wish.seed), say=say) as bed:
            for account in wish.fund:
                await fill_purse(bed, account)
            pools = await _opened_pools(bed, say) if wish.pools else None
            await bed.chain.rpc.request("evm_setIntervalMining", [BLOCK_S])
            ready(_standing(bed, wish.version, pools))
            await asyncio.Event().wait()


def _standing(bed: Bed, version: Version, pools: Pools | None) -> Standing:
    market = bed.deployment
    return Standing(
        rpc_url=bed.url,
        chain_id=market.chain_id,
        addresses_provider=market.addresses_provider,
        pool=market.pool,
        borrowers=len(bed.openings),
        version=version,
        fall=_falls(bed),
        pools=pools,
    )


async def _opened_pools(bed: Bed, say: Say) -> Pools:
    """One for each token, against the wrapped native coin. They stand where the price is after its fall: a market moves before
    its oracle does, and an order is refused where the two are far apart."""
    say("opening pools")
    uniswap = await deploy_uniswap(bed, say)
    await admin.set_answer(bed, FALLING, _fallen_base())
    by_symbol = {
        symbol: await open_v3_pool(bed, uniswap, WRAPPED_NATIVE, symbol, POOL_FEE, POOL_DEPTH_USD)
        for symbol in bed.deployment.symbols
        if symbol != WRAPPED_NATIVE
    }
    await admin.set_answer(bed, FALLING, asset_spec(FALLING).price_base)
    return Pools(uniswap.v3_factory, by_symbol)


def _fallen_base() -> int:
    return asset_spec(FALLING).price_base * 4 // 5


def _falls(bed: Bed) -> str:
    falls = bed.call_tx(ADMIN, bed.asset(FALLING).feed, "Feed", "setAnswer", _fallen_base())
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransactionSync", "params": [tx_body(falls)]})
