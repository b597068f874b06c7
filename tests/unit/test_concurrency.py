"""A group that failed leaves its owner as it was: timeouts still end in time, and a real request to cancel still counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from keeper.concurrency import Group, check_wanted


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("a child")


async def owner_of_a_failed_group() -> None:
    with pytest.raises(ExceptionGroup):  # noqa: PT012
        async with Group() as group:
            group.create_task(fails())
            group.create_task(asyncio.sleep(10))


async def test_a_failed_child_leaves_no_request_to_cancel() -> None:
    await owner_of_a_failed_group()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(10)


async def test_also_when_the_body_still_runs() -> None:
    with pytest.raises(ExceptionGroup):  # noqa: PT012
        async with Group() as group:
            group.create_task(fails())
            await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_a_real_request_ends_the_owner() -> None:
    async def owner() -> None:
        async with Group() as group:
            group.create_task(asyncio.sleep(10))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(owner())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def fails_when_asked_to_stop() -> None:
    try:
        await asyncio.sleep(10)
    finally:
        raise ValueError("on its way out")


@pytest.mark.parametrize("body_waits", [True, False])
@pytest.mark.parametrize("child", [fails, fails_when_asked_to_stop])
async def test_a_real_request_comes_before_the_errors_of_children(
    body_waits: bool, child: Callable[[], Coroutine[None, None, None]]
) -> None:
    """Whoever handles the error would go on for ever."""
    handled: list[BaseException] = []

    async def owner() -> None:
        try:
            async with Group() as group:
                group.create_task(child())
                if body_waits:
                    await asyncio.sleep(10)
        except BaseExceptionGroup as errors:
            handled.append(errors)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(owner())
        await asyncio.sleep(0)
        group.create_task(cancel_later(task, 2))
    assert (task.cancelled(), handled) == (True, [])


async def cancel_later(task: asyncio.Task[None], turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()


async def test_a_request_that_was_swallowed_is_kept() -> None:
    """As `asyncio.wait_for` does when what it waits for is done at that moment."""

    async def owner() -> None:
        check_wanted()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            pass
        check_wanted()
        raise AssertionError("it went on")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(owner())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
