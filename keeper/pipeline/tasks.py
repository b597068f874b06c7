"""Structured concurrency in a few lines: all of it or the first error, nothing left running; long work in slices; reads that
depend on reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar

from keeper.concurrency import Group
from keeper.core.block import Call, CallResult
from keeper.core.lending import Reads

First = TypeVar("First")
Second = TypeVar("Second")
Each = TypeVar("Each")
Value = TypeVar("Value")

SLICE_S = 0.005
"""So long our own arithmetic may hold the event loop before whoever waits gets a turn."""


async def together(first: Coroutine[Any, Any, First], second: Coroutine[Any, Any, Second]) -> tuple[First, Second]:
    """Run two reads at once. The first error cancels the other and is raised as itself."""
    try:
        async with Group() as group:
            one = group.create_task(first)
            two = group.create_task(second)
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None
    return one.result(), two.result()


async def all_together(each: Sequence[Coroutine[Any, Any, Each]]) -> list[Each]:
    """Run any number of one kind at once; the answers in order. The first error cancels the others and is raised as itself."""
    try:
        async with Group() as group:
            tasks = [group.create_task(one) for one in each]
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None
    return [task.result() for task in tasks]


def leading_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside nested groups."""
    first = errors.exceptions[0]
    return leading_error(first) if isinstance(first, BaseExceptionGroup) else first


async def drive(steps: Reads[Value], read: Callable[[Sequence[Call]], Awaitable[Sequence[CallResult]]]) -> Value:
    """The value of reads that depend on reads: each batch is read and handed back."""
    try:
        calls = next(steps)
        while True:
            calls = steps.send(await read(calls))
    except StopIteration as done:
        value: Value = done.value
        return value


class Slices:
    """Cuts long work up: between two steps of it, `breathe` gives the event loop a turn once a slice is over."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._since_s = time.perf_counter()

    async def breathe(self) -> None:
        if time.perf_counter() - self._since_s >= self._slice_s:
            await asyncio.sleep(0)
            self._since_s = time.perf_counter()

    async def run(self, steps: Generator[None, None, Value]) -> Value:
        """The value of work that yields between its steps."""
        while True:
            try:
                next(steps)
            except StopIteration as done:
                value: Value = done.value
                return value
            await self.breathe()
