"""A deal of the executor as an offer, and what pricing one needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keeper.core.executor import Loan
from keeper.core.ledger import Swapped
from keeper.core.order import Offer, Profit, Simulation
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Plan
from keeper.core.profit import above_cap, gas_cost_base, highest_fee_wei
from keeper.core.selling.costs import AssetPrice
from keeper.core.selling.deal import Dealt, prices_of
from keeper.core.selling.exchange import Exchange
from keeper.core.units import HEALTH_ONE_WAD, Address
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
    quotes = [call.at_latest for deal in made.deals for call in deal.calls]
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


def swaps_of(made: Dealt, pricing: Pricing) -> tuple[Swapped, ...]:
    """What it sells and buys; what has no price is not sold."""
    found = []
    for deal in made.deals:
        for route in deal.routes:
            sold = price_of(route.token_in, pricing)
            if route.steps and sold is not None:
                bought_base = deal.earnings.price.base_floor(route.amount_out_raw)
                found.append(Swapped(sold.base_floor(route.amount_in_raw), bought_base))
    return tuple(found)


def as_measured(made: Dealt, simulation: Simulation, pricing: Pricing) -> Dealt | Skip:
    """With what each transaction brings and burns in the simulation; or what did not arrive."""
    gained_raw, deals = simulation.gained_raw or {}, []
    fee_wei = highest_fee_wei(pricing.fees, pricing.fee_cap_wei)
    counted = {deal.debt_asset for deal in made.deals}
    for deal, call in zip(made.deals, simulation.calls, strict=True):
        kept_raw = 0
        for route in deal.routes:
            token = route.receipt or route.token_in
            if token in counted:
                continue  # what was gained over all transactions counts once
            counted.add(token)
            price, left_raw = price_of(token, pricing), gained_raw.get(token, 0)
            if left_raw < 0 or price is None:
                detail = f"of 0x{token.hex()} the executor has {-left_raw} raw less than before"
                return Skip(Reason.MARKET_UNVERIFIED, detail, made.plan.verdict)
            kept_raw += price.raw_in(deal.earnings.price, left_raw)
        came_raw = gained_raw.get(deal.debt_asset, 0) + kept_raw
        earnings = replace(
            deal.earnings,
            proceeds_raw=came_raw + deal.earnings.repaid_raw + deal.earnings.premium_raw,
            gas_wei=call.gas_used * fee_wei + deal.earnings.data_fee_wei,
        )
        deals.append(replace(deal, earnings=earnings))
    return replace(made, deals=tuple(deals))


def promised_wad(plan: Plan) -> int:
    """The health that its verdict promises; 0: none that a contract could be held to."""
    if plan.verdict is Verdict.REACHES_TARGET:
        return plan.target_wad
    return HEALTH_ONE_WAD if plan.verdict is Verdict.REACHES_SAFETY else 0
