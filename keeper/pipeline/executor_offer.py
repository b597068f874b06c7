"""A deal of the executor as an offer, and what pricing one needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keeper.core.executor import Loan
from keeper.core.order import Offer, Profit
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan
from keeper.core.profit import above_cap, gas_cost_base
from keeper.core.profit_costs import AssetPrice
from keeper.core.profit_deal import Dealt, prices_of
from keeper.core.slippage_paths import Exchange
from keeper.core.units import Address
from keeper.pipeline.carrying import Pricing


def untakable(plan: Plan) -> Skip | None:
    """A transaction's debts are compared with those at the head: two apart that repay one asset cannot both be right."""
    assets: list[Address] = []
    for call in plan.calls:
        asset = call.pair.debt_asset
        if asset in assets and assets[-1] != asset:
            return Skip(
                Reason.NO_ROUTE, "its calls would be more than one transaction for one debt asset", plan.verdict
            )
        assets.append(asset)
    return None


def suspects(failed: Sequence[Sequence[Address]]) -> frozenset[Address]:
    """Pools to go around, by the pools of each order that reverted: those that failed alone, and of several that failed
    together the first, until one of them has failed alone."""
    alone = {pools[0] for pools in failed if len(pools) == 1}
    return frozenset(alone | {pools[0] for pools in failed if pools and alone.isdisjoint(pools)})


def as_left(after: Exchange, known: Exchange) -> Exchange:
    """The pools as an order leaves them, with those that were left out for it as they were."""
    moved: Mapping[Address, Any] = {pool.address: pool for pool in after.pools}
    return replace(known, pools=tuple(moved.get(pool.address, pool) for pool in known.pools))


def price_of(asset: Address, pricing: Pricing) -> AssetPrice | None:
    return prices_of(pricing.adapter, pricing.state, [asset]).get(asset)


def offer_of(made: Dealt, gas: tuple[int, ...], loan: Loan, pricing: Pricing) -> Offer | Skip:
    """With its price tag: what it nets is the deals' own figure, so slippage is what the rest does not tell."""
    held_back = above_cap(made.plan, pricing.fees, pricing.fee_cap_wei)
    if held_back is not None:
        return held_back
    quotes = [call.at_latest for call in made.plan.calls]
    known = Profit(
        received_base=sum(quote.received_base for quote in quotes),
        repaid_base=sum(quote.repaid_base + 1 for quote in quotes),
        gas_base=sum(gas_cost_base(1, deal.earnings.gas_wei, pricing.native_price_base) for deal in made.deals),
        premium_base=sum(
            deal.earnings.price.base_floor(deal.earnings.premium_raw) + 1
            for deal in made.deals
            if deal.earnings.premium_raw
        ),
    )
    profit = replace(known, slippage_base=known.net_base - made.net_base)
    return Offer(made.plan, gas, pricing.fees, profit, made, loan, pricing.data_fee_wei)
