"""SIGUSR1 and SIGUSR2 to this very process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import keeper.app.signals
from keeper.app.signals import PauseSignals
from keeper.concurrency import Group
from keeper.core.errors import StoreBusy
from keeper.core.pauses import BY_PERSON, EVERYBODY, Pause
from keeper.store import Store


async def until(condition: Callable[[int], bool], store: Store) -> None:
    async with asyncio.timeout(10):
        while not condition(len(await store.standing_pauses())):  # noqa: ASYNC110 - a store has no event for this
            await asyncio.sleep(0.01)


async def test_one_pauses_and_the_other_lifts(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    async with Store.open(tmp_path / "keeper.db") as store:
        with PauseSignals(store) as signals:
            async with Group() as group:
                obeying = group.create_task(signals.obey())
                os.kill(os.getpid(), signal.SIGUSR1)
                await until(lambda count: count == 1, store)
                assert (await store.standing_pauses())[0].pause == Pause(EVERYBODY, BY_PERSON, "by SIGUSR1")
                os.kill(os.getpid(), signal.SIGUSR2)
                await until(lambda count: count == 0, store)
                obeying.cancel()
    assert signal.getsignal(signal.SIGUSR1) == before


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
        with PauseSignals(store) as signals:
            async with Group() as group:
                obeying = group.create_task(signals.obey())
                os.kill(os.getpid(), signal.SIGUSR1)
                await until(lambda count: count == 1, store)
                obeying.cancel()
    assert refusals == []
