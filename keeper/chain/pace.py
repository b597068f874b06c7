"""Our own rate limit, so that a node need not enforce its."""

from __future__ import annotations

import asyncio
from collections import deque

WINDOW_S = 1.05
"""A little over the second that the limit speaks of: requests do not travel equally fast."""


class Pace:
    """At most `calls_per_s` calls begin within any second; first come, first served. None is no limit.

    A batch counts as its members, as most providers count, but never as more than one full window.
    """

    def __init__(self, calls_per_s: int | None) -> None:
        if calls_per_s is not None and calls_per_s < 1:
            raise ValueError("calls_per_s must be at least 1, or None for no limit")
        self._limit = calls_per_s
        self._begun: deque[float] = deque()
        self._turn = asyncio.Lock()

    async def take(self, calls: int = 1) -> None:
        """Wait until so many calls may begin."""
        if self._limit is None:
            return
        async with self._turn:
            clock = asyncio.get_running_loop().time
            for _ in range(min(calls, self._limit)):
                if len(self._begun) == self._limit:
                    await asyncio.sleep(self._begun[0] + WINDOW_S - clock())
                    self._begun.popleft()
                self._begun.append(clock())
