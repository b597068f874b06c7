"""Where only the debt is covered the contract sees no profit: the most that the swap may take leaves what the gas costs."""

from __future__ import annotations

import random
from dataclasses import replace

from keeper.core.selling.deal import Dealt
from keeper.core.selling.objective import Restore, choose
from keeper.core.swap import Selling
from tests.routes.states import draw


def test_at_its_worst_a_covered_debt_costs_no_more_than_it_brings() -> None:
    rng, tight = random.Random("cover"), 0
    while tight < 5:
        one = draw(rng)
        terms = replace(one.terms, selling=Selling.COVER)
        found = choose(Restore(), one.planner(), one.position, terms)
        if (
            not isinstance(found, Dealt)
            or len(found.plan.calls) > 1
            or found.deals[0].routes[0].selling is not Selling.COVER
        ):
            continue
        earned = found.deals[0].earnings
        dear = terms.costs.fee_per_gas_wei * (earned.net_raw + earned.gas_raw) * 19 // (20 * earned.gas_raw)
        dearer = replace(terms, costs=replace(terms.costs, fee_per_gas_wei=dear))
        again = choose(Restore(), one.planner(), one.position, dearer)
        if not isinstance(again, Dealt) or again.deals[0].routes[0].selling is not Selling.COVER:
            continue
        deal, tight = again.deals[0], tight + 1
        price_in, price_out = (terms.prices[asset] for asset in (deal.routes[0].token_in, deal.debt_asset))
        assert deal.earnings.least_net_raw >= -2 - price_in.raw_in_ceil(price_out, 2)
