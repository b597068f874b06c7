"""What the executor carries: another way after a revert, with nobody locked out; and work that is long comes in small steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keeper.core.block import Call
from keeper.core.executor import MOST_CALLDATA_BYTES, Loan, LoanSource
from keeper.core.lending import Position
from keeper.core.order import FeeQuote, Offer, Order
from keeper.core.outcome import Skip
from keeper.core.selling.deal import Dealt, Terms, dealt
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.objective import MaxProfit, Objective, Restore, choose
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.steps import finished
from keeper.core.swap import Selling, StepKind, SwapStep
from keeper.core.units import UINT256_MAX, Address
from keeper.execution.executor_calls import decode_execute, encode_execute
from keeper.pipeline.by_executor import ByExecutor
from keeper.pipeline.carrying import Pricing
from keeper.pipeline.elsewhere import Elsewhere
from keeper.pipeline.lenders import Lenders, Lent
from keeper.pipeline.trade import Trade
from keeper.pipeline.ways import is_carried, wishes_for
from keeper.routes.pools import PoolsVenue
from keeper.routes.v2_pair import V2Pair
from keeper.routes.v3_pool import V3Pool
from keeper.routes.watching import WatchedPools
from tests.routes.states import ADAPTER, Drawn, draw

EXECUTOR = Address(b"\xe0" * 20)
POLICY = SlippagePolicy()
FEES = FeeQuote(10, 1, 21)


class Generous(Lenders):
    """The executor has all of everything."""

    def inventory_raw(self, asset: Address) -> int:
        return UINT256_MAX


class Drawing(ByExecutor):
    """On the pools and costs of a market that was drawn, with money of its own."""

    def __init__(
        self,
        one: Drawn,
        objective: Objective,
        ways: tuple[Selling, ...] = (Selling.ALL,),
        elsewhere: Elsewhere | None = None,
    ) -> None:
        trade = Trade(lambda: objective, POLICY, ways)
        pools = PoolsVenue(WatchedPools([]), POLICY)
        super().__init__(EXECUTOR, pools, encode_execute, decode_execute, trade, Generous(EXECUTOR, held), 0, elsewhere)
        self._one, self._exchange = one, one.terms.exchange

    def _terms(self, position: Position, pricing: Pricing, lent: Lent, way: Selling = Selling.ALL) -> Terms:
        around = lent.leaves(self._detours.around(position.borrower, self._exchange))
        return replace(self._one.terms, exchange=around, selling=way)


def held(token: Address, holder: Address) -> Call:
    return Call(token, holder)


def order_of(offer: Offer) -> Order:
    return Order("1-b0", 1, offer, EXECUTOR, EXECUTOR, (), ())


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
        begun: Any = finished(carrier.begin(one.planner(), one.position, 0, pricing))
        if not isinstance(begun, tuple):
            begun = one.planner().plan(one.position)
        found = finished(carrier.offers(one.position, begun, pricing))
        assert isinstance(found, tuple), found
        return found[0]

    for _ in range(1 + len(one.terms.exchange.pools)):
        carrier.failed(order_of(offered()))
    assert offered().dealt is not None


@pytest.mark.parametrize("objective", [Restore(), MaxProfit()])
async def test_what_nobody_sells_is_kept_but_not_before_the_others_were_asked(objective: Objective) -> None:
    rng = random.Random("kept")
    one = draw(rng)
    while not isinstance(held_one(one), Dealt):
        one = draw(rng)
    asked = Elsewhere([])
    pricing = Pricing(ADAPTER, None, one.state, FEES, one.terms.costs.native.price_base, 0, 10**12)
    without = replace(one, terms=replace(one.terms, exchange=Exchange(())))
    carrier = Drawing(without, objective, (Selling.ALL, Selling.HOLD), asked)

    def offered() -> Any:
        begun = finished(carrier.begin(one.planner(), one.position, 0, pricing))
        return begun if isinstance(begun, Skip) else finished(carrier.offers(one.position, plans_of(begun), pricing))

    def plans_of(begun: Any) -> Any:
        return begun if isinstance(begun, tuple) else one.planner().plan(one.position)

    waiting = offered()
    assert isinstance(waiting, Skip) and waiting.detail.endswith("; another venue is asked") and asked.is_waiting
    await asked.ask()
    [offer] = offered()
    assert {route.selling for deal in offer.dealt.deals for route in deal.routes} == {Selling.HOLD}
    assert offer.loan == Loan(LoanSource.INVENTORY)
    assert offer.spent_raw == {deal.debt_asset: deal.borrowed_raw for deal in offer.dealt.deals}


def held_one(one: Drawn) -> Dealt | Skip:
    return choose(Restore(), one.planner(), one.position, replace(one.terms, selling=Selling.HOLD))


def test_what_no_venue_could_make_pay_is_not_asked_about_and_too_much_calldata_is_not_taken() -> None:
    rng = random.Random("asked")
    one = draw(rng)
    while not isinstance(held_one(one), Dealt):
        one = draw(rng)
    plans = one.planner().plan(one.position)
    assert isinstance(plans, tuple)
    paying = wishes_for(plans, one.terms, Restore())
    assert paying and len({(wish.token_in, wish.token_out) for wish in paying}) == len(paying)
    assert wishes_for(plans, one.terms, Restore(UINT256_MAX)) == []
    sold = dealt(plans[0], replace(one.terms, selling=Selling.HOLD))
    assert isinstance(sold, Dealt)
    for size, carried in ((MOST_CALLDATA_BYTES, True), (MOST_CALLDATA_BYTES + 1, False)):
        step = SwapStep(StepKind.ROUTER, EXECUTOR, EXECUTOR, EXECUTOR, 1, 1, False, bytes(size))
        routes = (replace(sold.deals[0].routes[0], steps=(step,)),)
        assert is_carried(replace(sold, deals=(replace(sold.deals[0], routes=routes),))) is carried


MOST_SWAPS_A_STEP = 2_000
"""Worked out in memory: some ten milliseconds of one core."""


def test_sizes_by_profit_are_looked_for_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    swaps = [0]
    for pool in (V2Pair, V3Pool):
        monkeypatch.setattr(pool, "sell", counted(pool.sell, swaps))
    rng, totals = random.Random("steps"), []
    for _ in range(10):
        one = draw(rng)
        carrier = Drawing(one, MaxProfit())
        pricing = Pricing(ADAPTER, None, one.state, FEES, one.terms.costs.native.price_base, 0, 10**12)
        steps, each = carrier.begin(one.planner(), one.position, 0, pricing), [0]
        while True:
            swaps[0] = 0
            done = next(steps, True)
            each.append(swaps[0])
            if done:
                break
        assert max(each) <= MOST_SWAPS_A_STEP
        totals.append(sum(each))
    assert max(totals) > 10 * MOST_SWAPS_A_STEP, "in one go it would hold the loop for long"


def counted(sell: Callable[..., Any], swaps: list[int]) -> Callable[..., Any]:
    def counting(*arguments: Any) -> Any:
        swaps[0] += 1
        return sell(*arguments)

    return counting
