"""What the executor is held to, by transaction: together no less than was asked, and none to more than it is to bring."""

from __future__ import annotations

import random
from dataclasses import replace

from keeper.core.selling.costs import AssetPrice
from keeper.core.selling.deal import Dealt
from keeper.core.selling.objective import Restore, choose
from keeper.core.selling.order import least_nets_raw
from tests.routes.states import draw


def worth_base(price: AssetPrice, raw: int) -> int:
    """Floored, below 0 too."""
    return raw * price.price_base // price.unit_raw


def drawn(rng: random.Random) -> Dealt:
    while True:
        one = draw(rng)
        found = choose(Restore(), one.planner(), one.position, one.terms)
        if isinstance(found, Dealt):
            return found


def doubled(found: Dealt, other: Dealt) -> Dealt:
    """As one order of both: the transactions of two borrowers' plans, on prices of their own."""
    return replace(found, deals=(*found.deals, *other.deals))


def test_one_transaction_is_held_to_all_of_it() -> None:
    rng = random.Random("one")
    for _ in range(30):
        found = drawn(rng)
        if len(found.deals) > 1:
            continue
        price = found.deals[0].earnings.price
        for least_base in (0, found.net_base, found.net_base // 3, -5):
            assert least_nets_raw(found, least_base) == (-(-least_base * price.unit_raw // price.price_base),)


def test_several_together_are_held_to_it_and_none_to_more_than_it_brings() -> None:
    rng = random.Random("several")
    for _ in range(60):
        found = doubled(drawn(rng), drawn(rng))
        if rng.random() < 0.5:  # one that loses for the other
            first, *rest = found.deals
            lost_raw = first.earnings.net_raw + rng.randint(1, 10**4)
            losing = replace(
                first.earnings,
                proceeds_raw=first.earnings.proceeds_raw - lost_raw,
                least_proceeds_raw=first.earnings.least_proceeds_raw - lost_raw,
            )
            found = replace(found, deals=(replace(first, earnings=losing), *rest))
        if found.net_base < 0:
            continue
        for least_base in (0, found.net_base // 2, found.net_base, -found.net_base - 7):
            leasts_raw = least_nets_raw(found, least_base)
            earnings = [deal.earnings for deal in found.deals]
            held_base = sum(worth_base(each.price, raw) for each, raw in zip(earnings, leasts_raw, strict=True))
            assert held_base >= least_base
            assert all(raw <= each.net_raw for each, raw in zip(earnings, leasts_raw, strict=True))
