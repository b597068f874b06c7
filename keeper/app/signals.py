"""SIGINT and SIGTERM as a wish to stop in good order; SIGUSR1 and SIGUSR2 as one to pause, and to go on.

Until they are taken into hands here, `keeper run` has them wait (see `keeper.cli.run`), and afterwards they are ignored: none
ends it half-way.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from keeper.concurrency import Group
from keeper.core.errors import StoreBusy, StoreError
from keeper.core.pauses import BY_PERSON, EVERYBODY, Pause
from keeper.ports import Pauses

REPEAT_S = 1.0
"""A second signal within this time is the same wish: a terminal, `timeout` and some supervisors signal a process twice."""
TRY_AGAIN_S = 0.5

STOPS = frozenset({signal.SIGINT, signal.SIGTERM})
PAUSES = frozenset({signal.SIGUSR1, signal.SIGUSR2})


@contextmanager
def _taken(numbers: frozenset[signal.Signals], heard: Callable[[signal.Signals], object]) -> Iterator[None]:
    """While inside the loop hears these; those that waited first of all. Afterwards those that had to wait are ignored: the
    work is over."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, heard, number)
    waited = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            if number in waited:
                signal.signal(number, signal.SIG_IGN)


class StopSignals:
    """While inside, the first signal cancels the task. A later one, after `REPEAT_S`, ends the process at once."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._asked_at: float | None = None
        self._armed = True
        self._hearing = _taken(STOPS, self._heard)

    def disarm(self) -> None:
        """The work is over and what is left is putting away: a first signal has nothing left to cancel."""
        self._armed = False

    def __enter__(self) -> StopSignals:
        self._hearing.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._hearing.__exit__(None, None, None)

    def _heard(self, number: signal.Signals) -> None:
        if self._asked_at is None:
            self._asked_at = self._loop.time()
            if self._armed:
                self._task.cancel()
        elif self._loop.time() - self._asked_at > REPEAT_S:
            self._loop.remove_signal_handler(number)
            os.kill(os.getpid(), number)


class PauseSignals:
    """While inside, SIGUSR1 pauses everybody and SIGUSR2 lifts every pause, as `keeper pause` and `keeper resume` do. Of both
    that waited, nobody knows which came last: the pause stands."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._unmet: deque[signal.Signals] = deque()
        self._news = asyncio.Event()

    @asynccontextmanager
    async def obeyed(self) -> AsyncIterator[None]:
        """What was heard until the end is durable then. Errors come in a group."""
        if signal.sigpending() >= PAUSES:
            signal.sigwait({signal.SIGUSR2})
        with _taken(PAUSES, self._heard):
            try:
                async with Group() as group:
                    obeying = group.create_task(self._obey(), name="signals")
                    try:
                        yield
                    finally:
                        obeying.cancel()
            finally:
                with suppress(StoreError):  # what is wrong with the store ends the run by its own way
                    while self._unmet and await self._obeyed(self._unmet[0]):
                        self._unmet.popleft()

    def _heard(self, number: signal.Signals) -> None:
        self._unmet.append(number)
        self._news.set()

    async def _obey(self) -> None:
        """For ever. What was heard is durable before the next is looked at."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unmet:
                if await self._obeyed(self._unmet[0]):
                    self._unmet.popleft()
                else:
                    await asyncio.sleep(TRY_AGAIN_S)

    async def _obeyed(self, number: signal.Signals) -> bool:
        """False while the store takes nothing: then nothing is sent either."""
        try:
            if number == signal.SIGUSR1:
                await self._pauses.pause(Pause(EVERYBODY, BY_PERSON, "by SIGUSR1"))
            else:
                await self._pauses.lift(None, "SIGUSR2")
        except StoreBusy:
            return False
        return True
