"""One chain's start, again and again: what is told and tried anew, and what ends the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keeper.app.daemon import FIRST_PAUSE_S, LONGEST_PAUSE_S, ChainRun
from keeper.app.keys import KeyRing
from keeper.app.modes import Acting
from keeper.core.errors import ChainError, ConfigError, StoreError
from keeper.core.events import Kind, Severity
from keeper.pipeline.progress import unwatched
from keeper.settings import settings_from_arguments
from keeper.store import EventFilter, Store, StoreReader
from keeper.telemetry.alerts import Alerts
from keeper.telemetry.health import HealthBoard
from keeper.telemetry.recorder import Recorder
from keeper.telemetry.redact import Redactor


@asynccontextmanager
async def run_of(path: Path) -> AsyncIterator[ChainRun]:
    redactor = Redactor()
    settings = settings_from_arguments("http://127.0.0.1:9", "0x" + "a0" * 20)
    alerts, health = Alerts(), HealthBoard(redactor, max_age_s=60.0).chain("chain")
    async with Store.open(path) as store, alerts.running():
        journal = Recorder(store, alerts, redactor)
        yield ChainRun("chain", settings, Acting("dry", KeyRing(redactor)), store, journal, health, unwatched)


async def ended(path: Path, errors: list[Exception], monkeypatch: pytest.MonkeyPatch) -> tuple[Exception, list[float]]:
    """What ended a chain whose starts fail like that, and the pauses in between, none of which lasts."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async def start(self: ChainRun) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(ChainRun, "_once_started", start)
    async with run_of(path) as run:
        monkeypatch.setattr(asyncio, "sleep", pause)
        with pytest.raises((ConfigError, StoreError)) as caught:
            await run.for_ever()
        monkeypatch.setattr(asyncio, "sleep", sleep)
    return caught.value, pauses


@pytest.mark.parametrize("last", [ConfigError("a file to mend"), StoreError("the disk is gone")], ids=type)
async def test_whatever_breaks_is_told_and_tried_again_until_only_a_person_can_help(
    last: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, unwell = RuntimeError("odd"), ChainError("unwell")
    caught, pauses = await ended(tmp_path / "keeper.db", [odd, odd, unwell, last], monkeypatch)
    assert caught is last
    assert pauses == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    with StoreReader.open(tmp_path / "keeper.db") as reader:
        told = [(row.fields["error"], row.severity) for row in reader.events(EventFilter(kinds=(Kind.TROUBLE,)))]
    assert told == [("RuntimeError", Severity.ALERT), ("ChainError", Severity.WARNING)], "the same words once"


async def test_the_pauses_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pauses = await ended(tmp_path / "keeper.db", [RuntimeError("odd")] * 12 + [ConfigError("enough")], monkeypatch)
    assert pauses[-1] == LONGEST_PAUSE_S


async def test_an_error_on_the_way_out_of_a_stop_does_not_start_the_chain_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = 0

    async def start(self: ChainRun) -> None:
        nonlocal starts
        starts += 1
        try:
            await asyncio.sleep(60)
        finally:
            raise ChainError("the connection broke while it was closed")

    monkeypatch.setattr(ChainRun, "_once_started", start)
    async with run_of(tmp_path / "keeper.db") as run, asyncio.TaskGroup() as group:
        running = group.create_task(run.for_ever())
        await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait({running})
    assert (running.cancelled(), starts) == (True, 1)
