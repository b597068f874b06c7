"""What a keeper is for, as values: restore borrowers without loss, earn most, or keep a market solvent at a bounded loss.

Pure: planner, position and terms of one head in, the plan that the objective picks out, or why it picks none. What is compared
is what is left after selling the collateral on the true curve, premium and gas (`keeper.core.selling.deal`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from keeper.core.lending import Position
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan
from keeper.core.planner import Planner
from keeper.core.selling.best_size import SizeByProfit
from keeper.core.selling.deal import Dealt, Terms, dealt
from keeper.core.sized import clip_of, sized
from keeper.core.steps import Steps, finished
from keeper.core.units import to_hex


@dataclass(frozen=True, slots=True)
class Restore:
    """The least that restores the borrower, on the pair that costs the borrower least, unless it costs us."""

    least_net_base: int = 0


@dataclass(frozen=True, slots=True)
class MaxProfit:
    """The pair and size that earn most in one call, within close factor and dust rules, whatever that does to health."""

    least_net_base: int = 1


@dataclass(frozen=True, slots=True)
class Solvency:
    """The least that restores the borrower, at a loss if it must be, as long as the day's allowance lasts."""

    loss_left_base: int
    """Of today's allowance. What is spent of it is for the caller to count."""


Objective = Restore | MaxProfit | Solvency


def choose(objective: Objective, planner: Planner[Any, Any], position: Position, terms: Terms) -> Dealt | Skip:
    """What the objective does about one borrower. The planner is one head's; the same arguments give the same answer."""
    if isinstance(objective, MaxProfit):
        return finished(most_profitable(objective, planner, position, terms))
    plans = planner.plan(position)
    return plans if isinstance(plans, Skip) else choose_plan(objective, plans, terms)


def choose_plan(objective: Restore | Solvency, plans: Sequence[Plan], terms: Terms) -> Dealt | Skip:
    """Of plans that restore, best for the borrower first: the first that loses nothing. A solvent market comes before money:
    where each of them loses, `Solvency` takes the one that loses least, if it may."""
    return chosen(objective, (dealt(plan, terms) for plan in plans))


def chosen(objective: Restore | Solvency, made: Iterable[Dealt | Skip]) -> Dealt | Skip:
    """The same of deals that are made already, at least one."""
    return finished(choosing(objective, made))


def choosing(objective: Restore | Solvency, made: Iterable[Dealt | Skip]) -> Steps[Dealt | Skip]:
    """The same of deals that are made one in each step."""
    refused: list[Skip] = []
    losing: list[Dealt] = []
    least_base = objective.least_net_base if isinstance(objective, Restore) else 0
    for found in made:
        if isinstance(found, Skip):
            refused.append(found)
        elif found.net_base >= least_base:
            return found
        else:
            losing.append(found)
        yield
    if not losing:
        return refused[0]
    best = max(losing, key=lambda each: each.net_base)
    if isinstance(objective, Solvency) and best.net_base >= -objective.loss_left_base:
        return best
    return unprofitable(best, -objective.loss_left_base if isinstance(objective, Solvency) else least_base)


def most_profitable(
    objective: MaxProfit, planner: Planner[Any, Any], position: Position, terms: Terms
) -> Steps[Dealt | Skip]:
    """The best of the best sizes of all usable pairs. No step takes more than the quotes of one grid, or of one size."""
    sizing = planner.sizing(position)
    opened = planner.open(position, sizing)
    if isinstance(opened, Skip):
        return opened
    found: list[Dealt] = []
    refused: list[Skip] = []
    for pair in opened.pairs:
        if not {pair.collateral_asset, pair.debt_asset} <= terms.prices.keys():
            refused.append(Skip(Reason.UNPRICEABLE, "the oracle gives no price for one of the pair"))
            continue
        sizer = sizing.sizer(pair, sizing.start)
        best = yield from SizeByProfit(sizer, terms).best()
        if best is None:
            detail = f"0x{pair.collateral_asset.hex()} for 0x{pair.debt_asset.hex()}: no pools take it"
            refused.append(Skip(Reason.NO_ROUTE, detail))
            continue
        call = sized(sizer, best.request_raw, clip_of(sizer, best.request_raw))
        yield
        made = dealt(planner.plan_of(opened, call), terms)
        if isinstance(made, Skip):
            refused.append(made)
        else:
            found.append(made)
        yield
    if not found:
        return refused[0]
    best_deal = max(found, key=lambda each: each.net_base)
    return (
        best_deal
        if best_deal.net_base >= objective.least_net_base
        else unprofitable(best_deal, objective.least_net_base)
    )


def unprofitable(best: Dealt, least_base: int) -> Skip:
    """With the figures of the best there is."""
    parts = []
    for deal in best.deals:
        earnings, asset = deal.earnings, f"raw of {to_hex(deal.debt_asset)}"
        parts.append(
            f"brings {earnings.proceeds_raw} {asset}, repaid are {earnings.repaid_raw} {asset}, the loan costs"
            f" {earnings.premium_raw} {asset}, gas {earnings.gas_raw} {asset}"
        )
    detail = f"{'; '.join(parts)}: {best.net_base} base, the least is {least_base}"
    return Skip(Reason.UNPROFITABLE, detail, best.plan.verdict)
