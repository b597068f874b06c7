"""That the checks of an outcome can fail: the same mined calls, read back by an adapter that is wrong on purpose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from keeper.core.errors import BlockUnavailable
from keeper.core.lending import Health, Pair, Position, Quote, Refusal
from keeper.core.order import Outcome, Simulation, Submission
from keeper.core.outcome import Skip
from keeper.core.units import Address, hash_from_hex, to_hex
from keeper.devnet.market import Bed
from keeper.execution.markets import MarketHandle
from keeper.execution.receipts import Receipt, read_receipt
from keeper.execution.reconcile import Reconciler
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.state import State
from tests.execution.rig import KEEPER, Rig, rigged


@dataclass(frozen=True)
class Mined:
    """An order that was executed, before anybody looked at what it did."""

    rig: Rig
    submission: Submission
    receipts: dict[int, Receipt]

    async def outcome(self, adapter: AaveV3, native: Address | None) -> Outcome:
        handle = MarketHandle(adapter, self.rig.market, native)
        reconciler = Reconciler(self.rig.rpc, self.rig.client, {self.rig.entry: handle})
        return await reconciler.outcome(self.submission, self.receipts)


@asynccontextmanager
async def mined(bed: Bed) -> AsyncIterator[Mined]:
    """The first single-call order after a crash, executed on the bed by impersonation."""
    async with rigged(bed) as rig:
        await rig.fund(KEEPER)
        await rig.crash()
        order = next(order for order in await rig.orders(KEEPER) if len(order.calls) == 1)
        [call] = order.calls
        body = {"from": to_hex(KEEPER), "to": to_hex(call.target), "data": to_hex(call.calldata), "gas": hex(10**6)}
        answer = await bed.chain.rpc.request("eth_sendTransactionSync", [body])
        receipt = await read_receipt(rig.rpc, hash_from_hex(answer["transactionHash"]))
        assert receipt is not None
        yield Mined(rig, Submission(order, "live", order.plan.block.number, (), Simulation((), 0)), {0: receipt})


class Honest(AaveV3):
    """Nothing changed: the control."""


class OffByOneHealth(AaveV3):
    def health(self, state: State, position: Position, timestamp_s: int) -> Health | Skip:
        health = super().health(state, position, timestamp_s)
        return health if isinstance(health, Skip) else replace(health, health_factor_wad=health.health_factor_wad + 1)


class OffByOneAmount(AaveV3):
    def quote_liquidation(
        self, state: State, position: Position, pair: Pair, debt_to_cover_raw: int, timestamp_s: int
    ) -> Quote | Refusal:
        quote = super().quote_liquidation(state, position, pair, debt_to_cover_raw, timestamp_s)
        return quote if isinstance(quote, Refusal) else replace(quote, received_raw=quote.received_raw + 1)


class OffByOneRow(AaveV3):
    def quote_liquidation(
        self, state: State, position: Position, pair: Pair, debt_to_cover_raw: int, timestamp_s: int
    ) -> Quote | Refusal:
        quote = super().quote_liquidation(state, position, pair, debt_to_cover_raw, timestamp_s)
        if isinstance(quote, Refusal):
            return quote
        after = quote.position_after
        debts = {reserve: scaled + 1 for reserve, scaled in after.debt_scaled.items()}
        return replace(quote, position_after=replace(after, debt_scaled=debts))


@pytest.mark.parametrize(
    "adapter, model_error_wad, amounts_match",
    [(Honest(), 0, True), (OffByOneHealth(), -1, True), (OffByOneAmount(), 0, False), (OffByOneRow(), 0, False)],
)
async def test_a_wrong_model_shows(
    bed36: Bed, adapter: AaveV3, model_error_wad: int, amounts_match: bool | None
) -> None:
    async with mined(bed36) as executed:
        outcome = await executed.outcome(adapter, bed36.deployment.wrapped_native)
        assert (outcome.model_error_wad, outcome.amounts_match) == (model_error_wad, amounts_match)
        assert (outcome.restored, outcome.disturbed) == (True, False)


async def test_profit_is_told_at_the_inclusion_blocks_prices_or_not_at_all(bed: Bed) -> None:
    async with mined(bed) as executed:
        outcome = await executed.outcome(Honest(), bed.deployment.wrapped_native)
        [event] = outcome.liquidations
        values = {asset.token: (asset.symbol, asset.decimals) for asset in bed.deployment.assets.values()}
        received = await bed.price_base(values[event.collateral_asset][0]) * event.received_raw
        repaid = await bed.price_base(values[event.debt_asset][0]) * event.repaid_raw
        assert outcome.profit is not None
        assert outcome.profit.received_base == received // 10 ** values[event.collateral_asset][1]
        assert outcome.profit.repaid_base == repaid // 10 ** values[event.debt_asset][1] + 1
        gas_wei = outcome.mined[0].gas_used * outcome.mined[0].effective_gas_price_wei
        assert outcome.profit.gas_base == -(-gas_wei * await bed.price_base("WETH") // 10**18)
        assert (await executed.outcome(Honest(), None)).profit is None
        assert (await executed.outcome(Honest(), KEEPER)).profit is None


async def test_a_receipt_of_a_block_that_is_gone_is_no_outcome(bed36: Bed) -> None:
    async with mined(bed36) as executed:
        gone = replace(executed.receipts[0], block_hash=hash_from_hex("0x" + "13" * 32))
        with pytest.raises(BlockUnavailable):
            await replace(executed, receipts={0: gone}).outcome(Honest(), None)


async def test_nothing_mined_is_told_as_such(bed36: Bed) -> None:
    async with mined(bed36) as executed:
        outcome = await replace(executed, receipts={}).outcome(Honest(), None)
        assert (outcome.mined, outcome.health_after_wad, outcome.model_error_wad) == ((), None, None)
        assert not outcome.restored
