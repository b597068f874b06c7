"""SIGINT and SIGTERM as a wish to stop in good order."""

from __future__ import annotations

import asyncio
import os
import signal

REPEAT_S = 1.0
"""A second signal within this time is the same wish: a terminal, `timeout` and some supervisors signal a process twice."""


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
