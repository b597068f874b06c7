"""What goes wrong with a node between heads, told to health page, log, journal and alerts: at once when it begins, then
now and then while it lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keeper.chain.heads import Stall
from keeper.chain.notice import Notice, NoticeKind
from keeper.concurrency import Group
from keeper.core import event_build
from keeper.core.errors import ChainError
from keeper.core.events import Event, Severity
from keeper.ports import Journal
from keeper.telemetry.health import ChainHealth

AGAIN_AFTER_S = 300.0
"""The same kind of trouble is journaled no more often than this."""
MOST_WAITING = 100
FOR_PEOPLE = (NoticeKind.NODE_BEHIND, NoticeKind.NODE_DISBELIEVED, NoticeKind.CLOCK_SKEW)
"""Somebody should look after these; the others cost only speed."""


class NodeTrouble:
    """Implements `keeper.app.ground.Listener`. Heard in the middle of polling, so that writing must wait its turn."""

    def __init__(self, name: str, journal: Journal, health: ChainHealth) -> None:
        self._name = name
        self._journal = journal
        self._health = health
        self._told_at: dict[str, float] = {}
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)

    def on_error(self, error: ChainError) -> None:
        self._health.note_error(error)
        if self._is_due(type(error).__name__):
            self._tell(event_build.trouble(self._name, error))

    def on_stall(self, stall: Stall) -> None:
        number = stall.head.number if stall.head is not None else None
        why = f"; {stall.error}" if stall.error is not None else ""
        detail = f"no new block for {stall.quiet_s:.0f} s{why}"
        self._tell(event_build.alert(self._name, "stalled", detail, block_number=number))

    def on_notice(self, notice: Notice) -> None:
        severity = Severity.ALERT if notice.kind in FOR_PEOPLE else Severity.WARNING
        if severity is Severity.ALERT or self._is_due(notice.kind):
            self._tell(event_build.alert(self._name, notice.kind, notice.detail, severity=severity))

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """While inside, what is heard is written down. Errors of the body come out as they are."""
        try:
            async with Group() as group:
                writing = group.create_task(self._write(), name=f"{self._name} node trouble")
                try:
                    yield
                finally:
                    writing.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _write(self) -> None:
        while True:
            await self._journal.record([await self._waiting.get()])

    def _is_due(self, kind: str) -> bool:
        now_s = time.monotonic()
        if now_s - self._told_at.get(kind, -AGAIN_AFTER_S) < AGAIN_AFTER_S:
            return False
        self._told_at[kind] = now_s
        return True

    def _tell(self, event: Event) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(event)
