"""What mined calls were worth: at their block's prices, or not at all."""

from __future__ import annotations

from dataclasses import replace

from keeper.core.block import Call
from keeper.core.ledger import CallValue
from keeper.core.lending import LiquidationEvent
from keeper.core.order import Profit
from keeper.core.units import Address
from keeper.execution.markets import MarketHandle
from keeper.execution.receipts import Receipt
from keeper.execution.valuing import call_value, realised_profit
from tests.toy_arithmetic import ToyMarket, ToyReserve, ToyRules, ToyState
from tests.toy_market import ToyAdapter
from tests.unit.store.facts import BORROWER, LIQUIDATOR, USDC, WETH, mined_call

USD = 10**8
POOL = Address(b"\x77" * 20)
TO_POOL = Call(POOL, b"")
TOY = ToyMarket(POOL, POOL, 1, ToyRules(), {0: ToyReserve(0, WETH, 10**18), 1: ToyReserve(1, USDC, 10**6)})
HANDLE = MarketHandle(ToyAdapter({}), TOY, WETH)
CALL = mined_call(0)
EVENT = LiquidationEvent(WETH, USDC, BORROWER, 900 * 10**6, 5 * 10**17, LIQUIDATOR, 4)
RECEIPT = Receipt(
    CALL.transaction_hash, LIQUIDATOR, CALL.block.hash, CALL.block.number, True, 300_000, 10**9, 10**14, CALL.logs
)


def state(weth_base: int | None = 2_000 * USD) -> ToyState:
    return ToyState(TOY, {0: weth_base, 1: USD}, {}, {}, {})


def test_a_call_is_worth_what_it_received_less_what_it_repaid() -> None:
    value = call_value(HANDLE, state(), [EVENT], TO_POOL, CALL.logs)
    assert value == CallValue(1_000 * USD, 900 * USD + 1, 2_000 * USD, USD)
    assert call_value(HANDLE, state(None), [EVENT], TO_POOL, CALL.logs) is None
    assert call_value(replace(HANDLE, wrapped_native=None), state(), [], TO_POOL, ()) is None


def test_a_profit_adds_gas_and_what_each_call_lost_on_the_way() -> None:
    value = CallValue(1_000 * USD, 900 * USD + 1, 2_000 * USD, USD, premium_base=45, slippage_base=10)
    # 300,000 gas at 1 gwei and 0.0001 for the rollup are 0.0004 coins.
    expected = Profit(1_000 * USD, 900 * USD + 1, 80_000_000, 45, 10)
    assert realised_profit(HANDLE, state(), [EVENT], [RECEIPT], [replace(CALL, value=value)], "1-b0") == expected


def test_no_profit_is_told_where_one_call_could_not_be_valued() -> None:
    """What its loan and its swaps cost is not known: that is not nothing."""
    value = CallValue(1_000 * USD, 900 * USD + 1, 2_000 * USD, USD)
    calls = [replace(CALL, value=value), mined_call(1)]
    assert realised_profit(HANDLE, state(), [EVENT], [RECEIPT], calls, "1-b0") is None
    assert realised_profit(HANDLE, state(None), [EVENT], [RECEIPT], calls[:1], "1-b0") is None
