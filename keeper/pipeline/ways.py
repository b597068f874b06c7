"""What may become of what was seized: the ways, tried in turn; and what other venues are asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from keeper.core.executor import MOST_CALLDATA_BYTES
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan
from keeper.core.selling.deal import Dealt, Terms, dealt, wishes_of
from keeper.core.selling.objective import Restore, Solvency, chosen
from keeper.core.steps import Steps
from keeper.core.swap import Selling, StepKind, Wish
from keeper.core.units import Address
from keeper.pipeline.executor_offer import untakable

MOST_ASKED_PLANS = 2
"""So many plans of a borrower are other venues asked about: the best for the borrower."""


def by_first_way(
    ways: Sequence[Selling],
    best_of: Callable[[Selling], Steps[Dealt | Skip]],
    forgives: Callable[[], bool],
    asks: Callable[[], bool] = lambda: False,
) -> Steps[Dealt | Skip]:
    """What the first way comes to that does; or why the first of them does not. Before that, where `forgives` says that pools
    were left out, all is tried once more. While other venues are asked nothing is kept that they might sell."""
    while True:
        refused: Skip | None = None
        for way in ways:
            best = yield from best_of(way)
            if isinstance(best, Dealt):
                return best
            refused = refused or best
            if not way.needs_inventory and best.reason in (Reason.NO_ROUTE, Reason.UNPROFITABLE) and asks():
                return replace(refused, detail=f"{refused.detail}; another venue is asked")
        if not forgives():
            assert refused is not None, "there is a way"
            return refused


def wishes_for(plans: Sequence[Plan], terms: Terms, choice: Restore | Solvency) -> list[Wish]:
    """What to ask other venues for: what the best of the plans receive that would pay at the oracle's prices, each couple
    once. Who is too small for any venue is not asked about."""

    def may_pay(plan: Plan) -> bool:
        at_best = untakable(plan) or dealt(plan, replace(terms, selling=Selling.HOLD))
        return isinstance(at_best, Dealt) and isinstance(chosen(choice, [at_best]), Dealt)

    takable = list(islice(filter(may_pay, plans), MOST_ASKED_PLANS))
    wishes = [wish for plan in takable for wish in wishes_of(plan, terms)]
    return list({(wish.token_in, wish.token_out): wish for wish in reversed(wishes)}.values())


def is_carried(made: Dealt) -> bool:
    """Whether the executor takes the calldata of all routers in each transaction."""
    return all(
        sum(len(step.calldata) for route in deal.routes for step in route.steps) <= MOST_CALLDATA_BYTES
        for deal in made.deals
    )


def asked_couples(made: Dealt) -> list[tuple[Address, Address]]:
    """What it sells, and for what, by calldata that another venue gave."""
    routes = [route for deal in made.deals for route in deal.routes]
    return [(each.token_in, each.token_out) for each in routes if any(s.kind is StepKind.ROUTER for s in each.steps)]
