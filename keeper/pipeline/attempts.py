"""The attempts of one chain that are under way: from the moment they are sent until their outcome is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container, Mapping, Sequence

from keeper.core import attempt_build, event_build
from keeper.core.block import BlockRef
from keeper.core.decision import Unread
from keeper.core.errors import ChainError, Defect
from keeper.core.events import Event
from keeper.core.order import Outcome, Submission
from keeper.core.units import Address
from keeper.pipeline.round import UNFORESEEN, Key, Round
from keeper.pipeline.stops import Stops
from keeper.ports import Journal, Ledger, Submitter

MOST_SETTLE_TRIES = 20
MOST_UNREPORTED = 10_000
"""With a market that never gets to the head no round is returned: what the others did is journaled, not kept for ever."""
SETTLE_S = 1.0
"""So long at most a head waits for outcomes to be read, and no longer than a quarter of the time between blocks: the next head
has orders to make. What was read is remembered, so it goes on from there."""
LEAST_SETTLE_S = 0.1
LONGEST_SETTLE_S = 30.0
"""When not one outcome could be read in the time, the next head waits twice as long, up to this."""
MOST_PATIENCE = 1024


class Attempts:
    """Who has an open attempt, and what became of the others lately."""

    def __init__(self, name: str, submitter: Submitter, journal: Journal, stops: Stops, ledger: Ledger) -> None:
        self.open: dict[Key, Submission] = {}
        self._ledger = ledger
        self._name = name
        self._submitter = submitter
        self._journal = journal
        self._stops = stops
        self.cut_short = False
        """Whether the last settling ran out of time before it had asked after everybody."""
        self._patience = 1
        """How many times as long as usual outcomes are waited for: doubled while none can be read in the time."""
        self._submitted: deque[Submission] = deque(maxlen=MOST_UNREPORTED)
        self._settled: deque[Outcome] = deque(maxlen=MOST_UNREPORTED)
        self._decided_on: dict[Key, object] = {}
        """What the open attempts of a rehearsal were decided on."""
        self._done: dict[Key, tuple[object, str]] = {}
        """Below 1 upstream but restored in a rehearsal: what that was decided on, and the attempt."""
        self.reverted_together: set[Key] = set()
        """Whose last transaction reverted, which others had in common: it goes alone until it is restored."""
        self._unread: dict[Key, int] = {}
        """How often in a row the outcome of an open attempt could not be read."""

    def add(self, key: Key, submission: Submission, decided_on: object) -> None:
        """One more is under way. `decided_on`: what must change before its borrower counts again, in a rehearsal."""
        self.open[key] = submission
        self._submitted.append(submission)
        if self._submitter.rehearses:
            self._decided_on[key] = decided_on

    def restored_by(self, key: Key, decided_on: object) -> str | None:
        """The attempt that restored this borrower in a rehearsal, if nothing that it was decided on has changed since."""
        done = self._done.get(key)
        if done is None:
            return None
        if done[0] == decided_on:
            return done[1]
        del self._done[key]
        return None

    def forget_all_but(self, sick: Mapping[Address, Container[Address]]) -> None:
        """What is remembered of somebody who is no longer below 1 is not true of the next fall."""
        self._done = {
            (market, who): done
            for (market, who), done in self._done.items()
            if market not in sick or who in sick[market]
        }
        self.reverted_together = {
            (market, who) for market, who in self.reverted_together if market not in sick or who in sick[market]
        }

    def hand_over(self, result: Round) -> None:
        """What was submitted and settled since a round was last returned."""
        result.submitted, result.settled = list(self._submitted), list(self._settled)
        self._submitted.clear()
        self._settled.clear()

    # -- settle --------------------------------------------------------------------------------------------------

    async def settle(self, head: BlockRef, block_s: float, trouble: list[Exception]) -> set[Key]:
        """Ask after every open attempt, no longer than the time set aside; a settled one is recorded. Returns whose borrower
        is free for a new plan. `block_s`: how far apart blocks are.

        A rehearsal has nobody to hurry for: its outcomes are awaited. Only reading is cut short, never a record."""
        freed: set[Key] = set()
        self.cut_short = False
        loop = asyncio.get_running_loop()
        allowed_s = min(LONGEST_SETTLE_S, self._patience * min(SETTLE_S, max(LEAST_SETTLE_S, block_s / 4)))
        until_s = None if self._submitter.rehearses else loop.time() + allowed_s
        for key, submission in list(self.open.items()):
            try:
                async with asyncio.timeout_at(until_s):
                    outcome = await self._submitter.settle(submission, head)
            except TimeoutError:
                self.cut_short = True
                self.open[key] = self.open.pop(key)  # last the next time: if it hangs, the others need not wait for it
                self._patience = 1 if freed else min(MOST_PATIENCE, 2 * self._patience)
                return freed
            except (ChainError, *UNFORESEEN) as error:
                trouble.append(error)
                if await self._gave_up(key, submission, head, error):
                    freed.add(key)
            except Defect as defect:
                del self.open[key]  # it would fail again; its market gets no more orders
                await self._stops.stop(key[0], defect)
            else:
                self._unread.pop(key, None)
                if outcome is not None:
                    freed.add(key)
                    await self._tell(key, outcome)
        self._patience = 1
        return freed

    async def _tell(self, key: Key, outcome: Outcome) -> None:
        del self.open[key]
        self._settled.append(outcome)
        decided_on = self._decided_on.pop(key, None)
        if any(call.shares and not call.succeeded for call in outcome.mined):
            self.reverted_together.add(key)
        if outcome.restored and self._submitter.rehearses:
            self._done[key] = (decided_on, outcome.attempt)
        if outcome.mined or not self._submitter.rehearses:
            await self._ledger.value(outcome.valuations)
            await self._journal.record(attempt_build.outcome_events(self._name, outcome))

    async def tell_others(self, outcomes: Sequence[Outcome | Unread], head: BlockRef) -> None:
        """What came of attempts that nobody waits for here: an earlier run's, or given up and mined after all."""
        for outcome in outcomes:
            if isinstance(outcome, Unread):
                await self._journal.record([self._unread_alert(outcome.attempt, outcome.why, outcome.market, head)])
            else:
                await self._ledger.value(outcome.valuations)
                await self._journal.record(attempt_build.outcome_events(self._name, outcome))

    def _unread_alert(self, attempt: str, why: str, market: Address | None, head: BlockRef) -> Event:
        detail = f"what came of attempt {attempt} cannot be read: {why}"
        return event_build.alert(self._name, "outcome_unread", detail, block_number=head.number, market=market)

    async def _gave_up(self, key: Key, submission: Submission, head: BlockRef, error: Exception) -> bool:
        """What is mined may be unreadable for ever: a pruned block, a price that failed in it. Once nothing can be mined any
        more the borrower is free for a new plan, and a person is told."""
        self._unread[key] = self._unread.get(key, 0) + 1
        if self._unread[key] < MOST_SETTLE_TRIES or key[1] in self._submitter.open_borrowers():
            return False
        del self.open[key], self._unread[key]
        self._decided_on.pop(key, None)
        await self._journal.record([self._unread_alert(submission.order.attempt, str(error), key[0], head)])
        return True
