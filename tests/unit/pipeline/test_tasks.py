"""Long work in slices: the event loop gets its turns, and the value comes out as if nothing had been cut."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

from keeper.pipeline.tasks import Slices, all_together


def counting(steps: int) -> Generator[None, None, int]:
    total = 0
    for number in range(steps):
        total += number
        yield
    return total


async def test_others_have_their_turn_between_the_steps() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        beside = group.create_task(other())
        assert await Slices(0.0).run(counting(50)) == 1_225
        assert turns >= 50
        beside.cancel()


async def test_a_slice_that_is_not_over_is_not_cut() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        turns += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        assert await Slices(3_600.0).run(counting(50)) == 1_225
        assert turns == 0


async def test_any_number_runs_at_once_and_answers_in_order() -> None:
    started: list[int] = []

    async def one(number: int) -> int:
        started.append(number)
        await asyncio.sleep(0)
        assert len(started) == 3, "all have begun before one is done"
        return number

    assert await all_together([one(number) for number in range(3)]) == [0, 1, 2]
