"""All calls of a borrower that repay one asset are one transaction of the executor, which borrows that asset, sells what comes
in and keeps what is left. The signer needs nothing but gas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.executor import ExecutorPlan, Loan, LoanSource
from keeper.core.ledger import Stake, Swapped
from keeper.core.lending import LendingAdapter, Position
from keeper.core.objective import MaxProfit, Restore, Solvency, choosing, chosen, most_profitable
from keeper.core.order import Offer, Order, Simulation
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Plan
from keeper.core.planner import Planner
from keeper.core.profit import highest_fee_wei
from keeper.core.profit_costs import AssetPrice, Costs
from keeper.core.profit_deal import Deal, Dealt, Terms, dealt, prices_of
from keeper.core.profit_order import executor_plan, least_gain_raw, least_nets_raw
from keeper.core.slippage_paths import Exchange
from keeper.core.stakes import kept_at_loss_base, stake
from keeper.core.standing import Funds
from keeper.core.steps import Steps
from keeper.core.swap import Selling
from keeper.core.units import HEALTH_ONE_WAD, Address
from keeper.pipeline.budget import FundKey
from keeper.pipeline.carrying import Begun, Pricing
from keeper.pipeline.executor_offer import as_left, offer_of, price_of, suspects, untakable
from keeper.pipeline.lenders import LOAN_GAS, OWN, Lenders, Lent
from keeper.pipeline.tasks import drive
from keeper.pipeline.trade import Trade
from keeper.ports import Chain, Pools

DISCOVER_EVERY_BLOCKS = 300
AVOIDED_BLOCKS = 20
"""So long a pool is left out for a borrower whose order reverted with it."""

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
    ) -> None:
        self.executor: Address | None = executor
        self.liquidator = executor
        self._pools = pools
        self._encode = encode
        self._decode = decode
        self._trade = trade
        self._lenders = lenders
        self._exchange = Exchange(())
        self._failed: dict[Address, tuple[tuple[tuple[Address, ...], ...], int]] = {}
        """By borrower: the pools of each order that reverted, and at which block the last did."""
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
        self._exchange = self._pools.exchange
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

            best = yield from self._by_first_way(most, position)
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

        best = yield from self._by_first_way(best_of, position)
        if isinstance(best, Skip):
            return best
        loan = loans[id(best.plan)]
        gas = tuple(self._gas(deal, loan, position, pricing) for deal in best.deals)
        offer = offer_of(best, gas, loan, pricing)
        return offer if isinstance(offer, Skip) else (offer,)

    def _by_first_way(
        self, best_of: Callable[[Selling], Steps[Dealt | Skip]], position: Position
    ) -> Steps[Dealt | Skip]:
        """What the first way of dealing with the collateral comes to that does; or why the first of them does not. Then the
        pools that were left out for the borrower are tried once more."""
        while True:
            refused: Skip | None = None
            for way in self._trade.ways:
                best = yield from best_of(way)
                if isinstance(best, Dealt):
                    return best
                refused = refused or best
            if not self._takes_all_again(position):
                assert refused is not None, "there is a way"
                return refused

    def _choice(self) -> Restore | Solvency:
        """Of plans that were made for the objective: which may be taken."""
        objective = self._trade.objective()
        return Restore(objective.least_net_base) if isinstance(objective, MaxProfit) else objective

    def _made(self, plan: Plan, position: Position, pricing: Pricing, way: Selling) -> tuple[Dealt, Loan] | Skip:
        """With the lender who leaves most; what is not sold cannot repay one."""
        offering: tuple[Lent, ...] | Skip = (OWN,)
        if not way.needs_inventory:
            offering = self._lenders.offering(plan.debts_raw, pricing, self._exchange_for(position.borrower))
        if isinstance(offering, Skip):
            return replace(offering, verdict=plan.verdict)
        found = [(dealt(plan, self._terms(position, pricing, lent, way)), lent.loan) for lent in offering]
        made = [(each, loan) for each, loan in found if isinstance(each, Dealt)]
        if made:
            return max(made, key=lambda each: each[0].net_base)
        refused = found[-1][0]
        assert isinstance(refused, Skip), "nothing was made"
        return refused

    def _terms(self, position: Position, pricing: Pricing, lent: Lent, way: Selling = Selling.ALL) -> Terms:
        adapter, market = pricing.adapter, pricing.market
        assets = adapter.assets(market)
        prices = prices_of(adapter, pricing.state, assets)
        gas = pricing.adapter.estimated_gas(position)
        costs = Costs(
            gas=gas + lent.gas,
            more_gas=gas,
            fee_per_gas_wei=highest_fee_wei(pricing.fees, pricing.fee_cap_wei),
            data_fee_wei=pricing.data_fee_wei,
            premium=lent.premium,
            native=AssetPrice(pricing.native_price_base, 10**18),
        )
        exchange = lent.leaves(self._exchange_for(position.borrower))
        receipts = {asset: adapter.receipt_token(market, asset) for asset in assets}
        return Terms(exchange, prices, costs, self._trade.slippage, way, receipts)

    def _takes_all_again(self, position: Position) -> bool:
        """Whether pools were left out for a borrower, for whom there is no other way: then they are tried once more. What
        reverted need not have been their fault, and nobody is locked out."""
        return self._failed.pop(position.borrower, None) is not None

    def _exchange_for(self, borrower: Address) -> Exchange:
        failed, _ = self._failed.get(borrower, ((), 0))
        if not failed:
            return self._exchange
        avoided = suspects(failed)
        left = tuple(pool for pool in self._exchange.pools if pool.address not in avoided)
        return replace(self._exchange, pools=left)

    def _gas(self, deal: Deal, loan: Loan, position: Position, pricing: Pricing) -> int:
        each = pricing.adapter.estimated_gas(position)
        return LOAN_GAS[loan.source] + each * len(deal.calls) + sum(route.gas for route in deal.routes)

    # -- the order -------------------------------------------------------------------------------------------------

    def calls(self, offer: Offer, position: Position, pricing: Pricing) -> tuple[Call, ...]:
        assert offer.dealt is not None and offer.loan is not None, "the executor's offers are dealt"
        adapter, market = pricing.adapter, pricing.market
        self._exchange = as_left(offer.dealt.exchange, self._exchange)
        leasts_raw = self._least_nets_raw(offer.dealt)
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
                    target_wad=_promised_wad(offer.plan) if self._trade.asserts_health else 0,
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

    def swaps(self, offer: Offer, pricing: Pricing) -> tuple[Swapped, ...]:
        assert offer.dealt is not None, "the executor's offers are dealt"
        found = []
        for deal in offer.dealt.deals:
            for route in deal.routes:
                sold = price_of(route.token_in, pricing)
                if route.steps and sold is not None:
                    bought_base = deal.earnings.price.base_floor(route.amount_out_raw)
                    found.append(Swapped(sold.base_floor(route.amount_in_raw), bought_base))
        return tuple(found)

    def measured(self, order: Order, simulation: Simulation, pricing: Pricing) -> Offer | Skip:
        assert order.offer.dealt is not None and order.offer.loan is not None, "the executor's orders are dealt"
        gained_raw, deals = simulation.gained_raw or {}, []
        fee_wei = highest_fee_wei(pricing.fees, pricing.fee_cap_wei)
        counted = {deal.debt_asset for deal in order.offer.dealt.deals}
        for deal, call in zip(order.offer.dealt.deals, simulation.calls, strict=True):
            kept_raw = 0
            for route in deal.routes:
                token = route.receipt or route.token_in
                if token in counted:
                    continue  # what was gained over all transactions counts once
                counted.add(token)
                price, left_raw = price_of(token, pricing), gained_raw.get(token, 0)
                if left_raw < 0 or price is None:
                    detail = f"of 0x{token.hex()} the executor has {-left_raw} raw less than before"
                    return Skip(Reason.MARKET_UNVERIFIED, detail, order.plan.verdict)
                kept_raw += price.raw_in(deal.earnings.price, left_raw)
            came_raw = gained_raw.get(deal.debt_asset, 0) + kept_raw
            earnings = replace(
                deal.earnings,
                proceeds_raw=came_raw + deal.earnings.repaid_raw + deal.earnings.premium_raw,
                gas_wei=call.gas_used * fee_wei + deal.earnings.data_fee_wei,
            )
            deals.append(replace(deal, earnings=earnings))
        made = replace(order.offer.dealt, deals=tuple(deals))
        best = chosen(self._choice(), [made])
        if isinstance(best, Skip):
            return best
        return offer_of(best, tuple(call.gas_used for call in simulation.calls), order.offer.loan, pricing)

    def final_calls(self, order: Order, offer: Offer, simulation: Simulation) -> tuple[Call, ...]:
        """Each holds the contract to the gas that was measured, at the fees of the offer: never to more than was seen to be
        gained, and never to less than before."""
        assert offer.dealt is not None and self.executor is not None, "the executor's offers are dealt"
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
        """Its pools are left out for this borrower, as long as there is another way."""
        assert order.offer.dealt is not None, "the executor's orders are dealt"
        block = order.plan.block.number
        steps = [step for deal in order.offer.dealt.deals for route in deal.routes for step in route.steps]
        loan = order.offer.loan
        lending = (
            [loan.lender] if loan is not None and loan.lender is not None and loan.source is LoanSource.POOL_V3 else []
        )
        used = tuple(dict.fromkeys([*(step.venue for step in steps), *lending]))
        self._failed = {
            borrower: (failed, since)
            for borrower, (failed, since) in self._failed.items()
            if 0 <= block - since < AVOIDED_BLOCKS
        }
        before, _ = self._failed.get(order.borrower, ((), 0))
        self._failed[order.borrower] = (*before, used), block


def _promised_wad(plan: Plan) -> int:
    """The health that its verdict promises; 0: none that a contract could be held to."""
    if plan.verdict is Verdict.REACHES_TARGET:
        return plan.target_wad
    return HEALTH_ONE_WAD if plan.verdict is Verdict.REACHES_SAFETY else 0
