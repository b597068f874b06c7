"""Structured concurrency as every room uses it: asyncio's task group, with its loose end tied."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Group(asyncio.TaskGroup):
    """A task group that takes back its own cancellation.

    When a child fails, asyncio cancels the task that owns the group, and up to Python 3.12 may leave that counted as a
    request to cancel. Whoever handles the error and goes on is then half cancelled: with Python 3.11.2 no
    `asyncio.timeout` in that task turns into a `TimeoutError` any more.
    """

    async def __aenter__(self) -> Group:
        await super().__aenter__()
        self._owner = asyncio.current_task()
        self._requests = self._owner.cancelling() if self._owner is not None else 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup:
            if self._owner is not None and self._owner.cancelling() > self._requests:
                self._owner.uncancel()
            raise
