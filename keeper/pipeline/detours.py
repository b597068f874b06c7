"""Pools to go around: what an order reverted with is left out for its borrower, for a while, if there is another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keeper.core.executor import LoanSource
from keeper.core.order import Order
from keeper.core.selling.exchange import Exchange
from keeper.core.units import Address

AVOIDED_BLOCKS = 20
"""So long a pool is left out for a borrower whose order reverted with it."""


class Detours:
    """Of one market's borrowers."""

    def __init__(self) -> None:
        self._failed: dict[Address, tuple[tuple[tuple[Address, ...], ...], int]] = {}
        """By borrower: the pools of each order that reverted, and at which block the last did."""

    def __contains__(self, borrower: Address) -> bool:
        """Whether anything is left out for it."""
        return borrower in self._failed

    def around(self, borrower: Address, exchange: Exchange) -> Exchange:
        failed, _ = self._failed.get(borrower, ((), 0))
        if not failed:
            return exchange
        avoided = suspects(failed)
        return replace(exchange, pools=tuple(pool for pool in exchange.pools if pool.address not in avoided))

    def forgives(self, borrower: Address) -> bool:
        """Whether pools were left out for a borrower, for whom there is no other way: then they are tried once more. What
        reverted need not have been their fault, and nobody is locked out."""
        return self._failed.pop(borrower, None) is not None

    def failed(self, order: Order) -> None:
        """The pools that it was to be sold in, and one that was to lend."""
        assert order.offer.dealt is not None, "the executor's orders are dealt"
        block, loan = order.plan.block.number, order.offer.loan
        used = [step.venue for deal in order.offer.dealt.deals for route in deal.routes for step in route.steps]
        if loan is not None and loan.lender is not None and loan.source is LoanSource.POOL_V3:
            used.append(loan.lender)
        self._failed = {
            borrower: (failed, since)
            for borrower, (failed, since) in self._failed.items()
            if 0 <= block - since < AVOIDED_BLOCKS
        }
        before, _ = self._failed.get(order.borrower, ((), 0))
        self._failed[order.borrower] = (*before, tuple(dict.fromkeys(used))), block


def suspects(failed: Sequence[Sequence[Address]]) -> frozenset[Address]:
    """Pools to go around, by the pools of each order that reverted: those that failed alone, and of several that failed
    together the first, until one of them has failed alone."""
    alone = {pools[0] for pools in failed if len(pools) == 1}
    return frozenset(alone | {pools[0] for pools in failed if pools and alone.isdisjoint(pools)})
