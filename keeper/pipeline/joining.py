"""Several borrowers in one transaction of the executor: which orders of a wave go together, and what each has of it.

Only where all of the collateral is sold: then a borrower who is left out on chain leaves the price of every swap as it is. An
exact output, or a router's own calldata, would not fit what is left.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

from keeper.core.executor import MOST_LIQUIDATIONS, MOST_SWAPS
from keeper.core.order import Offer, Order, Profit
from keeper.core.selling.deal import POOLS
from keeper.core.shares import Share, split
from keeper.core.swap import Selling
from keeper.core.units import Address

MOST_COLLATERALS = MOST_SWAPS // 2
"""Each of them can be sold on a way of two hops."""
MOST_GAS = 6_000_000
"""By the estimates of each alone: a gas limit with its margin stays far below what a key signs, or a chain takes, at once."""


@dataclass(slots=True)
class Group:
    """Orders that may go together, by their places in the wave."""

    places: list[int] = field(default_factory=list)
    calls: int = 0
    gas: int = 0
    collaterals: Set[Address] = frozenset()

    def takes(self, order: Order) -> bool:
        """Whether there is room for one more."""
        calls, collaterals = self.calls + len(order.plan.calls), self.collaterals | _collaterals(order)
        gas = self.gas + sum(order.offer.gas)
        if calls > MOST_LIQUIDATIONS or len(collaterals) > MOST_COLLATERALS or gas > MOST_GAS:
            return False
        self.calls, self.collaterals, self.gas = calls, collaterals, gas
        return True


def groups_of(orders: Sequence[Order], apart: Set[Address]) -> dict[int, list[int]]:
    """Those with company, by the place of the first. `apart`: borrowers who go alone."""
    open_groups: dict[tuple[Address, Address], Group] = {}
    found: list[Group] = []
    for place, order in enumerate(orders):
        asset = None if order.borrower in apart else joins_for(order)
        if asset is None:
            continue
        group = open_groups.get((asset, order.signer))
        if group is None or not group.takes(order):
            group = open_groups[asset, order.signer] = Group()
            found.append(group)
            if not group.takes(order):
                continue  # too much for one transaction by itself is for the carrier to refuse
        group.places.append(place)
    return {group.places[0]: group.places for group in found if len(group.places) > 1}


def joins_for(order: Order) -> Address | None:
    """The one asset that it repays, where it can have company."""
    dealt = order.offer.dealt
    if order.behind is not None or dealt is None or len(dealt.deals) != 1:
        return None
    [deal] = dealt.deals
    plain = all(
        route.selling is Selling.ALL and (route.venue == POOLS or route.token_in == deal.debt_asset)
        for route in deal.routes
    )
    return deal.debt_asset if plain else None


def _collaterals(order: Order) -> frozenset[Address]:
    return frozenset(call.pair.collateral_asset for call in order.plan.calls)


def shares_of(orders: Sequence[Order]) -> tuple[Share, ...]:
    return tuple(
        Share(order.attempt, order.borrower, sum(call.debt_to_cover_raw for call in order.plan.calls))
        for order in orders
    )


def told_apart(order: Order) -> Order:
    """With its members as they are sent: each in the one transaction, with its part of gas, premium and slippage."""
    if not order.members:
        return order
    by = [share.planned_raw for share in order.shares]
    profit = order.offer.profit
    gas = split(sum(order.offer.gas), by)
    costs = [split(each, by) for each in (profit.gas_base, profit.premium_base, profit.slippage_base)]
    members = []
    for place, member in enumerate(order.members):
        quotes = [call.at_latest for call in member.plan.calls]
        own = Profit(
            received_base=sum(quote.received_base for quote in quotes),
            repaid_base=sum(quote.repaid_base + 1 for quote in quotes),
            gas_base=costs[0][place],
            premium_base=costs[1][place],
            slippage_base=costs[2][place],
        )
        offer: Offer = replace(
            member.offer, gas=(gas[place],), fees=order.offer.fees, profit=own, loan=order.offer.loan
        )
        members.append(
            replace(
                member,
                offer=offer,
                calls=order.calls,
                gas_limits=order.gas_limits,
                stakes=order.stakes,
                shares=order.shares,
            )
        )
    return replace(order, members=tuple(members))
