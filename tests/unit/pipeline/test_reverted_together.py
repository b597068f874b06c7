"""Whose transaction reverted that others had in common goes alone, until it is restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keeper.core.block import BlockRef
from keeper.core.events import Event
from keeper.core.order import Outcome, Submission
from keeper.core.shares import Share
from keeper.core.units import Address
from keeper.pipeline.attempts import Attempts
from tests.unit.store.facts import ATTEMPT, BORROWER, MARKET, OTHER_BORROWER, block, failed_outcome, outcome, submission

SHARES = (Share(ATTEMPT, BORROWER, 1), Share("100-b1b1b1b1", OTHER_BORROWER, 1))


class World:
    """Submitter, journal, ledger and stops in one: every attempt comes to what it was told."""

    rehearses = False

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        return self.outcomes.pop(0)

    def open_borrowers(self) -> frozenset[Address]:
        return frozenset()

    async def record(self, events: Sequence[Event]) -> None:
        assert events

    async def value(self, valuations: Sequence[object]) -> None:
        return None


async def gone_alone(*outcomes: Outcome) -> tuple[Attempts, list[bool]]:
    """After each outcome, whether its borrower goes alone."""
    world, key, found = World(*outcomes), (MARKET, BORROWER), []
    attempts = Attempts("chain", world, world, world, world)  # type: ignore[arg-type]
    for _ in outcomes:
        attempts.add(key, submission(), None)
        await attempts.settle(block(101), 12.0, [])
        found.append(key in attempts.reverted_together)
    return attempts, found


async def test_only_what_reverted_with_others_counts() -> None:
    reverted, served = failed_outcome(), outcome()
    with_others = replace(reverted, mined=tuple(replace(call, shares=SHARES) for call in reverted.mined))
    left_out = replace(served, mined=tuple(replace(call, shares=SHARES) for call in served.mined), restored=False)
    attempts, found = await gone_alone(served, left_out, reverted, with_others, served)
    assert found == [False, False, False, True, True]
    attempts.forget_all_but({MARKET: {BORROWER}})
    assert attempts.reverted_together == {(MARKET, BORROWER)}
    attempts.forget_all_but({MARKET: {OTHER_BORROWER}})
    assert attempts.reverted_together == set()
