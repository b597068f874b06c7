"""Profit: integers, rounded against us."""

from __future__ import annotations

from dataclasses import replace

from keeper.core.block import BlockRef
from keeper.core.lending import Health, Pair, Position, Quote
from keeper.core.order import FeeQuote, Offer
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Plan, PlannedCall, Window
from keeper.core.profit import gas_cost_base, price_plan
from keeper.core.units import WAD, Address, Hash32

WETH, USDC, BORROWER = (Address(bytes([n]) * 20) for n in (1, 2, 3))
HEALTH = Health(WAD, 0, 0, 0, 0, 0, 0)
FEES = FeeQuote(base_fee_wei=10**9, priority_fee_wei=10**8, max_fee_wei=2 * 10**9)


def plan(received_base: int, repaid_base: int) -> Plan:
    after = Position(BORROWER, {}, {}, frozenset(), 0)
    quote = Quote(10, 10, 5, 0, 5, repaid_base, received_base, received_base, after, HEALTH, 0)
    call = PlannedCall(Pair(0, 1, WETH, USDC, 8000, 10500), 10, None, quote, quote)
    block = BlockRef(1, Hash32(b"\1" * 32), Hash32(b"\2" * 32), 1000, None, 0)
    return Plan(WETH, BORROWER, block, Window(1000, 1024), (call,), Verdict.REACHES_TARGET, WAD, HEALTH, HEALTH)


def test_gas_is_rounded_up() -> None:
    assert gas_cost_base(1, 1, 1) == 1
    assert gas_cost_base(300_000, 2 * 10**9, 2_000 * 10**8) == 120_000_000


def test_an_order_is_priced_at_the_highest_fee_it_may_pay() -> None:
    offer = price_plan(plan(105_000_000_000, 100_000_000_000), (300_000,), FEES, 2_000 * 10**8, 0, 10**12)
    assert isinstance(offer, Offer)
    assert offer.profit.gas_base == 120_000_000
    assert offer.profit.net_base == 5_000_000_000 - 120_000_000 - 1


def test_a_loss_of_one_base_unit_is_refused() -> None:
    assert isinstance(price_plan(plan(101, 100), (0,), FEES, 1, 0, 10**12), Offer)
    refused = price_plan(plan(100, 100), (0,), FEES, 1, 0, 10**12)
    assert isinstance(refused, Skip)
    assert refused.reason is Reason.UNPROFITABLE
    assert "the least is 0" in refused.detail


def test_a_rollups_data_fee_is_paid_for_each_transaction() -> None:
    one = plan(105_000_000_000, 100_000_000_000)
    both = replace(one, calls=one.calls * 2)
    free = price_plan(both, (300_000, 300_000), FEES, 2_000 * 10**8, 0, 10**12)
    posted = price_plan(both, (300_000, 300_000), FEES, 2_000 * 10**8, 0, 10**12, 10**15)
    assert isinstance(free, Offer) and isinstance(posted, Offer)
    assert posted.profit.gas_base - free.profit.gas_base == 2 * 2 * 10**8, "two dollars each"
    assert (posted.data_fee_wei, posted.worst_data_fee_wei) == (10**15, 2 * 10**15)
    assert isinstance(price_plan(one, (300_000,), FEES, 2_000 * 10**8, 0, 10**12, 25 * 10**15), Skip)


def test_what_would_pay_at_the_fee_cap_waits_for_lower_fees() -> None:
    refused = price_plan(plan(10**12, 1), (1,), FEES, 1, 0, 10**9)
    assert isinstance(refused, Skip)
    assert refused.reason is Reason.FEE_CAP


def test_what_would_not_pay_at_the_fee_cap_is_unprofitable_whatever_the_fees() -> None:
    """One reason for ever: fees that cross the cap and come back change nothing for those who never pay."""
    for base_fee_wei in (10**9, 10**12):
        fees = FeeQuote(base_fee_wei, 10**8, 2 * base_fee_wei)
        refused = price_plan(plan(105, 100), (300_000,), fees, 2_000 * 10**8, 0, 10**10)
        assert isinstance(refused, Skip)
        assert refused.reason is Reason.UNPROFITABLE
