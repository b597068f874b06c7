"""The one writer of the store: whatever waits is written in one transaction, so that a sync to disk is shared."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, Select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from keeper.core.errors import Defect, StoreBusy, StoreError
from keeper.store.encoding import Row
from keeper.store.schema import database_trouble

log = logging.getLogger(__name__)

MAX_WAITING_ROWS = 20_000
"""Beyond it whoever hands over waits: bounded memory, nothing dropped."""
MAX_GROUP_ROWS = 2_000
"""One transaction takes no more than this: binding more at once would hold up the event loop."""
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0

Step = tuple[Executable, Sequence[Row]]
"""A statement and the rows to run it over."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Looked at in the transaction of a write, just before it: where the query finds something, nothing of the write is written
    and its caller gets the error made of the first row found."""

    closed_by: Select[Any]
    error: Callable[[Any], Exception]


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Steps that go into one transaction together. `written` is for a caller who awaits the disk."""

    steps: tuple[Step, ...]
    written: asyncio.Future[None] | None = None
    must_match: str = ""
    """When not empty: the first step must touch a row for each of its own, or the caller gets a `Defect` with this text."""
    gate: Gate | None = None

    @property
    def row_count(self) -> int:
        return sum(len(rows) for _, rows in self.steps)


class Writer:
    """Owns the connection's transactions. Trouble with the disk is retried for ever and holds what was handed over;
    whoever awaits durability is told at once, since nothing may happen on the strength of it."""

    def __init__(self, connection: AsyncConnection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._waiting: list[Write] = []
        self._waiting_rows = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = asyncio.Event()
        self._ended: Exception | None = None
        self.trouble: str | None = None
        """Why the last transaction failed, while it is being retried."""

    @classmethod
    @asynccontextmanager
    async def running(cls, connection: AsyncConnection, path: Path) -> AsyncIterator[Writer]:
        """A writer that has written everything when the block is left. Raises `StoreError` when it could not."""
        writer = cls(connection, path)
        # Owned and awaited here. A task group would cancel it before it has written what waits, and wrap the
        # caller's own error in a group.
        task = asyncio.create_task(writer._run(), name="store writer")  # noqa: TID251
        try:
            yield writer
        finally:
            writer._closing.set()
            writer._wake.set()
            await task

    async def hand_over(self, *steps: Step) -> None:
        """Queue steps that belong together; returns when they wait in line, in order. Waits while the line is full."""
        await self._enqueue(Write(steps))

    async def write_through(self, *steps: Step, must_match: str = "", gate: Gate | None = None) -> None:
        """The same, and return when it is on the disk. Raises `StoreBusy` when it is not (then it is not retried), and what
        the gate says."""
        if self.trouble is not None:
            raise StoreBusy(self.trouble)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._enqueue(Write(steps, written, must_match, gate))
        await written

    async def _enqueue(self, write: Write) -> None:
        while self._ended is None and self._waiting_rows >= MAX_WAITING_ROWS:
            self._room.clear()
            await self._room.wait()
        if self._ended is not None:
            raise self._ended
        if self._closing.is_set():
            raise StoreError(f"store {self._path}: it is closed")
        self._waiting.append(write)
        self._waiting_rows += write.row_count
        self._wake.set()

    async def _run(self) -> None:
        try:
            while self._waiting or not self._closing.is_set():
                await self._wake.wait()
                self._wake.clear()
                await self._write_waiting()
        finally:
            if self._ended is None:
                self._ended = StoreError(f"store {self._path}: it is closed")
            self._release(self._waiting, self._ended)
            self._room.set()

    async def _write_waiting(self) -> None:
        delay_s = FIRST_RETRY_S
        while self._waiting:
            group = self._next_group()
            try:
                failed = await self._transaction(group)
            except OperationalError as error:
                await self._pause(error, delay_s)
                delay_s = min(2 * delay_s, LAST_RETRY_S)
            except (SQLAlchemyError, sqlite3.Error) as error:
                self._ended = self._fatal(error)
                raise self._ended from error
            else:
                self.trouble = None
                self._forget(group)
                self._release([write for write in group if write not in failed], None)
                for write, why in failed.items():
                    self._release([write], why)

    def _next_group(self) -> list[Write]:
        group: list[Write] = []
        rows = 0
        for write in self._waiting:
            if group and rows + write.row_count > MAX_GROUP_ROWS:
                break
            group.append(write)
            rows += write.row_count
        return group

    async def _transaction(self, group: Sequence[Write]) -> dict[Write, Exception]:
        """Everything or nothing, but for writes whose gate is closed. Returns those, and the writes that touched no row though
        they must, with what their callers are told."""
        failed: dict[Write, Exception] = {}
        await self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            for write, statement, rows in _merged(group):
                if write is None:
                    await self._connection.execute(statement, rows)
                elif write not in failed:
                    await self._checked(write, statement, rows, failed)
            await self._connection.exec_driver_sql("COMMIT")
        except BaseException:
            # Some failures have ended the transaction already.
            with contextlib.suppress(OperationalError):
                await self._connection.exec_driver_sql("ROLLBACK")
            raise
        return failed

    async def _checked(
        self, write: Write, statement: Executable, rows: Sequence[Row], failed: dict[Write, Exception]
    ) -> None:
        """One step of a write that asks for more than to be written."""
        first = statement is write.steps[0][0]
        if first and write.gate is not None:
            found = (await self._connection.execute(write.gate.closed_by)).first()
            if found is not None:
                failed[write] = write.gate.error(found)
                return
        result = await self._connection.execute(statement, rows)
        if first and write.must_match and result.rowcount < len(rows):
            failed[write] = Defect(write.must_match)

    async def _pause(self, error: OperationalError, delay_s: float) -> None:
        self.trouble = database_trouble(self._path, error)
        refused = [write for write in self._waiting if write.written is not None]
        self._forget(refused)
        self._release(refused, StoreBusy(self.trouble))
        if self._closing.is_set() and self._waiting:
            lost = self._waiting_rows
            self._ended = StoreError(f"{self.trouble} ({lost} journal rows could not be written)")
            raise self._ended
        log.error("%s; retrying in %.1f s", self.trouble, delay_s)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), delay_s)

    def _fatal(self, error: Exception) -> Exception:
        text = database_trouble(self._path, error)
        damaged = any(word in text for word in ("malformed", "not a database"))
        return StoreError(text) if damaged else Defect(text)

    def _forget(self, writes: Sequence[Write]) -> None:
        gone = set(writes)
        self._waiting = [write for write in self._waiting if write not in gone]
        self._waiting_rows = sum(write.row_count for write in self._waiting)
        self._room.set()

    @staticmethod
    def _release(writes: Sequence[Write], error: Exception | None) -> None:
        for write in writes:
            if write.written is None or write.written.done():
                continue
            if error is None:
                write.written.set_result(None)
            else:
                write.written.set_exception(error)


def _merged(group: Sequence[Write]) -> list[tuple[Write | None, Executable, list[Row]]]:
    """Neighbouring steps of one statement run as one, except those of a write that asks for more than to be written."""
    merged: list[tuple[Write | None, Executable, list[Row]]] = []
    for write in group:
        alone = write if write.must_match or write.gate is not None else None
        for statement, rows in write.steps:
            if merged and alone is None and merged[-1][0] is None and merged[-1][1] is statement:
                merged[-1][2].extend(rows)
            else:
                merged.append((alone, statement, list(rows)))
    return merged
