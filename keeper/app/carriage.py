"""Who carries a chain's orders: the signer's own account, or the operator's executor contract with the pools it may use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from keeper.app.executor_check import usable_executor
from keeper.app.ground import Ground
from keeper.app.modes import Carriage
from keeper.app.venues import asked_of, objective_of, pools_of, slippage_of, ways_of
from keeper.core.block import Call
from keeper.core.errors import ChainError, ConfigError, QuoteError
from keeper.core.executor import MOST_CALLDATA_BYTES, ExecutorRole
from keeper.core.selling.objective import Objective
from keeper.core.units import WAD, Address, address_from_hex, to_hex
from keeper.execution.executor_calls import decode_execute, encode_execute, encode_loss_left
from keeper.execution.executor_state import ExecutorState
from keeper.execution.tokens import encode_balance_of
from keeper.pipeline.by_executor import ByExecutor
from keeper.pipeline.carrying import ByInventory, Carrier
from keeper.pipeline.elsewhere import Elsewhere
from keeper.pipeline.lenders import Lenders
from keeper.pipeline.railing import Railing
from keeper.pipeline.trade import DataFee, Trade
from keeper.protocols.aave_v3.market import Market
from keeper.routes.data_fee import ORACLES, decode_data_fee, encode_data_fee, found_oracle
from keeper.routes.pools import PoolsVenue
from keeper.settings.routes import Routes

EXECUTOR_BYTES = 3_800
"""More than an order of the executor for one borrower can have, five calls and eight swaps in pools, its envelope included."""
INVENTORY_BYTES = 350
"""More than a liquidation by itself has: 164 bytes of calldata."""
POOL_ROLES = ExecutorRole.POOL_V3 | ExecutorRole.PAIR_V2


async def carriage_of(ground: Ground, named: Sequence[Address], otherwise: Address) -> Carriage:
    """`named`: who are to sign; where nobody is, in a rehearsal, it is whom the executor has as operator, or `otherwise`.
    Raises `ConfigError` in one line when the executor cannot be used by each of them, and `ChainError`."""
    routes, executor = ground.chain.routes, ground.chain.executor_address
    operator = named[0] if named else otherwise
    if executor is None or (routes is None and not named):
        return await _by_inventory(ground, operator)
    needed = {market.pool: ExecutorRole.MARKET for market in ground.markets}
    morpho = None if routes is None or routes.morpho is None else address_from_hex(routes.morpho)
    if morpho is not None:
        needed[morpho] = ExecutorRole.MORPHO
    asked = [] if routes is None else asked_of(routes, ground.name, ground.chain_id, executor)
    needed |= {router: ExecutorRole.ROUTER for venue in asked for router in venue.routers}
    state = await usable_executor(ground.name, ground.chain, ground.rpc, ground.client, ground.head, named, needed)
    if routes is None:
        return await _by_inventory(ground, operator)
    data_fee = await _data_fee(ground, EXECUTOR_BYTES + (MOST_CALLDATA_BYTES if asked else 0))
    pools = {market.provider: await _pools(ground, routes, state, market) for market in ground.markets}

    def carrier(market: Market, rails: Railing) -> Carrier:
        trade = Trade(
            lambda: _objective(ground, market, rails),
            slippage_of(routes),
            ways_of(routes),
            asserts_health=routes.assert_health,
        )
        found = pools[market.provider]
        keeps = any(way.needs_inventory for way in trade.ways)
        lenders = Lenders(executor, _held, morpho, partial(encode_loss_left, executor) if keeps else None)
        elsewhere = Elsewhere(asked_of(routes, ground.name, ground.chain_id, executor)) if asked else None
        head = ground.head.number
        return ByExecutor(executor, found, encode_execute, decode_execute, trade, lenders, head, elsewhere)

    return Carriage(named[0] if named else state.operators[0], carrier, data_fee)


async def _by_inventory(ground: Ground, operator: Address) -> Carriage:
    return Carriage(operator, lambda market, rails: ByInventory(operator), await _data_fee(ground, INVENTORY_BYTES))


async def _pools(ground: Ground, routes: Routes, state: ExecutorState, market: Market) -> PoolsVenue:
    """Those between the market's assets that the executor may use."""
    where = f"chains.{ground.name}.routes"
    venue = pools_of(routes, ground.wrapped_native)
    venue.pools.only = frozenset(target for target, roles in state.roles.items() if roles & POOL_ROLES)
    await ground.client.drive(venue.discover([reserve.asset for reserve in market.reserves]), ground.head)
    if venue.pools.found and not venue.pools.pools:
        one, executor = to_hex(venue.pools.found[0]), to_hex(state.identity.address)
        raise ConfigError(
            f"{where}: none of the {len(venue.pools.found)} pools found is on the list of executor {executor}: `keeper"
            f" executor allow {one} --as pool` for one of them, with the owner's key"
        )
    return venue


def _objective(ground: Ground, market: Market, rails: Railing) -> Objective:
    """With what is left of the day's loss."""
    unit = market.base_currency_unit
    lost_base = -(-rails.lost_wad * unit // WAD)
    return objective_of(ground.chain.objective, ground.chain.policy.min_profit, unit, lost_base)


async def _data_fee(ground: Ground, size_bytes: int) -> DataFee | None:
    """Of a transaction of at most so many bytes; None where the chain has none of its own. Raises `ChainError`."""
    answers = await ground.client.read([encode_data_fee(oracle, size_bytes) for oracle in ORACLES], ground.head)
    try:
        oracle = found_oracle(answers)
    except QuoteError as error:
        raise ChainError(f"chains.{ground.name}: the rollup's oracle tells no fee: {error}") from None
    return None if oracle is None else DataFee(encode_data_fee(oracle, size_bytes), decode_data_fee)


def _held(token: Address, holder: Address) -> Call:
    return Call(token, encode_balance_of(holder))
