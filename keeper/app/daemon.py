"""The daemon: every chain for ever, each by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from keeper.app.build import built_chain, refusals
from keeper.app.ground import NoneTrusted
from keeper.app.modes import Acting
from keeper.app.node_trouble import NodeTrouble
from keeper.app.parts import BoardWatcher
from keeper.app.terms import advance_within_s
from keeper.concurrency import Group, check_wanted
from keeper.core import event_build
from keeper.core.errors import ConfigError, KeeperError, StoreBusy, StoreError
from keeper.core.events import Severity
from keeper.core.units import Address
from keeper.pipeline.backrun import UpdateWatch, watching
from keeper.pipeline.progress import Progress
from keeper.pipeline.supervise import follow_chain
from keeper.settings import Settings
from keeper.store import Store
from keeper.telemetry.health import ChainHealth, HealthBoard, MarketState, serve_health
from keeper.telemetry.recorder import Recorder
from keeper.telemetry.redact import Redactor

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


async def run_for_ever(
    settings: Settings, acting: Acting, store: Store, journal: Recorder, redactor: Redactor, progress: Progress
) -> None:
    """Every configured chain, and the health page. Ends by being cancelled, or with what `ChainRun` does not survive."""
    board = HealthBoard(redactor, max_age_s=advance_within_s(0), store_trouble=lambda: store.trouble)
    runs = [ChainRun(name, settings, acting, store, journal, board.chain(name), progress) for name in settings.chains]
    async with AsyncExitStack() as stack:
        if settings.health_port:
            await stack.enter_async_context(serve_health(board, port=settings.health_port))
        async with Group() as group:
            for run in runs:
                group.create_task(run.for_ever(), name=run.name)


class ChainRun:
    """One chain, started again after trouble, later each time.

    Only two kinds of error end it, and with it the process: a `ConfigError`, which a person must mend, and a `StoreError`,
    since nothing may happen that cannot be written down. (A disk that is merely full or busy is waited for by the store.)
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        acting: Acting,
        store: Store,
        journal: Recorder,
        health: ChainHealth,
        progress: Progress,
    ) -> None:
        self.name = name
        self._settings = settings
        self._acting = acting
        self._store = store
        self._journal = journal
        self._health = health
        self._progress = progress
        self._pause_s = FIRST_PAUSE_S
        self._last_trouble = ""

    async def for_ever(self) -> None:
        while True:
            try:
                await self._once_started()
            except StoreBusy as error:
                await self._note(error)
            except (ConfigError, StoreError):
                raise
            except Exception as error:  # noqa: BLE001  # the supervisor: whatever broke is recorded, and the chain starts anew
                await self._note(error)
            check_wanted()
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    async def _once_started(self) -> None:
        chain = self._settings.chains[self.name]
        trouble = NodeTrouble(self.name, self._journal, self._health)
        start = built_chain(
            self.name, self._settings, chain, self._acting, self._store, self._store, self._journal, trouble
        )
        async with start as (ground, means, loop), trouble.told():
            self._pause_s, self._last_trouble = FIRST_PAUSE_S, ""
            self._health.max_age_s = advance_within_s(ground.block_s)
            self._show_refused(ground.refused)
            watches = [
                UpdateWatch(
                    self.name,
                    ground.client,
                    ground.client,
                    desk,
                    self._journal,
                    loop.calm,
                    ground.block_s,
                    time.time,
                    partial(loop.act_behind, raw_of=ground.client.raw) if means.stands_behind else None,
                )
                for desk in loop.desks
                if chain.ws_url or chain.ipc_path is not None  # else nobody tells of pending transactions
            ]
            watcher = BoardWatcher(self._health)
            following = follow_chain(loop, ground.client, self._journal, watcher, self._progress)
            await watching([*watches, *loop.asked], following)

    async def _note(self, error: Exception) -> None:
        """The same words again are not journaled again."""
        self._health.note_error(error)
        text = f"{type(error).__name__}: {error}"
        if text == self._last_trouble:
            return
        self._last_trouble = text
        if isinstance(error, NoneTrusted):
            self._show_refused(error.refused)
            await self._journal.record(refusals(self.name, error.refused))
            return
        severity = Severity.WARNING if isinstance(error, KeeperError) else Severity.ALERT
        await self._journal.record([event_build.trouble(self.name, error, severity=severity)])

    def _show_refused(self, refused: Mapping[Address, str]) -> None:
        for market, why in refused.items():
            self._health.note_market(market, MarketState.REFUSED, why)
