"""The same question put to a second endpoint when the first takes unusually long; the first good answer wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from keeper.concurrency import Group

Answer = TypeVar("Answer")
Asking = Callable[[], Coroutine[Any, Any, Answer]]

BURST = 3.0
SOONEST_S = 0.01
"""Where answers come faster than this, their spread is the machine's own."""


class HedgeBudget:
    """How many reads may be asked twice: a share of all, so that a provider that turns slow is not sent twice the load."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left = BURST if share > 0 else 0.0

    def earn(self) -> None:
        """One more read was asked."""
        self._left = min(BURST, self._left + self._share)

    def spend(self) -> bool:
        """Take one hedge; False when there is none to take."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


async def first_good(
    ask: Asking[Answer], after_s: float, ask_second: Callable[[], Asking[Answer] | None], good: Callable[[Answer], bool]
) -> Answer:
    """The answer of `ask`, or of what `ask_second` offers when the first has said nothing for `after_s`: the first that is
    good, else the first's own. The loser is cancelled and waited for. Those who are asked return their troubles."""
    try:
        async with Group() as group:
            first = group.create_task(ask())
            await asyncio.wait({first}, timeout=after_s)
            second = None if first.done() else ask_second()
            if second is None:
                return await first
            other = group.create_task(second())
            winner = await _winner(first, other, good)
            for each in (first, other):
                each.cancel()
            return winner
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _winner(first: asyncio.Task[Answer], other: asyncio.Task[Answer], good: Callable[[Answer], bool]) -> Answer:
    await asyncio.wait({first, other}, return_when=asyncio.FIRST_COMPLETED)
    if first.done() and good(first.result()):
        return first.result()
    if other.done() and good(other.result()):
        return other.result()
    await asyncio.wait({first, other})
    return other.result() if good(other.result()) and not good(first.result()) else first.result()
