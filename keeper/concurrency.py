"""Structured concurrency as every room uses it: asyncio's task group, with its loose ends tied, and a wish to stop kept."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

_LEAVES_ITS_OWN = sys.version_info < (3, 13)


class Group(asyncio.TaskGroup):
    """A task group that takes back its own cancellation, and keeps everybody else's.

    When a child fails, asyncio cancels the task that owns the group, and up to Python 3.12 may leave that counted as a
    request to cancel. Whoever handles the error and goes on is then half cancelled: with Python 3.11.2 no
    `asyncio.timeout` in that task turns into a `TimeoutError` any more.

    And when the owner was asked to stop while a child fails (on its way out, say), asyncio raises the child's error alone:
    whoever handles that goes on as if nobody had asked. Here the request comes first, the errors are its context.
    """

    async def __aenter__(self) -> Group:
        await super().__aenter__()
        self._owner = asyncio.current_task()
        self._requests = self._owner.cancelling() if self._owner is not None else 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asked_before = self._asked_its_owner()
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as errors:
            if self._owner is not None:
                if _LEAVES_ITS_OWN and self._asked_its_owner() and not asked_before:
                    self._owner.uncancel()
                if self._owner.cancelling() > self._requests:
                    raise asyncio.CancelledError from errors
            raise

    def _asked_its_owner(self) -> bool:
        """Whether the group itself has cancelled the task that owns it."""
        asked: bool = self._parent_cancel_requested  # type: ignore[attr-defined]
        return asked


def check_wanted() -> None:
    """Raises `CancelledError` when this task was asked to stop, though it goes on: what it awaited came to its own end at that
    very moment, or answered with an error. For loops that have no other end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
