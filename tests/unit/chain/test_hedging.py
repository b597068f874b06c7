"""Two askers and one answer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain.hedging import BURST, Asking, HedgeBudget, first_good
from keeper.core.errors import Defect


class Asker:
    """Answers `says` when it is let go."""

    def __init__(self, says: str) -> None:
        self.says = says
        self.let_go = asyncio.Event()
        self.begun = asyncio.Event()
        self.cancelled = False

    async def ask(self) -> str:
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.says


def _good(answer: str) -> bool:
    return answer.startswith("good")


async def _race(first: Asker, second: Asker | None, *order: Asker) -> str:
    """Whoever is in `order` is let go one after the other, once both were asked."""

    def ask_second() -> Asking[str] | None:
        return second.ask if second is not None else None

    async def let_go() -> None:
        if second is not None:
            await second.begun.wait()
        for asker in order:
            asker.let_go.set()
            for _ in range(10):
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(let_go())
        return await first_good(first.ask, 0.0, ask_second, _good)


async def test_a_quick_answer_needs_no_second() -> None:
    first, second = Asker("good 1"), Asker("good 2")
    first.let_go.set()
    assert await first_good(first.ask, 5.0, lambda: second.ask, _good) == "good 1"
    assert not second.begun.is_set()


async def test_trouble_of_the_first_before_its_time_is_no_reason_to_hedge() -> None:
    first, second = Asker("bad"), Asker("good 2")
    first.let_go.set()
    assert await first_good(first.ask, 5.0, lambda: second.ask, _good) == "bad"
    assert not second.begun.is_set()


async def test_without_a_second_the_first_is_waited_for() -> None:
    first = Asker("good 1")
    assert await _race(first, None, first) == "good 1"


async def test_the_second_wins_and_the_first_is_cancelled() -> None:
    first, second = Asker("good 1"), Asker("good 2")
    assert await _race(first, second, second) == "good 2"
    assert first.cancelled


async def test_the_first_wins_and_the_second_is_cancelled() -> None:
    first, second = Asker("good 1"), Asker("good 2")
    assert await _race(first, second, first) == "good 1"
    assert second.cancelled


@pytest.mark.parametrize("first_says", ["good 1", "bad 1"])
@pytest.mark.parametrize("second_says", ["good 2", "bad 2"])
@pytest.mark.parametrize("first_is_first", [True, False])
async def test_a_bad_answer_waits_for_the_other(first_says: str, second_says: str, first_is_first: bool) -> None:
    first, second = Asker(first_says), Asker(second_says)
    order = (first, second) if first_is_first else (second, first)
    good = [asker.says for asker in order if _good(asker.says)]
    assert await _race(first, second, *order) == (good[0] if good else "bad 1")


async def test_what_is_our_own_fault_is_raised_as_itself() -> None:
    async def wrong() -> str:
        raise Defect("an invariant broke")

    with pytest.raises(Defect, match="an invariant broke"):
        await first_good(wrong, 0.0, lambda: None, _good)


async def test_being_cancelled_cancels_both() -> None:
    first, second = Asker("good 1"), Asker("good 2")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await first_good(first.ask, 0.0, lambda: second.ask, _good)
    assert first.cancelled
    assert second.cancelled


@given(st.floats(0, 1), st.integers(0, 2_000))
def test_no_more_than_the_share_is_hedged(share: float, reads: int) -> None:
    budget = HedgeBudget(share)
    hedged = 0
    for _ in range(reads):
        budget.earn()
        hedged += budget.spend()
    assert hedged <= share * reads + BURST
    assert hedged == 0 or share > 0
