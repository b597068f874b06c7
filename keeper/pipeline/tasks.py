"""Structured concurrency in two lines: all of it or the first error, nothing left running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

First = TypeVar("First")
Second = TypeVar("Second")


async def together(first: Coroutine[Any, Any, First], second: Coroutine[Any, Any, Second]) -> tuple[First, Second]:
    """Run two reads at once. The first error cancels the other and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            one = group.create_task(first)
            two = group.create_task(second)
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None
    return one.result(), two.result()


def leading_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside nested groups."""
    first = errors.exceptions[0]
    return leading_error(first) if isinstance(first, BaseExceptionGroup) else first
