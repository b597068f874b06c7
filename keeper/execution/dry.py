"""The submitter that sends nothing: it has no node and no key, and tells what the simulation showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.core.block import BlockRef
from keeper.core.decision import NOTHING_PROMISED, Promised, Unread
from keeper.core.order import Answer, Order, Outcome, SentTransaction, Simulation, Submission
from keeper.core.units import Address
from keeper.execution.promise import keeps_promise


class DrySubmitter:
    """`keeper.ports.Submitter` without a world."""

    rehearses = True

    async def prepare(self, head: BlockRef) -> None:
        """Nothing is signed."""

    def promised(self, signer: Address) -> Promised:
        return NOTHING_PROMISED

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        """Nothing is ever on its way."""
        return []

    def open_borrowers(self) -> frozenset[Address]:
        """None: nothing of a rehearsal outlives it."""
        return frozenset()

    def reserved(self) -> Mapping[Address, Address]:
        return {}

    def room(self, signer: Address, head: BlockRef) -> None:
        """Without bound: nothing waits for a block."""

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission]:
        return [_submission(order, simulation, head) for order, simulation in ready]

    async def cancel_open(self, head: BlockRef) -> int:
        """Nothing is ever on its way."""
        return 0

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        return simulated_outcome(submission)


def _submission(order: Order, simulation: Simulation, head: BlockRef) -> Submission:
    transactions = [
        SentTransaction(index, transaction_hash=None, nonce=None, answer=Answer.NOT_SENT)
        for index in range(len(order.calls))
    ]
    return Submission(order, "dry", head.number, tuple(transactions), simulation)


def simulated_outcome(submission: Submission) -> Outcome:
    """What the simulation showed, told as an outcome. `restored` means: it would have been.

    The model error compares the simulated health with the plan's own at the latest end of its window, which is the time
    that was simulated. The profit is the offer's.
    """
    order, simulation, plan = submission.order, submission.simulation, submission.order.plan
    liquidations = tuple(event for call in simulation.calls for event in call.liquidations)
    planned = [(call.at_latest.repaid_raw, call.at_latest.received_raw) for call in plan.calls]
    after_wad = simulation.health_factor_after_wad
    return Outcome(
        attempt=order.attempt,
        borrower=order.borrower,
        market=plan.market,
        mined=(),
        liquidations=liquidations,
        health_before_wad=plan.health_before.health_factor_wad,
        health_planned_wad=plan.health_after.health_factor_wad,
        target_wad=plan.target_wad,
        health_after_wad=after_wad,
        model_error_wad=after_wad - plan.calls[-1].at_latest.health_after.health_factor_wad,
        amounts_match=[(event.repaid_raw, event.received_raw) for event in liquidations] == planned,
        disturbed=False,
        restored=keeps_promise(plan, after_wad),
        profit=order.offer.profit,
        detail="simulated: nothing was sent",
    )
