"""Uniswap v3 and v2 beside a devnet's market, from the compiled artifacts that their packages carry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from keeper.core.units import Address, address_from_hex
from keeper.devnet.artifacts import Artifact
from keeper.devnet.cache import Say, quiet
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.compile import Artifacts
from keeper.devnet.market import ADMIN, ZERO, Bed
from keeper.devnet.packages import install

_V3 = {
    "v3-core": ("UniswapV3Factory.sol/UniswapV3Factory", "UniswapV3Pool.sol/UniswapV3Pool"),
    "v3-periphery": (
        "NonfungiblePositionManager.sol/NonfungiblePositionManager",
        "lens/QuoterV2.sol/QuoterV2",
    ),
    "swap-router-contracts": ("SwapRouter02.sol/SwapRouter02",),
}
_V2 = ("UniswapV2Factory", "UniswapV2Pair")
TICK_SPACINGS = {100: 1, 500: 10, 3_000: 60, 10_000: 200}
"""By fee, in hundredths of a basis point."""
_HIGHEST_TICK = 887_272
_NEVER_S = 2**40
_MAKER = salted_address("market maker")


@dataclass(frozen=True)
class Uniswap:
    """Where its contracts are. `contracts` holds their interfaces by name."""

    contracts: Artifacts
    v3_factory: Address
    position_manager: Address
    quoter: Address
    router: Address
    """SwapRouter02."""
    v2_factory: Address


def uniswap_artifacts(say: Say = quiet) -> Artifacts:
    """Interfaces and code of all of it; nothing is compiled."""
    root = install("uniswap", say) / "@uniswap"
    found: dict[str, Artifact] = {}
    for package, names in _V3.items():
        for name in names:
            stored = json.loads((root / package / "artifacts" / "contracts" / f"{name}.json").read_text())
            found[Path(name).name] = _artifact(Path(name).name, stored["abi"], stored["bytecode"])
    for name in _V2:
        stored = json.loads((root / "v2-core" / "build" / f"{name}.json").read_text())
        found[name] = _artifact(name, stored["abi"], stored["bytecode"])
    return found


def _artifact(name: str, abi: list[dict[str, Any]], bytecode: str) -> Artifact:
    return Artifact(name=name, abi=abi, bytecode=bytecode.removeprefix("0x"), runtime="")


async def deploy_uniswap(bed: Bed, say: Say = quiet) -> Uniswap:
    """Factories, router, quoter and position manager, with the fee tier of one basis point allowed."""
    contracts, chain = uniswap_artifacts(say), bed.chain
    wrapped = bed.deployment.wrapped_native

    async def create(name: str, *args: Any) -> Address:
        return await chain.deploy(ADMIN, contracts[name], args)

    v3_factory = await create("UniswapV3Factory")
    await chain.send(ADMIN, v3_factory, contracts["UniswapV3Factory"], "enableFeeAmount", 100, TICK_SPACINGS[100])
    v2_factory = await create("UniswapV2Factory", ADMIN)
    position_manager = await create("NonfungiblePositionManager", v3_factory, wrapped, ZERO)
    quoter = await create("QuoterV2", v3_factory, wrapped)
    router = await create("SwapRouter02", v2_factory, v3_factory, position_manager, wrapped)
    return Uniswap(contracts, v3_factory, position_manager, quoter, router, v2_factory)


async def open_v3_pool(bed: Bed, uniswap: Uniswap, first: str, second: str, fee: int, depth_usd: int) -> Address:
    """A pool at the oracle's prices with liquidity over the whole range: so many whole dollars on either side."""
    low, high = _in_order(bed, first, second)
    raw = {symbol: await _worth_raw(bed, symbol, depth_usd) for symbol in (low, high)}
    tokens = bed.asset(low).token, bed.asset(high).token
    manager = uniswap.contracts["NonfungiblePositionManager"]
    sqrt_price_x96 = isqrt((raw[high] << 192) // raw[low])
    create = manager.function("createAndInitializePoolIfNecessary").encode((*tokens, fee, sqrt_price_x96))
    await bed.chain.transact(Tx(ADMIN, uniswap.position_manager, create, gas=8_000_000))
    edge = _HIGHEST_TICK // TICK_SPACINGS[fee] * TICK_SPACINGS[fee]
    await add_v3_liquidity(bed, uniswap, first, second, fee, -edge, edge, depth_usd)
    return address_from_hex(
        await bed.chain.call(uniswap.v3_factory, uniswap.contracts["UniswapV3Factory"], "getPool", *tokens, fee)
    )


async def add_v3_liquidity(
    bed: Bed, uniswap: Uniswap, first: str, second: str, fee: int, low_tick: int, high_tick: int, depth_usd: int
) -> None:
    """Liquidity between two ticks (multiples of the pool's spacing): at most so many whole dollars on either side."""
    low, high = _in_order(bed, first, second)
    raw = {symbol: await _worth_raw(bed, symbol, depth_usd) for symbol in (low, high)}
    tokens = bed.asset(low).token, bed.asset(high).token
    await _equip_maker(bed, raw, uniswap.position_manager)
    position = (*tokens, fee, low_tick, high_tick, raw[low], raw[high], 0, 0, _MAKER, _NEVER_S)
    manager = uniswap.contracts["NonfungiblePositionManager"]
    await bed.chain.send(_MAKER, uniswap.position_manager, manager, "mint", position)


async def open_v2_pair(bed: Bed, uniswap: Uniswap, first: str, second: str, depth_usd: int) -> Address:
    """A pair at the oracle's prices: so many whole dollars on either side."""
    low, high = _in_order(bed, first, second)
    tokens = bed.asset(low).token, bed.asset(high).token
    factory = uniswap.contracts["UniswapV2Factory"]
    create = factory.function("createPair").encode(tokens)
    await bed.chain.transact(Tx(ADMIN, uniswap.v2_factory, create, gas=8_000_000))
    pair = address_from_hex(await bed.chain.call(uniswap.v2_factory, factory, "getPair", *tokens))
    raw = {symbol: await _worth_raw(bed, symbol, depth_usd) for symbol in (low, high)}
    for symbol, amount_raw in raw.items():
        await bed.chain.transact(bed.call_tx(ADMIN, bed.asset(symbol).token, "Token", "mint", pair, amount_raw))
    await bed.chain.send(ADMIN, pair, uniswap.contracts["UniswapV2Pair"], "mint", _MAKER)
    return pair


def _in_order(bed: Bed, first: str, second: str) -> tuple[str, str]:
    """As Uniswap orders a pair: by address."""
    ahead = bed.asset(first).token < bed.asset(second).token
    return (first, second) if ahead else (second, first)


async def _worth_raw(bed: Bed, symbol: str, usd: int) -> int:
    unit: int = 10 ** (8 + bed.asset(symbol).decimals)
    return usd * unit // await bed.price_base(symbol)


async def _equip_maker(bed: Bed, raw: dict[str, int], spender: Address) -> None:
    await bed.chain.fund([_MAKER])
    for symbol, amount_raw in raw.items():
        token = bed.asset(symbol).token
        await bed.chain.transact(bed.call_tx(_MAKER, token, "Token", "mint", _MAKER, amount_raw))
        await bed.chain.transact(bed.call_tx(_MAKER, token, "Token", "approve", spender, amount_raw))
