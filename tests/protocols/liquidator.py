"""A liquidator on a bed: quotes, executes at a known second, and asks the contract without sending."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.chain.blocks import read_header
from keeper.core.block import BlockRef, Call, Log
from keeper.core.errors import RpcFailure
from keeper.core.lending import BalanceChange, CategorySet, CollateralFlag, Pair, Position, Side
from keeper.core.units import Address, to_hex
from keeper.core.wire import decode_log
from keeper.devnet import actions
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.market import Bed
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market

LIQUIDATOR = salted_address("liquidator")
GAS = 8_000_000


@dataclass(frozen=True)
class Executed:
    """A mined liquidation."""

    block: BlockRef
    logs: tuple[Log, ...]


class Liquidator:
    """Holds a fortune of every token. Made by `equipped_liquidator`."""

    def __init__(self, bed: Bed, market: Market) -> None:
        self._bed = bed
        self._market = market
        self._adapter = AaveV3()

    async def execute(self, borrower: Address, pair: Pair, debt_to_cover_raw: int, timestamp_s: int) -> Executed:
        """Send the call and have it mined at exactly `timestamp_s`. Raises Reverted."""
        call = self._call(borrower, pair, debt_to_cover_raw)
        await self._bed.chain.rpc.request("evm_setNextBlockTimestamp", [timestamp_s])
        receipt = await self._bed.chain.transact(Tx(LIQUIDATOR, call.target, call.calldata, gas=GAS), "liquidation")
        block = await read_header(self._bed.chain.rpc, int(receipt["blockNumber"], 16))
        assert block.timestamp_s == timestamp_s
        return Executed(block, tuple(decode_log(entry) for entry in receipt["logs"]))

    async def refusal(
        self, borrower: Address, pair: Pair, debt_to_cover_raw: int, timestamp_s: int, caller: Address = LIQUIDATOR
    ) -> str | None:
        """The error of the same call on the latest state at `timestamp_s`; None if it succeeds."""
        call = self._call(borrower, pair, debt_to_cover_raw)
        body = {"from": to_hex(caller), "to": to_hex(call.target), "data": to_hex(call.calldata), "gas": hex(GAS)}
        try:
            await self._bed.chain.rpc.request("eth_call", [body, "latest", {}, {"time": hex(timestamp_s)}])
        except RpcFailure as error:
            if error.data is None:
                raise
            return self._adapter.decode_revert(self._market, error.data)
        return None

    def _call(self, borrower: Address, pair: Pair, debt_to_cover_raw: int) -> Call:
        return self._adapter.encode_liquidation(self._market, borrower, pair, debt_to_cover_raw)


async def equipped_liquidator(bed: Bed, market: Market) -> Liquidator:
    """A liquidator that can pay every debt."""
    await actions.equip(bed, [LIQUIDATOR])
    return Liquidator(bed, market)


def replay(market: Market, position: Position, logs: tuple[Log, ...]) -> Position:
    """The position as the logs leave it, by the adapter's own decoding: what a book would hold."""
    adapter = AaveV3()
    balances = {Side.COLLATERAL: dict(position.collateral_scaled), Side.DEBT: dict(position.debt_scaled)}
    enabled, category = set(position.collateral_enabled), position.category
    for log in logs:
        for event in adapter.decode_log(market, log):
            if isinstance(event, BalanceChange) and event.account == position.borrower:
                side = balances[event.side]
                side[event.reserve_id] = adapter.next_scaled(market, event, side.get(event.reserve_id, 0))
            elif isinstance(event, CollateralFlag) and event.account == position.borrower:
                (enabled.add if event.enabled else enabled.discard)(event.reserve_id)
            elif isinstance(event, CategorySet) and event.account == position.borrower:
                category = event.category
    collateral, debt = ({i: scaled for i, scaled in side.items() if scaled} for side in balances.values())
    return Position(position.borrower, collateral, debt, frozenset(enabled), category)
