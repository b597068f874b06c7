"""All calls of a borrower that repay one asset are one transaction of the executor, which borrows that asset, sells what comes
in and keeps what is left. The signer needs nothing but gas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.executor import ExecutorPlan, Loan
from keeper.core.ledger import Stake, Swapped
from keeper.core.lending import LendingAdapter, Position
from keeper.core.order import Offer, Order, Simulation
from keeper.core.outcome import Skip
from keeper.core.plan import Plan
from keeper.core.planner import Planner
from keeper.core.profit import highest_fee_wei
from keeper.core.selling.costs import AssetPrice, Costs
from keeper.core.selling.deal import Deal, Dealt, Terms, dealt, dealt_together, prices_of, wishes_of
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.objective import MaxProfit, Restore, Solvency, choosing, chosen, most_profitable
from keeper.core.selling.order import executor_plan, least_gain_raw, least_nets_raw, plan_together
from keeper.core.stakes import kept_at_loss_base, stake
from keeper.core.standing import Funds
from keeper.core.steps import Steps
from keeper.core.swap import Selling
from keeper.core.units import Address
from keeper.pipeline.budget import FundKey
from keeper.pipeline.carrying import Begun, Pricing
from keeper.pipeline.detours import Detours
from keeper.pipeline.elsewhere import Elsewhere
from keeper.pipeline.executor_offer import (
    as_left,
    as_measured,
    offer_of,
    promised_wad,
    swaps_of,
    untakable,
)
from keeper.pipeline.joining import groups_of, shares_of
from keeper.pipeline.lenders import LOAN_GAS, OWN, Lenders, Lent
from keeper.pipeline.tasks import drive
from keeper.pipeline.trade import Trade
from keeper.pipeline.ways import asked_couples, by_first_way, is_carried, wishes_for
from keeper.ports import Chain, Pools

DISCOVER_EVERY_BLOCKS = 300

Encode = Callable[[Address, ExecutorPlan], Call]
Decode = Callable[[bytes], ExecutorPlan]
"""The way back, of calldata that was encoded here."""


class ByExecutor:
    """`keeper.pipeline.carrying.Carrier`."""

    def __init__(
        self,
        executor: Address,
        pools: Pools,
        encode: Encode,
        decode: Decode,
        trade: Trade,
        lenders: Lenders,
        discovered_block: int,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.executor: Address | None = executor
        self.liquidator = executor
        self._pools = pools
        self._encode = encode
        self._decode = decode
        self._trade = trade
        self._lenders = lenders
        self.elsewhere = elsewhere
        self._exchange = Exchange(())
        self._before: dict[Address, Exchange] = {}
        """The pools as they were before each order of the head, by borrower."""
        self._detours = Detours()
        self._discovered_block = discovered_block
        self._asked = 0

    @property
    def takes_least(self) -> bool:
        return not isinstance(self._trade.objective(), MaxProfit)

    @property
    def funds(self) -> Mapping[FundKey, Funds]:
        return self._lenders.funds

    # -- what each head tells --------------------------------------------------------------------------------------

    def encode_reads(self, adapter: LendingAdapter[Any, Any], market: Any) -> Sequence[Call]:
        assets = adapter.assets(market)
        quotes = self._pools.encode_quotes([(one, other) for one in assets for other in assets if one != other])
        self._asked = len(quotes)
        return [*quotes, *self._lenders.encode_reads(adapter, market)]

    def decode_reads(self, adapter: LendingAdapter[Any, Any], market: Any, results: Sequence[CallResult]) -> None:
        self._pools.decode_quotes(results[: self._asked])
        self._exchange, self._before = self._pools.exchange, {}
        self._lenders.decode_reads(adapter, market, results[self._asked :])

    async def tend(self, chain: Chain, adapter: LendingAdapter[Any, Any], market: Any, head: BlockRef) -> None:
        """Look for new pools. What answers nonsense leaves those that are known."""
        if 0 <= head.number - self._discovered_block < DISCOVER_EVERY_BLOCKS:
            return
        self._discovered_block = head.number
        with suppress(QuoteError):
            await drive(self._pools.discover(adapter.assets(market)), lambda calls: chain.read(calls, head))

    # -- what a plan earns -----------------------------------------------------------------------------------------

    def begin(
        self,
        planner: Planner[Any, Any],
        position: Position,
        least_gain_base: int | None,
        pricing: Pricing | None,
    ) -> Steps[Begun]:
        objective = self._trade.objective()
        if isinstance(objective, MaxProfit) and pricing is not None:

            def most(way: Selling) -> Steps[Dealt | Skip]:
                likely = OWN if way.needs_inventory else self._lenders.likely
                return most_profitable(objective, planner, position, self._terms(position, pricing, likely, way))

            forgives = partial(self._detours.forgives, position.borrower)
            best = yield from by_first_way(self._trade.ways, most, forgives)
            if isinstance(best, Dealt) or self.elsewhere is None:
                return best if isinstance(best, Skip) else (best.plan,)
        return planner.begin(position, None if isinstance(objective, Solvency) else least_gain_base)

    def offers(self, position: Position, plans: Sequence[Plan], pricing: Pricing) -> Steps[tuple[Offer, ...] | Skip]:
        loans: dict[int, Loan] = {}

        def made(plan: Plan, way: Selling) -> Dealt | Skip:
            found = untakable(plan) or self._made(plan, position, pricing, way)
            if isinstance(found, Skip):
                return found
            made, loans[id(plan)] = found
            return made

        def best_of(way: Selling) -> Steps[Dealt | Skip]:
            return choosing(self._choice(), (made(plan, way) for plan in plans))

        def asks() -> bool:
            if self.elsewhere is None:
                return False
            terms = self._terms(position, pricing, self._lenders.likely)
            return self.elsewhere.want(position.borrower, wishes_for(plans, terms, self._choice()))

        forgives = partial(self._detours.forgives, position.borrower)
        best = yield from by_first_way(self._trade.ways, best_of, forgives, asks)
        if isinstance(best, Skip):
            return best
        loan = loans[id(best.plan)]
        gas = tuple(self._gas(deal, loan, position, pricing) for deal in best.deals)
        offer = offer_of(best, gas, loan, pricing)
        return offer if isinstance(offer, Skip) else (offer,)

    def _choice(self) -> Restore | Solvency:
        """Of plans that were made for the objective: which may be taken."""
        objective = self._trade.objective()
        return Restore(objective.least_net_base) if isinstance(objective, MaxProfit) else objective

    def _made(self, plan: Plan, position: Position, pricing: Pricing, way: Selling) -> tuple[Dealt, Loan] | Skip:
        """With the lender who leaves most, and what other venues have answered where that is better than the pools; what is
        not sold can repay no lender."""
        offering: tuple[Lent, ...] | Skip = (OWN,)
        if not way.needs_inventory:
            around = self._detours.around(position.borrower, self._exchange)
            offering = self._lenders.offering(plan.debts_raw, pricing, around)
        if isinstance(offering, Skip):
            return replace(offering, verdict=plan.verdict)
        found: list[tuple[Dealt | Skip, Loan]] = []
        for lent in offering:
            terms = self._terms(position, pricing, lent, way)
            if self.elsewhere is not None and not way.needs_inventory:
                quoted = self.elsewhere.routes(position.borrower, wishes_of(plan, terms))
                asked = dealt(plan, terms, quoted) if quoted else None
                if isinstance(asked, Dealt) and is_carried(asked):
                    found.append((asked, lent.loan))
            found.append((dealt(plan, terms), lent.loan))
        made = [(each, loan) for each, loan in found if isinstance(each, Dealt)]
        if made:
            return max(made, key=lambda each: each[0].net_base)
        refused = found[-1][0]
        assert isinstance(refused, Skip), "nothing was made"
        return refused

    def _terms(self, position: Position, pricing: Pricing, lent: Lent, way: Selling = Selling.ALL) -> Terms:
        gas = pricing.adapter.estimated_gas(position)
        return self._terms_on(self._detours.around(position.borrower, self._exchange), gas, gas, pricing, lent, way)

    def _terms_on(
        self, exchange: Exchange, gas: int, more_gas: int, pricing: Pricing, lent: Lent, way: Selling
    ) -> Terms:
        """`gas`: of its liquidations, but for `more_gas` for each after the first."""
        adapter, market = pricing.adapter, pricing.market
        assets = adapter.assets(market)
        costs = Costs(
            gas=gas + lent.gas,
            more_gas=more_gas,
            fee_per_gas_wei=highest_fee_wei(pricing.fees, pricing.fee_cap_wei),
            data_fee_wei=pricing.data_fee_wei,
            premium=lent.premium,
            native=AssetPrice(pricing.native_price_base, 10**18),
        )
        prices = prices_of(adapter, pricing.state, assets)
        receipts = {asset: adapter.receipt_token(market, asset) for asset in assets}
        return Terms(lent.leaves(exchange), prices, costs, self._trade.slippage, way, receipts)

    def _gas(self, deal: Deal, loan: Loan, position: Position, pricing: Pricing) -> int:
        each = pricing.adapter.estimated_gas(position)
        return LOAN_GAS[loan.source] + each * len(deal.calls) + sum(route.gas for route in deal.routes)

    # -- the order -------------------------------------------------------------------------------------------------

    def calls(self, offer: Offer, position: Position, pricing: Pricing) -> tuple[Call, ...]:
        assert offer.dealt is not None and offer.loan is not None, "the executor's offers are dealt"
        adapter, market = pricing.adapter, pricing.market
        self._before[position.borrower] = self._exchange
        self._exchange = as_left(offer.dealt.exchange, self._exchange)
        leasts_raw = self._least_nets_raw(offer.dealt)
        if self.elsewhere is not None:
            self.elsewhere.take(position.borrower, asked_couples(offer.dealt))
        assert self.executor is not None
        return tuple(
            self._encode(
                self.executor,
                executor_plan(
                    deal,
                    position,
                    adapter.spender(market),
                    adapter.debt_token(market, deal.calls[0].pair.debt_id),
                    offer.loan,
                    offer.plan.window.latest_s,
                    least_net_raw=least_raw,
                    target_wad=promised_wad(offer.plan) if self._trade.asserts_health else 0,
                ),
            )
            for deal, least_raw in zip(offer.dealt.deals, leasts_raw, strict=True)
        )

    def _least_nets_raw(self, of: Dealt) -> tuple[int, ...]:
        """What the contract must see left of each transaction's debt asset, gas paid: together no less than the objective
        takes. Where the whole may lose, no less than is left at the limits of all steps either."""
        choice = self._choice()
        if isinstance(choice, Restore):
            return least_nets_raw(of, choice.least_net_base)
        shares_raw = least_nets_raw(of, -choice.loss_left_base)
        return tuple(max(raw, deal.earnings.least_net_raw) for deal, raw in zip(of.deals, shares_raw, strict=True))

    # -- several borrowers in one transaction ------------------------------------------------------------------------

    def joined(
        self, orders: Sequence[Order], positions: Sequence[Position], pricing: Pricing, apart: Set[Address]
    ) -> Steps[list[tuple[Sequence[int], Order]]]:
        groups = groups_of(orders, apart | {order.borrower for order in orders if order.borrower in self._detours})
        if not groups:
            return [((place,), order) for place, order in enumerate(orders)]
        self._exchange = self._before[orders[0].borrower]
        found: list[tuple[Sequence[int], Order]] = []
        aboard: set[int] = set()
        for place, order in enumerate(orders):
            if place in aboard:
                continue
            places = groups.get(place, ())
            members = [(orders[each], positions[each]) for each in places]
            together = self._together(members, pricing) if members else None
            if together is not None:
                found.append((places, together))
                aboard.update(places)
            else:
                here = self._again(order, positions[place], pricing) if aboard else self._as_was(order)
                found.append(((place,), here))
            yield
        return found

    def _together(self, members: Sequence[tuple[Order, Position]], pricing: Pricing) -> Order | None:
        """None where it leaves less than each by itself, or somebody may lose: then nobody knows how much all may."""
        orders = [order for order, _ in members]
        plans = [self._decode(order.calls[0].calldata) for order in orders]
        alone_base = [order.offer.dealt.net_base for order in orders if order.offer.dealt is not None]
        pricing = replace(pricing, data_fee_wei=len(orders) * pricing.data_fee_wei)
        needed_raw = {plans[0].debt_asset: sum(plan.needed_raw for plan in plans)}
        offering = self._lenders.offering(needed_raw, pricing, self._exchange)
        if isinstance(offering, Skip) or min(plan.least_gain_raw for plan in plans) < 0:
            return None
        gas = [pricing.adapter.estimated_gas(position) for order, position in members for _ in order.plan.calls]
        of_first = sum(gas) - gas[0] * (len(gas) - 1)
        made: list[tuple[Dealt, Lent]] = []
        for lent in offering:
            terms = self._terms_on(self._exchange, of_first, gas[0], pricing, lent, Selling.ALL)
            each = dealt_together([order.plan for order in orders], terms)
            if isinstance(each, Dealt) and each.net_base >= sum(alone_base):
                made.append((each, lent))
        if not made:
            return None
        best, lent = max(made, key=lambda each: each[0].net_base)
        [deal] = best.deals
        offer = offer_of(best, (lent.gas + sum(gas) + sum(route.gas for route in deal.routes),), lent.loan, pricing)
        if isinstance(offer, Skip):
            return None
        assert self.executor is not None
        self._exchange = as_left(best.exchange, self._exchange)
        return replace(
            orders[0],
            offer=offer,
            calls=(self._encode(self.executor, plan_together(deal, plans, lent.loan)),),
            swaps=self.swaps(offer, pricing),
            members=tuple(orders),
            shares=shares_of(orders),
        )

    def _again(self, order: Order, position: Position, pricing: Pricing) -> Order:
        """Priced on the pools as those leave them that go before it now; as it was where it does not pay there: then the
        simulation decides."""
        assert order.offer.dealt is not None, "the executor's orders are dealt"
        way = order.offer.dealt.deals[0].routes[0].selling
        found = self._made(order.plan, position, pricing, way)
        if isinstance(found, Skip) or isinstance(chosen(self._choice(), [found[0]]), Skip):
            return order
        made, loan = found
        offer = offer_of(made, tuple(self._gas(deal, loan, position, pricing) for deal in made.deals), loan, pricing)
        if isinstance(offer, Skip):
            return order
        return replace(order, offer=offer, calls=self.calls(offer, position, pricing), swaps=self.swaps(offer, pricing))

    def _as_was(self, order: Order) -> Order:
        assert order.offer.dealt is not None, "the executor's orders are dealt"
        self._exchange = as_left(order.offer.dealt.exchange, self._exchange)
        return order

    def swaps(self, offer: Offer, pricing: Pricing) -> tuple[Swapped, ...]:
        assert offer.dealt is not None, "the executor's offers are dealt"
        return swaps_of(offer.dealt, pricing)

    def measured(self, order: Order, simulation: Simulation, pricing: Pricing) -> Offer | Skip:
        assert order.offer.dealt is not None and order.offer.loan is not None, "the executor's orders are dealt"
        made = as_measured(order.offer.dealt, simulation, pricing)
        if isinstance(made, Skip):
            return made
        choice = self._choice()
        if isinstance(choice, Restore):
            choice = Restore(choice.least_net_base * len(order.parts))
        best = chosen(choice, [made])
        if isinstance(best, Skip):
            return best
        pricing = replace(pricing, data_fee_wei=order.offer.data_fee_wei)
        return offer_of(best, tuple(call.gas_used for call in simulation.calls), order.offer.loan, pricing)

    def final_calls(self, order: Order, offer: Offer, simulation: Simulation) -> tuple[Call, ...]:
        """Each holds the contract to the gas that was measured, at the fees of the offer: never to more than was seen to be
        gained, and never to less than before. Of several borrowers some may be left out: what is asked stays as it is."""
        assert offer.dealt is not None and self.executor is not None, "the executor's offers are dealt"
        if order.members:
            return order.calls
        found = []
        for deal, call, least_raw in zip(
            offer.dealt.deals, order.calls, self._least_nets_raw(offer.dealt), strict=True
        ):
            plan = self._decode(call.calldata)
            gained_raw = (simulation.gained_raw or {}).get(deal.debt_asset, plan.least_gain_raw)
            wanted_raw = min(gained_raw, least_gain_raw(deal, least_raw))
            more = wanted_raw > plan.least_gain_raw
            found.append(self._encode(self.executor, replace(plan, least_gain_raw=wanted_raw)) if more else call)
        return tuple(found)

    def stakes(self, order: Order, offer: Offer, gas_limits: tuple[int, ...], pricing: Pricing) -> tuple[Stake, ...]:
        """`order` is what its calls were made of: the contract holds each to its least gain, or reverts. Of what is kept the
        market's own exchange is the least."""
        assert order.offer.dealt is not None, "the executor's orders are dealt"
        base_unit, fee_wei = pricing.adapter.base_unit(pricing.market), offer.fees.max_fee_wei
        found, leasts_raw = [], self._least_nets_raw(order.offer.dealt)
        for deal, gas_limit, least_raw in zip(order.offer.dealt.deals, gas_limits, leasts_raw, strict=True):
            lost_base = max(0, -deal.earnings.price.base_floor(least_gain_raw(deal, least_raw)))
            if deal.routes[0].selling.needs_inventory:
                lost_base = kept_at_loss_base(deal.calls)
            native_price_base, data_fee_wei = pricing.native_price_base, offer.worst_data_fee_wei
            found.append(stake(deal.calls, gas_limit, fee_wei, lost_base, native_price_base, base_unit, data_fee_wei))
        return tuple(found)

    def fund_keys(self, adapter: LendingAdapter[Any, Any], market: Any) -> list[FundKey]:
        return []

    def failed(self, order: Order) -> None:
        self._detours.failed(order)
        if self.elsewhere is not None and order.offer.dealt is not None and asked_couples(order.offer.dealt):
            self.elsewhere.reject(order.borrower)
