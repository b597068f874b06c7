"""The latest block, over and over. Heads coalesce: whoever asks late gets only the newest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from keeper.chain.blocks import read_header
from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, RateLimited

LONGEST_BACKOFF_S = 30.0
POLLS_BEFORE_GOING_BACK = 3


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
    stall_after_s: float | None = None,
    on_stall: Callable[[Stall], None] | None = None,
    on_error: Callable[[ChainError], None] | None = None,
) -> AsyncIterator[BlockRef]:
    """The latest header whenever its hash changes, without end; half the block time is a good interval.

    The node is asked only while somebody waits for the next head, so nothing queues up. Another block at the same
    height is yielded at once. A lower one is yielded only after some polls in a row have said so: behind a balancer it
    is most often a node that lags, and a real reorganisation loses nothing by the wait. Errors are reported and waited
    out, twice as long each time. A stall is reported when no new head came for `stall_after_s`, and again after as long.
    """
    watch = _Watch(rpc, interval_s, stall_after_s, on_stall, on_error)
    while True:
        yield await watch.next_head()


class _Watch:
    def __init__(
        self,
        rpc: Rpc,
        interval_s: float,
        stall_after_s: float | None,
        on_stall: Callable[[Stall], None] | None,
        on_error: Callable[[ChainError], None] | None,
    ) -> None:
        self._rpc = rpc
        self._interval_s = interval_s
        self._stall_after_s = stall_after_s
        self._on_stall = on_stall
        self._on_error = on_error
        self._last: BlockRef | None = None
        self._error: ChainError | None = None
        self._failures = 0
        self._lower_polls = 0
        self._next_poll_s = 0.0
        self._changed_s = self._reported_s = time.monotonic()

    async def next_head(self) -> BlockRef:
        while True:
            await asyncio.sleep(self._next_poll_s - time.monotonic())
            self._next_poll_s = time.monotonic() + self._interval_s
            head = await self._poll()
            if head is not None and self._is_new(head):
                self._last, self._lower_polls = head, 0
                self._changed_s = self._reported_s = time.monotonic()
                return head
            self._report_stall()

    async def _poll(self) -> BlockRef | None:
        try:
            head = await read_header(self._rpc, "latest")
        except ChainError as error:
            self._error = error
            self._failures += 1
            self._next_poll_s = time.monotonic() + self._backoff_s(error)
            if self._on_error is not None:
                self._on_error(error)
            return None
        self._error, self._failures = None, 0
        return head

    def _backoff_s(self, error: ChainError) -> float:
        asked_s = error.retry_after_s if isinstance(error, RateLimited) else None
        doubled_s = self._interval_s * 2.0 ** min(self._failures - 1, 16)
        return max(asked_s or 0.0, min(doubled_s, max(LONGEST_BACKOFF_S, self._interval_s)))

    def _is_new(self, head: BlockRef) -> bool:
        if self._last is None:
            return True
        if head.hash == self._last.hash:
            self._lower_polls = 0
            return False
        if head.number < self._last.number:
            self._lower_polls += 1
            return self._lower_polls >= POLLS_BEFORE_GOING_BACK
        return True

    def _report_stall(self) -> None:
        now_s = time.monotonic()
        if self._stall_after_s is None or now_s - self._reported_s < self._stall_after_s:
            return
        self._reported_s = now_s
        if self._on_stall is not None:
            self._on_stall(Stall(self._last, now_s - self._changed_s, self._error))
