"""SIGINT and SIGTERM as a wish to stop in good order; SIGUSR1 and SIGUSR2 as one to pause, and to go on."""

from __future__ import annotations

import asyncio
import os
import signal

from keeper.core.errors import StoreBusy
from keeper.core.pauses import BY_PERSON, EVERYBODY, Pause
from keeper.ports import Pauses

REPEAT_S = 1.0
"""A second signal within this time is the same wish: a terminal, `timeout` and some supervisors signal a process twice."""
TRY_AGAIN_S = 0.5


class StopSignals:
    """While inside, the first signal cancels the task. A later one, after `REPEAT_S`, ends the process at once."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._asked_at: float | None = None
        self._armed = True

    def disarm(self) -> None:
        """The work is over and what is left is putting away: a first signal has nothing left to cancel."""
        self._armed = False

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._heard, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _heard(self, number: signal.Signals) -> None:
        if self._asked_at is None:
            self._asked_at = self._loop.time()
            if self._armed:
                self._task.cancel()
        elif self._loop.time() - self._asked_at > REPEAT_S:
            self.__exit__()
            os.kill(os.getpid(), number)


class PauseSignals:
    """While inside, SIGUSR1 pauses everybody and SIGUSR2 lifts every pause, as `keeper pause` and `keeper resume` do."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[signal.Signals] = asyncio.Queue()

    def __enter__(self) -> PauseSignals:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            self._loop.add_signal_handler(number, self._heard.put_nowait, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            self._loop.remove_signal_handler(number)

    async def obey(self) -> None:
        """For ever. What was heard is durable before the next is looked at."""
        while True:
            number = await self._heard.get()
            while not await self._obeyed(number):  # noqa: ASYNC110 - a store has no event for this
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
