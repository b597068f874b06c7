"""Uniswap beside the devnet's market, followed as the keeper would, and what the contracts themselves say."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from keeper.chain.blocks import read_header
from keeper.chain.reads import PinnedReads
from keeper.core.errors import RpcFailure
from keeper.core.selling.exchange import Exchange
from keeper.core.swap import Pool
from keeper.core.units import Address
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.uniswap import Uniswap
from keeper.routes.discover import V2Factory, V3Factory
from keeper.routes.v3_pool import V3Pool
from keeper.routes.watching import WatchedPools

TRADER = salted_address("trader")
_RICH_RAW = 10**33


@dataclass
class Following:
    """The bed's pools between some of its assets, read at each look in one pinned batch."""

    bed: Bed
    uniswap: Uniswap
    pools: WatchedPools
    symbols: tuple[str, ...]

    async def discover(self) -> None:
        reads = PinnedReads(self.bed.chain.rpc)
        head = await read_header(self.bed.chain.rpc, "latest")
        tokens = [self.token(symbol) for symbol in self.symbols]
        await reads.drive(self.pools.discover(tokens), head)
        await reads.drive(self.pools.warm(list(combinations(tokens, 2))), head)

    async def look(self, *wanted: tuple[str, str]) -> Exchange:
        couples = [(self.token(first), self.token(second)) for first, second in wanted]
        asked = self.pools.encode(couples)
        head = await read_header(self.bed.chain.rpc, "latest")
        return self.pools.decode(asked, await PinnedReads(self.bed.chain.rpc).read(asked.calls, head))

    def token(self, symbol: str) -> Address:
        return self.bed.asset(symbol).token


def following(bed: Bed, uniswap: Uniswap, symbols: tuple[str, ...], through: tuple[str, ...] = ()) -> Following:
    factories: list[V3Factory | V2Factory] = [V3Factory(uniswap.v3_factory), V2Factory(uniswap.v2_factory)]
    return Following(bed, uniswap, WatchedPools(factories, [bed.asset(each).token for each in through]), symbols)


def pool_at(exchange: Exchange, address: Address) -> Pool:
    return next(pool for pool in exchange.pools if pool.address == address)


async def quoted_in(bed: Bed, uniswap: Uniswap, pool: V3Pool, token_in: Address, amount_raw: int) -> int | None:
    """What QuoterV2 says comes out for the amount."""
    return await _quoted(bed, uniswap, "quoteExactInputSingle", pool, token_in, amount_raw)


async def quoted_out(bed: Bed, uniswap: Uniswap, pool: V3Pool, token_in: Address, amount_raw: int) -> int | None:
    """What QuoterV2 says must go in for the amount."""
    return await _quoted(bed, uniswap, "quoteExactOutputSingle", pool, token_in, amount_raw)


async def _quoted(bed: Bed, uniswap: Uniswap, function: str, pool: V3Pool, token_in: Address, raw: int) -> int | None:
    token_out = pool.fixed.token1 if token_in == pool.fixed.token0 else pool.fixed.token0
    asked = (token_in, token_out, raw, pool.fixed.fee, 0)
    try:
        answer: Any = await bed.chain.call(uniswap.quoter, uniswap.contracts["QuoterV2"], function, asked)
    except RpcFailure:
        return None
    return int(answer[0])


async def equip(bed: Bed, uniswap: Uniswap, symbols: tuple[str, ...]) -> None:
    """Give the trader a lot of each, and the router leave to take it."""
    await bed.chain.fund([TRADER])
    for symbol in symbols:
        token = bed.asset(symbol).token
        await bed.chain.transact(bed.call_tx(ADMIN, token, "Token", "mint", TRADER, _RICH_RAW))
        await bed.chain.transact(bed.call_tx(TRADER, token, "Token", "approve", uniswap.router, 2**256 - 1))


async def swap(bed: Bed, uniswap: Uniswap, pool: V3Pool, token_in: Address, raw: int, *, exact_out: bool) -> int:
    """A mined swap through the router; what came out, or for an exact output what went in. Raises Reverted."""
    token_out = pool.fixed.token1 if token_in == pool.fixed.token0 else pool.fixed.token0
    watched = token_in if exact_out else token_out
    before = await _balance_raw(bed, watched)
    name = "exactOutputSingle" if exact_out else "exactInputSingle"
    asked = (token_in, token_out, pool.fixed.fee, TRADER, raw, 2**255 if exact_out else 0, 0)
    calldata = uniswap.contracts["SwapRouter02"].function(name).encode((asked,))
    await bed.chain.transact(Tx(TRADER, uniswap.router, calldata), name)
    return abs(await _balance_raw(bed, watched) - before)


async def _balance_raw(bed: Bed, token: Address) -> int:
    held: int = await bed.chain.call(token, bed.contracts["Token"], "balanceOf", TRADER)
    return held
