"""A group that failed leaves its owner as it was: timeouts still end in time, and a real request to cancel still counts."""

from __future__ import annotations

import asyncio

import pytest

from keeper.concurrency import Group


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
