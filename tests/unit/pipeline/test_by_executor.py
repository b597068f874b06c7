"""An order that reverted goes another way the next time, but nobody is locked out for it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from keeper.core.executor import Loan, LoanSource
from keeper.core.lending import Position
from keeper.core.objective import MaxProfit, Objective, Restore, choose
from keeper.core.order import FeeQuote, Offer, Order
from keeper.core.outcome import Skip
from keeper.core.plan import Plan
from keeper.core.profit_deal import Dealt, Terms
from keeper.core.slippage import SlippagePolicy
from keeper.core.units import Address
from keeper.execution.executor_calls import decode_execute, encode_execute
from keeper.pipeline.by_executor import ByExecutor
from keeper.pipeline.carrying import Pricing
from keeper.pipeline.trade import Trade
from keeper.routes.pools import PoolsVenue
from keeper.routes.watching import WatchedPools
from tests.routes.states import ADAPTER, Drawn, draw

EXECUTOR = Address(b"\xe0" * 20)
POLICY = SlippagePolicy()
FEES = FeeQuote(10, 1, 21)


class Drawing(ByExecutor):
    """On the pools and costs of a market that was drawn, with a loan for nothing."""

    def __init__(self, one: Drawn, objective: Objective) -> None:
        trade = Trade(lambda: objective, POLICY)
        pools = PoolsVenue(WatchedPools([]), POLICY)
        super().__init__(EXECUTOR, pools, encode_execute, decode_execute, trade, 0)
        self._one, self._exchange = one, one.terms.exchange

    def _terms(self, position: Position, pricing: Pricing, premium: int) -> Terms:
        return replace(self._one.terms, exchange=self._exchange_for(position.borrower))

    def _loan(self, plan: Plan, pricing: Pricing) -> tuple[int, Loan] | Skip:
        return 0, Loan(LoanSource.MORPHO, EXECUTOR)


def order_of(offer: Offer) -> Order:
    return Order("1-b0", 1, offer, EXECUTOR, (), ())


@pytest.mark.parametrize("objective", [Restore(), MaxProfit()])
def test_whoever_has_no_other_way_is_tried_again(objective: Objective) -> None:
    rng = random.Random("again")
    one = draw(rng)
    while len(one.terms.exchange.pools) > 3 or not isinstance(
        choose(objective, one.planner(), one.position, one.terms), Dealt
    ):
        one = draw(rng)
    carrier = Drawing(one, objective)
    native = one.terms.costs.native.price_base
    pricing = Pricing(ADAPTER, None, one.state, FEES, native, 0, 10**12)

    def offered() -> Offer:
        begun: Any = carrier.begin(one.planner(), one.position, 0, pricing)
        if not isinstance(begun, tuple):
            begun = one.planner().plan(one.position)
        found = carrier.offers(one.position, begun, pricing)
        assert isinstance(found, tuple), found
        return found[0]

    for _ in range(1 + len(one.terms.exchange.pools)):
        carrier.failed(order_of(offered()))
    assert offered().dealt is not None
