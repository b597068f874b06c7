"""SIGUSR1 and SIGUSR2 to this very process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keeper.app.signals
from keeper.app.signals import PAUSES, STOPS, PauseSignals, StopSignals
from keeper.core.errors import StoreBusy
from keeper.core.pauses import BY_PERSON, EVERYBODY, Pause
from keeper.store import Store

PAUSED = Pause(EVERYBODY, BY_PERSON, "by SIGUSR1")


@pytest.fixture
def held_back() -> Iterator[None]:
    """As `keeper run` begins."""
    handlers = {number: signal.getsignal(number) for number in STOPS | PAUSES}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS | PAUSES)
    yield
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN)
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def until(condition: Callable[[int], bool], store: Store) -> None:
    async with asyncio.timeout(10):
        while not condition(len(await store.standing_pauses())):  # noqa: ASYNC110 - a store has no event for this
            await asyncio.sleep(0.01)


def send(*numbers: signal.Signals) -> None:
    """To this very thread: of those that other libraries have begun none holds anything back."""
    for number in numbers:
        signal.raise_signal(number)


async def test_one_pauses_and_the_other_lifts(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    async with Store.open(tmp_path / "keeper.db") as store, PauseSignals(store).obeyed():
        send(signal.SIGUSR1)
        await until(lambda count: count == 1, store)
        assert (await store.standing_pauses())[0].pause == PAUSED
        send(signal.SIGUSR2)
        await until(lambda count: count == 0, store)
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.mark.parametrize(
    "waiting", [[signal.SIGUSR1], [signal.SIGUSR2, signal.SIGUSR1], [signal.SIGUSR1, signal.SIGUSR2]]
)
@pytest.mark.usefixtures("held_back")
async def test_what_came_before_the_store_was_open_is_obeyed(tmp_path: Path, waiting: list[signal.Signals]) -> None:
    send(*waiting)
    async with Store.open(tmp_path / "keeper.db") as store, PauseSignals(store).obeyed():
        await until(lambda count: count == 1, store)
        await asyncio.sleep(0)
        assert [each.pause for each in await store.standing_pauses()] == [PAUSED]


@pytest.mark.usefixtures("held_back")
async def test_what_comes_at_the_end_is_obeyed_and_what_comes_later_ends_nothing(tmp_path: Path) -> None:
    async with Store.open(tmp_path / "keeper.db") as store:
        async with PauseSignals(store).obeyed():
            send(signal.SIGUSR1)
        assert [each.pause for each in await store.standing_pauses()] == [PAUSED]
        send(signal.SIGUSR1, signal.SIGUSR2)
        assert len(await store.standing_pauses()) == 1


@pytest.mark.usefixtures("held_back")
async def test_a_wish_to_stop_that_came_early_stops_the_first_thing_that_waits() -> None:
    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        with StopSignals(task):
            await asyncio.sleep(60)

    send(signal.SIGTERM)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(run())
    assert running.cancelled()
    send(signal.SIGTERM)
    assert signal.sigpending() == set()


async def test_a_store_that_takes_nothing_now_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Store.open(tmp_path / "keeper.db") as store:
        refusals = [StoreBusy("the disk is full"), StoreBusy("the disk is full")]
        pause = store.pause

        async def full_at_first(asked: Pause) -> None:
            if refusals:
                raise refusals.pop()
            await pause(asked)

        monkeypatch.setattr(store, "pause", full_at_first)
        monkeypatch.setattr(keeper.app.signals, "TRY_AGAIN_S", 0.01)
        async with PauseSignals(store).obeyed():
            send(signal.SIGUSR1)
            await until(lambda count: count == 1, store)
    assert refusals == []
