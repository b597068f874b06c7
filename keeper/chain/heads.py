"""The latest block, over and over. Heads coalesce: whoever asks late gets only the newest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from keeper.chain.announced import Announcements
from keeper.chain.passed import Passed
from keeper.chain.rpc import Rpc
from keeper.chain.watchdog import MOST_DISBELIEVED, Watchdog
from keeper.concurrency import check_wanted
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, RateLimited

LONGEST_BACKOFF_S = 30.0
POLLS_BEFORE_GOING_BACK = 3
QUIET_INTERVALS = 4
SHORTEST_INTERVAL_S = 0.1
"""However much is announced, the node is not asked more often than this."""
GRACE_INTERVALS = 3
"""So much later than by asking may a head be announced."""


@dataclass(frozen=True, slots=True)
class Stall:
    """No new head for `quiet_s` seconds. `error` is the latest trouble, None when the node answers but stands still."""

    head: BlockRef | None
    quiet_s: float
    error: ChainError | None


async def heads(
    rpc: Rpc,
    *,
    interval_s: float,
    quiet_after_s: float | None = None,
    stall_after_s: float | None = None,
    announced: Announcements | None = None,
    watchdog: Watchdog | None = None,
    passed: Passed | None = None,
    on_stall: Callable[[Stall], None] | None = None,
    on_error: Callable[[ChainError], None] | None = None,
) -> AsyncIterator[BlockRef]:
    """The latest header whenever its hash changes, without end.

    Without announcements the node is asked every `interval_s`; half the block time is a good one. A head that was
    `announced` is taken without asking when it is complete and links to the one before; after any other announcement
    (a gap, another branch, a lower block, half a header), while nothing was announced yet, and once no new head came for
    `quiet_after_s` (default four intervals), the node is asked as without them.

    It is asked only while somebody waits for the next head, so nothing queues up; headers of blocks that may have come since
    are `passed` along. Another block at the same
    height is yielded at once. A lower one is yielded only after some polls in a row have said so, and no endpoint has the
    old height: behind a balancer it is most often a node that lags, and a real reorganisation loses nothing by the wait.
    Errors are reported and waited out, twice as long each time. The `watchdog` looks around when it is quiet. A stall is
    reported when no new head came for `stall_after_s`, and again after as long.
    """
    quiet_s = QUIET_INTERVALS * interval_s if quiet_after_s is None else quiet_after_s
    watch = _Watch(rpc, interval_s, quiet_s, stall_after_s, announced, watchdog, passed or Passed(), on_stall, on_error)
    while True:
        yield await watch.next_head()


class _Watch:
    def __init__(
        self,
        rpc: Rpc,
        interval_s: float,
        quiet_after_s: float,
        stall_after_s: float | None,
        announced: Announcements | None,
        watchdog: Watchdog | None,
        passed: Passed,
        on_stall: Callable[[Stall], None] | None,
        on_error: Callable[[ChainError], None] | None,
    ) -> None:
        self._rpc = rpc
        self._interval_s = interval_s
        self._quiet_after_s = quiet_after_s
        self._stall_after_s = stall_after_s
        self._announced = announced
        self._watchdog = watchdog
        self._passed = passed
        self._on_stall = on_stall
        self._on_error = on_error
        self._last: BlockRef | None = None
        self._error: ChainError | None = None
        self._failures = 0
        self._lower_polls = 0
        self._disbelieved = 0
        """Heads in a row that could not be believed."""
        self._next_poll_s = 0.0
        self._soonest_poll_s = 0.0
        self._hint: BlockRef | None = None
        """The announcement that was last asked about."""
        self._looked_s = 0.0
        """When the head was last known for sure."""
        self._missed_s: float | None = None
        """When a head had to be asked for that should have been announced."""
        self._clock_in_doubt = False
        self._changed_s = self._reported_s = self._surveyed_s = time.monotonic()

    async def next_head(self) -> BlockRef:
        if self._clock_in_doubt and self._watchdog is not None and self._last is not None:
            self._clock_in_doubt = False
            await self._watchdog.check_clock(self._last)
        while True:
            check_wanted()
            head = self._taken()
            if head is None:
                await self._wait()
                head = self._taken()
            if head is None and time.monotonic() >= self._due_s():
                head = await self._asked()
            if head is not None:
                return self._accepted(head)
            self._report_stall()

    # -- what is announced -------------------------------------------------------------------------------------------
    def _taken(self) -> BlockRef | None:
        """The announced head, when it follows the last one beyond doubt, and came just now: nobody may have waited for it."""
        if self._announced is None or self._announced.doubted or self._last is None:
            return None
        if time.monotonic() - self._announced.latest_s > self._quiet_after_s:
            return None
        return self._announced.link(self._last)

    def _in_step(self) -> bool:
        """Whether the newest that was announced is the head that we have: then there is nothing to ask."""
        if self._announced is None or self._announced.doubted or self._last is None or self._lower_polls:
            return False
        return self._announced.latest is not None and self._announced.latest.hash == self._last.hash

    def _due_s(self) -> float:
        if self._in_step():
            return max(self._next_poll_s, self._changed_s + self._quiet_after_s)
        latest = self._announced.latest if self._announced is not None else None
        if latest is not None and latest != self._hint and not self._failures:
            return min(self._soonest_poll_s, self._next_poll_s)
        return self._next_poll_s

    async def _wait(self) -> None:
        pause_s = max(0.0, self._due_s() - time.monotonic())
        if self._announced is None:
            await asyncio.sleep(pause_s)
        else:
            await self._announced.changed(pause_s)

    def _replace_when_silent(self, missed: bool) -> None:
        """A subscription must announce in time what was found by asking."""
        if self._announced is None or self._last is None or self._announced.subscribed_s is None:
            self._missed_s = None
            return
        latest, now_s = self._announced.latest, time.monotonic()
        if latest is not None and latest.number >= self._last.number:
            self._missed_s = None
        elif self._missed_s is None:
            # A block from before the subscription is not announced any more.
            self._missed_s = now_s if missed and self._announced.subscribed_s < self._looked_s else None
        elif now_s - self._missed_s > GRACE_INTERVALS * self._interval_s:
            self._missed_s = None
            self._announced.replace(f"did not announce block {self._last.number}")

    # -- asking ------------------------------------------------------------------------------------------------------
    async def _asked(self) -> BlockRef | None:
        now_s = time.monotonic()
        self._next_poll_s, self._soonest_poll_s = now_s + self._interval_s, now_s + SHORTEST_INTERVAL_S
        self._hint = self._announced.latest if self._announced is not None else None
        head = await self._poll()
        if head is None:
            return None
        self._compare(head)
        if await self._is_new(head):
            return head
        self._looked_s = time.monotonic()
        self._replace_when_silent(missed=False)
        await self._look_around()
        return None

    async def _poll(self) -> BlockRef | None:
        try:
            silent_s = time.monotonic() - self._changed_s
            head = await self._passed.read_newest(self._rpc, self._last, silent_s)
            if not await self._believed(head):
                return None
        except ChainError as error:
            self._error = error
            self._failures += 1
            self._next_poll_s = time.monotonic() + self._backoff_s(error)
            if self._on_error is not None:
                self._on_error(error)
            return None
        self._error, self._failures = None, 0
        return head

    async def _believed(self, head: BlockRef) -> bool:
        if self._watchdog is None or head == self._last or await self._watchdog.believes(head, self._last):
            self._disbelieved = 0
            return True
        self._disbelieved += 1
        if self._disbelieved < MOST_DISBELIEVED:
            self._next_poll_s = 0.0  # another endpoint is asked this time
        return False

    def _backoff_s(self, error: ChainError) -> float:
        asked_s = error.retry_after_s if isinstance(error, RateLimited) else None
        doubled_s = self._interval_s * 2.0 ** min(self._failures - 1, 16)
        return max(asked_s or 0.0, min(doubled_s, max(LONGEST_BACKOFF_S, self._interval_s)))

    def _compare(self, head: BlockRef) -> None:
        """What was announced of a block must be what is read of it."""
        if self._announced is None:
            return
        self._announced.doubted = False
        latest = self._announced.latest
        if latest is not None and latest.hash == head.hash and latest != head:
            self._announced.replace(f"announced block {head.number} otherwise than others have it")

    async def _is_new(self, head: BlockRef) -> bool:
        if self._last is None:
            return True
        if head == self._last:
            self._lower_polls = 0
            return False
        if head.number >= self._last.number:
            return True
        self._lower_polls += 1
        if self._lower_polls < POLLS_BEFORE_GOING_BACK:
            return False
        best = await self._best()
        return best is None or best.number < self._last.number

    async def _best(self) -> BlockRef | None:
        """The best head of any endpoint; None while they cannot be asked."""
        try:
            return await self._watchdog.look_around() if self._watchdog is not None else None
        except ChainError as error:
            self._error = error
            return None

    async def _look_around(self) -> None:
        """While no new head comes: if another endpoint has one, the next poll is due at once."""
        now_s = time.monotonic()
        if self._watchdog is None or now_s - max(self._changed_s, self._surveyed_s) < self._quiet_after_s:
            return
        self._surveyed_s = now_s
        best = await self._best()
        if best is not None and self._last is not None and best.number > self._last.number:
            self._next_poll_s = 0.0

    # -- news --------------------------------------------------------------------------------------------------------
    def _accepted(self, head: BlockRef) -> BlockRef:
        now_s = time.monotonic()
        grew = self._last is not None and head.number > self._last.number
        self._passed.came(head, self._last)
        self._last, self._lower_polls = head, 0
        self._changed_s = self._reported_s = now_s
        was_announced = self._announced is not None and self._announced.latest == head
        if grew and self._watchdog is not None:
            ago_s = now_s - self._announced.latest_s if self._announced is not None and was_announced else 0.0
            self._clock_in_doubt |= self._watchdog.arrived(head, ago_s)
        self._replace_when_silent(missed=not was_announced)
        self._looked_s = now_s
        return head

    def _report_stall(self) -> None:
        now_s = time.monotonic()
        if self._stall_after_s is None or now_s - self._reported_s < self._stall_after_s:
            return
        self._reported_s = now_s
        if self._on_stall is not None:
            self._on_stall(Stall(self._last, now_s - self._changed_s, self._error))
