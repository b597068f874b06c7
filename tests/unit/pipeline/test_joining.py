"""Several borrowers in one transaction: who goes together, what it must bring, and what each has of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from keeper.core.executor import MOST_LIQUIDATIONS, MOST_SWAPS
from keeper.core.lending import Position
from keeper.core.order import Order, SimulatedCall, Simulation
from keeper.core.outcome import Skip
from keeper.core.selling.deal import Dealt
from keeper.core.selling.objective import Restore, Solvency
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.steps import finished
from keeper.core.swap import Selling
from keeper.core.units import Address
from keeper.execution.executor_calls import decode_execute, encode_execute
from keeper.pipeline.by_executor import ByExecutor
from keeper.pipeline.carrying import Pricing
from keeper.pipeline.joining import MOST_GAS, joins_for, told_apart
from keeper.pipeline.lenders import Lenders
from keeper.pipeline.trade import Trade
from keeper.routes.pools import PoolsVenue
from keeper.routes.watching import WatchedPools
from tests.routes.states import ADAPTER, NATIVE, Drawn, draw
from tests.unit.pipeline.test_lenders import EXECUTOR, FEES, held, told, word
from tests.unit.protocols.aave_v3.builders import address

SIGNER, OTHER_SIGNER = address(0x51), address(0x52)


class Wave:
    """Orders for so many borrowers who stand alike, as a head would make them one after the other."""

    def __init__(self, one: Drawn, count: int, selling: Selling = Selling.ALL, loss: int | None = None) -> None:
        reserves = {each: replace(reserve, liquidity_raw=10**40) for each, reserve in one.state.reserves.items()}
        state = replace(one.state, reserves=reserves)
        objective = Restore() if loss is None else Solvency(loss)
        trade = Trade(lambda: objective, SlippagePolicy(), (selling,))
        pools = PoolsVenue(WatchedPools([]), SlippagePolicy())
        lenders = Lenders(EXECUTOR, held)
        told(lenders, state, {}, word(5))
        self.carrier = ByExecutor(EXECUTOR, pools, encode_execute, decode_execute, trade, lenders, 0)
        self.carrier._exchange = one.terms.exchange
        self.pricing = Pricing(ADAPTER, state.market, state, FEES, NATIVE.price_base, 0, 10**12)
        self.positions = [replace(one.position, borrower=address(0xB00 + number)) for number in range(count)]
        self.orders: list[Order] = []
        for number, position in enumerate(self.positions):
            order = self._order(one, number, position)
            if order is not None:
                self.orders.append(order)

    def _order(self, one: Drawn, number: int, position: Position) -> Order | None:
        plans = one.planner().plan(position)
        if isinstance(plans, Skip):
            return None
        offers = finished(self.carrier.offers(position, plans, self.pricing))
        if isinstance(offers, Skip):
            return None
        [offer] = offers
        calls = self.carrier.calls(offer, position, self.pricing)
        return Order(f"1-{number}", 1, offer, SIGNER, EXECUTOR, calls, (1,) * len(calls), executor=EXECUTOR)

    def joined(
        self, apart: frozenset[Address] = frozenset(), orders: Sequence[Order] | None = None
    ) -> list[tuple[Sequence[int], Order]]:
        orders = self.orders if orders is None else orders
        return finished(self.carrier.joined(orders, self.positions[: len(orders)], self.pricing, apart))


def waves(seed: str, count: int, **how: object) -> Wave:
    rng = random.Random(seed)
    while True:
        wave = Wave(draw(rng), count, **how)  # type: ignore[arg-type]
        if len(wave.orders) == count and all(joins_for(order) for order in wave.orders):
            return wave


@pytest.mark.parametrize("seed", range(4))
def test_what_goes_together_leaves_no_less_and_burns_less(seed: int) -> None:
    wave = waves(f"joining {seed}", 4)
    nets = [order.offer.profit.net_base for order in wave.orders]
    units = wave.joined()
    assert sorted(place for places, _ in units for place in places) == list(range(4))
    assert [places[0] for places, _ in units] == sorted(places[0] for places, _ in units), "nobody comes later"
    for places, order in units:
        assert order.parts == tuple(wave.orders[place] for place in places) or len(places) == 1
        plan = decode_execute(order.calls[0].calldata)
        alone = [decode_execute(wave.orders[place].calls[0].calldata) for place in places]
        assert plan.liquidations == tuple(step for each in alone for step in each.liquidations)
        assert len(plan.liquidations) <= MOST_LIQUIDATIONS and len(plan.swaps) <= MOST_SWAPS
        assert plan.loan.lender not in {step.venue for step in plan.swaps}
        if len(places) > 1:
            assert plan.least_gain_raw == min(each.least_gain_raw for each in alone)
            assert order.offer.profit.net_base >= sum(nets[place] for place in places)
            assert sum(order.offer.gas) < sum(sum(wave.orders[place].offer.gas) for place in places)
            assert [share.attempt for share in order.shares] == [wave.orders[place].attempt for place in places]


def test_most_of_the_drawn_waves_go_together() -> None:
    together = [len(waves(f"joining {seed}", 4).joined()) < 4 for seed in range(4)]
    assert sum(together) >= 2, "else the test above shows little"


def test_no_more_than_the_executor_takes_and_each_signers_by_themselves() -> None:
    wave = waves("joining 0", 9)
    sizes = [len(places) for places, _ in wave.joined()]
    assert sum(sizes) == 9 and max(sizes) <= MOST_LIQUIDATIONS and len(sizes) < 9
    mixed = [replace(order, signer=(SIGNER, OTHER_SIGNER)[place % 2]) for place, order in enumerate(wave.orders)]
    for _, order in wave.joined(orders=mixed):
        assert len({part.signer for part in order.parts}) == 1


def test_no_more_than_a_key_signs_at_once() -> None:
    wave = waves("joining 0", 5)
    assert len(wave.joined()) == 1
    heavy = [replace(order, offer=replace(order.offer, gas=(MOST_GAS // 2,))) for order in wave.orders]
    assert [len(places) for places, _ in wave.joined(orders=heavy)] == [2, 2, 1]
    heavier = [replace(order, offer=replace(order.offer, gas=(MOST_GAS // 2 + 1,))) for order in wave.orders]
    assert [len(places) for places, _ in wave.joined(orders=heavier)] == [1] * 5


def test_who_must_goes_alone() -> None:
    wave = waves("joining 0", 5)
    assert any(len(places) == 5 for places, _ in wave.joined())
    alone = wave.orders[2]
    units = wave.joined(frozenset({alone.borrower}))
    assert [places for places, order in units if alone.borrower in {part.borrower for part in order.parts}] == [(2,)]
    wave.carrier.failed(alone)
    assert [places for places, order in wave.joined() if 2 in places] == [(2,)], "its pools are left out"


def test_who_may_lose_or_sells_exactly_goes_alone() -> None:
    exact = waves("joining 0", 3)
    covered = [
        replace(order, offer=replace(order.offer, dealt=_selling(order, Selling.COVER))) for order in exact.orders
    ]
    assert [joins_for(order) for order in covered] == [None] * 3
    losing = waves("joining 0", 3, loss=10**12)
    for order in losing.orders:
        if decode_execute(order.calls[0].calldata).least_gain_raw < 0:
            assert all(len(places) == 1 for places, _ in losing.joined())


def _selling(order: Order, selling: Selling) -> Dealt:
    assert order.offer.dealt is not None
    [deal] = order.offer.dealt.deals
    routes = tuple(replace(route, selling=selling) for route in deal.routes)
    return replace(order.offer.dealt, deals=(replace(deal, routes=routes),))


def test_each_has_its_part_and_the_parts_are_the_whole() -> None:
    wave = waves("joining 0", 5)
    [whole] = [order for places, order in wave.joined() if len(places) == 5]
    told = told_apart(replace(whole, gas_limits=(7,)))
    assert [member.calls for member in told.members] == [whole.calls] * 5
    assert {(member.gas_limits, member.shares) for member in told.members} == {((7,), whole.shares)}
    profits = [member.offer.profit for member in told.members]
    for name in ("received_base", "repaid_base", "gas_base", "premium_base", "slippage_base", "net_base"):
        assert sum(getattr(profit, name) for profit in profits) == getattr(whole.offer.profit, name), name
    assert sum(sum(member.offer.gas) for member in told.members) == sum(whole.offer.gas)
    assert told_apart(wave.orders[0]) is wave.orders[0]


def test_together_each_must_bring_the_least() -> None:
    wave = waves("joining 0", 5)
    [whole] = [order for places, order in wave.joined() if len(places) == 5]
    assert whole.offer.dealt is not None
    [deal] = whole.offer.dealt.deals
    measured = Simulation((SimulatedCall(2_000_000, (), ()),), 0, {deal.debt_asset: 0})
    assert isinstance(wave.carrier.measured(whole, measured, wave.pricing), Skip), "nothing came in"
    gained = replace(measured, gained_raw={deal.debt_asset: deal.earnings.proceeds_raw})
    assert not isinstance(wave.carrier.measured(whole, gained, wave.pricing), Skip)
