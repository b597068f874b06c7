"""`keeper run`, put together from the rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace

from keeper.app.build import built_chain, refusals
from keeper.app.daemon import run_for_ever
from keeper.app.ground import NoneTrusted
from keeper.app.keys import KeyRing
from keeper.app.modes import Acting, effective_mode
from keeper.app.parts import BoardWatcher, ObservedJournal
from keeper.app.plan import RunPlan
from keeper.app.railing import purse_of
from keeper.app.signals import PauseSignals, StopSignals
from keeper.app.terms import advance_within_s
from keeper.core import event_build
from keeper.core.errors import ConfigError, Defect, KeeperError, MarketError, StoreError
from keeper.core.events import Event
from keeper.pipeline.progress import Progress
from keeper.pipeline.supervise import run_once
from keeper.pipeline.tasks import leading_error
from keeper.ports import Journal
from keeper.settings import Settings
from keeper.store import Store
from keeper.telemetry.alerts import Alerts
from keeper.telemetry.health import HealthBoard
from keeper.telemetry.log import configure_logging
from keeper.telemetry.recorder import Recorder
from keeper.telemetry.redact import Redactor

ONCE_HEAD_TIMEOUT_BLOCKS = 20
DONE, WORK_LEFT, INTERRUPTED = 0, 3, 130


def silent(first: int, reached_block: int, last: int) -> None:
    """Progress that nobody watches."""


async def run_keeper(
    settings: Settings, plan: RunPlan, progress: Progress = silent, observer: Journal | None = None
) -> int:
    """Run every configured chain until stopped, or once. Returns the exit code; raises `ConfigError`, `StoreError` and, when
    asked to run once, other `KeeperError`s. An `observer` hears all that is journaled; who brings one also handles the
    signals, and stops the run by cancelling it."""
    redactor = Redactor()
    acting = Acting(effective_mode(settings, plan), KeyRing(redactor))
    for chain in settings.chains.values():
        for url in [*chain.rpc_url, *chain.ws_url]:
            redactor.add_url(url.get_secret_value())
    configure_logging(redactor, level=settings.log_level, style=settings.log_format)
    alerts = Alerts([url.get_secret_value() for url in settings.alerts], redactor=redactor)
    running = asyncio.current_task()
    assert running is not None, "a coroutine runs in a task"
    with StopSignals(running) if observer is None else nullcontext() as signals:
        try:
            async with Store.open(settings.store) as store, alerts.running(), acting.keys:
                acting = replace(acting, purse=purse_of(settings, store))
                journal = Recorder(store if observer is None else ObservedJournal(store, observer), alerts, redactor)
                try:
                    return await _work(settings, plan, acting, store, journal, redactor, progress)
                finally:
                    if signals is not None:
                        signals.disarm()
        except asyncio.CancelledError:
            if running.uncancel() > 0:
                raise
            return INTERRUPTED if plan.once else DONE


async def _work(
    settings: Settings,
    plan: RunPlan,
    acting: Acting,
    store: Store,
    journal: Recorder,
    redactor: Redactor,
    progress: Progress,
) -> int:
    """Whatever ends it before its time is journaled."""
    try:
        with _unwrapped():
            async with PauseSignals(store).obeyed():
                if plan.once:
                    return await _once_all(settings, acting, store, journal, redactor, progress)
                await run_for_ever(settings, acting, store, journal, redactor, progress)
    except asyncio.CancelledError:
        await journal.record(_stopped(settings, "asked to stop"))
        raise
    except (KeeperError, Defect) as error:
        with suppress(StoreError, Defect):
            await journal.record_unshown(_stopped(settings, f"{type(error).__name__}: {error}"))
        raise
    return DONE


@contextmanager
def _unwrapped() -> Iterator[None]:
    try:
        yield
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None


def _stopped(settings: Settings, why: str) -> list[Event]:
    return [event_build.stopped(name, why) for name in settings.chains]


async def _once_all(
    settings: Settings, acting: Acting, store: Store, journal: Recorder, redactor: Redactor, progress: Progress
) -> int:
    """Every chain, one after the other. One that is in trouble does not keep the others from their turn; the first trouble is
    raised at the end."""
    board = HealthBoard(redactor, max_age_s=advance_within_s(0))
    left = False
    troubles: list[KeeperError | Defect] = []
    for name in settings.chains:
        try:
            left |= await _once(name, settings, acting, store, journal, BoardWatcher(board.chain(name)), progress)
        except (ConfigError, StoreError):
            raise
        except (KeeperError, Defect) as error:
            events = (
                refusals(name, error.refused) if isinstance(error, NoneTrusted) else [event_build.trouble(name, error)]
            )
            # The first is what the command ends with, and tells by itself.
            await (journal.record(events) if troubles else journal.record_unshown(events))
            troubles.append(error)
    if troubles:
        raise troubles[0]
    return WORK_LEFT if left else DONE


async def _once(
    name: str,
    settings: Settings,
    acting: Acting,
    store: Store,
    journal: Recorder,
    watcher: BoardWatcher,
    progress: Progress,
) -> bool:
    """One chain: judge and act until nothing is open. True when work is left."""
    chain = settings.chains[name]
    async with built_chain(name, settings, chain, acting, store, store, journal) as (ground, means, loop):
        timeout_s = max(60.0, ONCE_HEAD_TIMEOUT_BLOCKS * ground.block_s)
        result = await run_once(loop, ground.client, watcher, progress, timeout_s, means.submitter.rehearses)
        await journal.record([event_build.stopped(name, "once: work left" if result.work_left else "once: done")])
        for why in ground.refused.values():
            raise MarketError(why)
        return result.work_left
