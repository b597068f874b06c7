"""What an order earns, in the market's base currency. Integers, rounded against us."""

from __future__ import annotations

from keeper.core.bidding import first_cap_wei
from keeper.core.order import FeeQuote, Offer, Profit
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan
from keeper.core.units import WAD


def gas_cost_base(gas: int, fee_per_gas_wei: int, native_price_base: int, data_fee_wei: int = 0) -> int:
    """gas · fee + data fee (wei) at the price of one whole native coin (18 decimals), rounded up."""
    return -(-(gas * fee_per_gas_wei + data_fee_wei) * native_price_base // WAD)


def is_above_cap(fees: FeeQuote, fee_cap_wei: int) -> bool:
    """Whether the next block asks more than a first bid may be."""
    return fees.base_fee_wei + fees.priority_fee_wei > first_cap_wei(fee_cap_wei)


def highest_fee_wei(fees: FeeQuote, fee_cap_wei: int) -> int:
    """What gas is priced at: the most that the transaction may pay. What would not pay at the cap either is unprofitable, not
    held back by the cap: fees that swing around it change no reason."""
    return first_cap_wei(fee_cap_wei) if is_above_cap(fees, fee_cap_wei) else fees.max_fee_wei


def above_cap(plan: Plan, fees: FeeQuote, fee_cap_wei: int) -> Skip | None:
    """Why a plan that pays is held back; None where the fees are to be paid."""
    if not is_above_cap(fees, fee_cap_wei):
        return None
    return Skip(
        Reason.FEE_CAP,
        f"the next block asks {fees.base_fee_wei + fees.priority_fee_wei} wei per gas, the cap is {fee_cap_wei}"
        " less what a replacement must bid more",
        plan.verdict,
    )


def price_plan(
    plan: Plan,
    gas: tuple[int, ...],
    fees: FeeQuote,
    native_price_base: int,
    min_profit_base: int,
    fee_cap_wei: int,
    data_fee_wei: int = 0,
) -> Offer | Skip:
    """The plan with its profit, or why it does not pay. `data_fee_wei`: a rollup's, for each transaction on top of its gas.

    Revenue at oracle prices (received floored, repaid rounded up), gas at the highest fee that the transaction may pay:
    the profit shown is the least that the transaction can make.
    """
    quotes = [call.at_latest for call in plan.calls]
    profit = Profit(
        received_base=sum(quote.received_base for quote in quotes),
        repaid_base=sum(quote.repaid_base + 1 for quote in quotes),
        gas_base=gas_cost_base(
            sum(gas), highest_fee_wei(fees, fee_cap_wei), native_price_base, data_fee_wei * len(gas)
        ),
    )
    if profit.net_base < min_profit_base:
        return Skip(
            Reason.UNPROFITABLE,
            f"received {profit.received_base} - repaid {profit.repaid_base} - gas {profit.gas_base}"
            f" = {profit.net_base} base, the least is {min_profit_base}",
            plan.verdict,
        )
    offer = Offer(plan=plan, gas=gas, fees=fees, profit=profit, data_fee_wei=data_fee_wei)
    return above_cap(plan, fees, fee_cap_wei) or offer
