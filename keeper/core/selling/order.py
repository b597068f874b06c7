"""A deal as the executor contract is told it."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.executor import ExecutorPlan, LiquidationStep, Loan
from keeper.core.lending import Position
from keeper.core.selling.deal import Deal, Dealt
from keeper.core.swap import Selling
from keeper.core.units import Address


def executor_plan(
    deal: Deal,
    position: Position,
    market_pool: Address,
    debt_token: Address,
    loan: Loan,
    latest_s: int,
    *,
    least_net_raw: int = 0,
    target_wad: int = 0,
) -> ExecutorPlan:
    """One borrower's deal as one transaction. `debt_token` is the market's for the debt asset. `least_net_raw`: what must be
    left of the debt asset once the gas is paid, or all of it reverts; below 0 what may be lost. `target_wad` is asked of the
    last call alone: the ones before it must leave health below 1."""
    selling = deal.routes[0].selling
    steps = []
    for place, call in enumerate(deal.calls):
        steps.append(
            LiquidationStep(
                collateral_asset=call.pair.collateral_asset,
                borrower=position.borrower,
                debt_token=debt_token,
                debt_scaled=position.debt_scaled[call.pair.debt_id],
                debt_to_cover_raw=call.debt_to_cover_raw,
                receive_a_token=selling is Selling.HOLD_A_TOKEN,
                target_wad=target_wad if place == len(deal.calls) - 1 else 0,
            )
        )
    return ExecutorPlan(
        market=market_pool,
        debt_asset=deal.debt_asset,
        liquidations=tuple(steps),
        swaps=tuple(step for route in deal.routes for step in route.steps),
        loan=loan,
        latest_s=latest_s,
        least_gain_raw=least_gain_raw(deal, least_net_raw),
    )


def plan_together(deal: Deal, plans: Sequence[ExecutorPlan], loan: Loan) -> ExecutorPlan:
    """Several borrowers' transactions as one. Somebody may be left out on chain, and nobody knows who: so what must be gained
    is the least of what each of them alone must gain. Each swap is held to its price all the same."""
    return ExecutorPlan(
        market=plans[0].market,
        debt_asset=deal.debt_asset,
        liquidations=tuple(step for plan in plans for step in plan.liquidations),
        swaps=tuple(step for route in deal.routes for step in route.steps),
        loan=loan,
        latest_s=min(plan.latest_s for plan in plans),
        least_gain_raw=min(plan.least_gain_raw for plan in plans),
    )


def least_nets_raw(made: Dealt, least_net_base: int) -> tuple[int, ...]:
    """What must be left of each transaction's debt asset, gas paid, so that `least_net_base` is left of all together. What they
    net beyond that each may miss, in proportion to what the limits of its swaps leave open: so one may lose for another,
    and none must bring more than it is expected to. Rounded up."""
    nets_base = [deal.earnings.net_base for deal in made.deals]
    open_raw = [deal.earnings.net_raw - deal.earnings.least_net_raw for deal in made.deals]
    open_base = [max(1, deal.earnings.price.base_floor(raw)) for deal, raw in zip(made.deals, open_raw, strict=True)]
    spare_base = sum(nets_base) - least_net_base
    found = []
    for deal, net_base, share in zip(made.deals, nets_base, open_base, strict=True):
        least_base, price = net_base - spare_base * share // sum(open_base), deal.earnings.price
        found.append(-(-least_base * price.unit_raw // price.price_base))
    return tuple(found)


def least_gain_raw(deal: Deal, least_net_raw: int) -> int:
    """By which the executor's balance of the debt asset must grow: gas and what is to be left where all is sold; nothing where
    only the debt is covered; where nothing is sold it may shrink by what is repaid."""
    selling = deal.routes[0].selling
    if selling is Selling.ALL:
        return deal.earnings.gas_raw + least_net_raw
    return 0 if selling is Selling.COVER else -deal.borrowed_raw
