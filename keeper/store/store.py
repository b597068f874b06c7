"""The store: one SQLite file with the journal, the standings, the saved books and the signers' intents."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import URL, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from keeper.core.checkpoint import Checkpoint
from keeper.core.errors import StoreError
from keeper.core.events import Event
from keeper.core.intent import OPEN_STATUSES, Intent, Mark
from keeper.core.standing import Standing
from keeper.core.units import Address, to_hex
from keeper.store import encoding
from keeper.store.checkpoints import SavedBooks
from keeper.store.lock import writer_lock
from keeper.store.schema import prepare, store_errors
from keeper.store.standing_log import StandingLog
from keeper.store.tables import events, intents
from keeper.store.writer import Writer

_RECORD = events.insert()
_INTEND = insert(intents)
_INTEND = _INTEND.on_conflict_do_update(
    index_elements=[intents.c.transaction_hash],
    set_={
        name: _INTEND.excluded[name]
        for name in ("updated_at", "attempt", "borrower", "call_index", "submitted_block", "status", "block_number")
    },
)
_MARK = (
    update(intents)
    .where(intents.c.transaction_hash == bindparam("of_hash"))
    .values(status=bindparam("to_status"), block_number=bindparam("in_block"), updated_at=bindparam("at"))
)


class Store:
    """Implements the ports `Journal`, `Checkpoints` and `Intents`. Made by `Store.open`; raises `StoreError`s."""

    def __init__(
        self,
        path: Path,
        connection: AsyncConnection,
        writer: Writer,
        standing: StandingLog,
        now: Callable[[], datetime],
    ) -> None:
        self.path = path
        self._connection = connection
        self._reading = asyncio.Lock()
        self._writer = writer
        self._standing = standing
        self._now = now
        self._books = SavedBooks(path, connection, self._reading, writer, now)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, now: Callable[[], datetime] = encoding.utc_now) -> AsyncIterator[Store]:
        """The store at `path`, created when it is not there, held alone, and fully written when the block is left.

        Raises `StoreError`, one line: held by another keeper, from a newer version, no store, damaged, unwritable.
        """
        async with AsyncExitStack() as stack:
            path = _ready_path(path)
            stack.enter_context(writer_lock(path))
            _create_private(path)
            engine = create_async_engine(
                URL.create("sqlite+aiosqlite", database=str(path)), isolation_level="AUTOCOMMIT", poolclass=NullPool
            )
            stack.push_async_callback(engine.dispose)
            with store_errors(path):
                connection = await stack.enter_async_context(engine.connect())
                await connection.run_sync(prepare, path)
                standing = await connection.run_sync(StandingLog.load, now)
                reading = await stack.enter_async_context(engine.connect())
            writer = await stack.enter_async_context(Writer.running(connection, path))
            try:
                yield cls(path, reading, writer, standing, now)
            finally:
                await writer.hand_over(*standing.refresh())

    @property
    def trouble(self) -> str | None:
        """Why writing fails at the moment, or None; for the health page."""
        return self._writer.trouble

    # -- Journal -----------------------------------------------------------------------------------------------------
    async def record(self, events: Sequence[Event]) -> None:
        """Handed over in order; on the disk within moments. Raises `Defect` for a field that cannot be written."""
        recorded_at = encoding.utc_text(self._now())
        rows = [encoding.event_row(event, recorded_at) for event in events]
        if rows:
            await self._writer.hand_over((_RECORD, rows))

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        """Also with nobody below 1: it shows that somebody looked."""
        await self._writer.hand_over(*self._standing.judged(chain, market, block_number, standing))

    # -- Checkpoints -------------------------------------------------------------------------------------------------
    async def save(self, checkpoint: Checkpoint) -> bool:
        """See `SavedBooks.save`."""
        return await self._books.save(checkpoint)

    async def load(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        """See `SavedBooks.load`."""
        return await self._books.load(chain, market)

    async def set_aside(self, checkpoint: Checkpoint, cause: str) -> None:
        """See `SavedBooks.set_aside`."""
        await self._books.set_aside(checkpoint, cause)

    # -- Intents -----------------------------------------------------------------------------------------------------
    async def open_intents(self, chain_id: int, signer: Address) -> Sequence[Intent]:
        query = (
            select(intents)
            .where(
                intents.c.chain_id == chain_id,
                intents.c.signer == to_hex(signer),
                intents.c.status.in_(sorted(OPEN_STATUSES)),
            )
            .order_by(intents.c.nonce, intents.c.id)
        )
        async with self._reading:
            with store_errors(self.path):
                found = (await self._connection.execute(query)).all()
        return [encoding.intent_from_row(row._asdict()) for row in found]

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        """Durable when it returns. The same bytes again (one hash) are the same row, with the new attempt and status."""
        recorded_at = encoding.utc_text(self._now())
        await self._writer.write_through((_INTEND, [encoding.intent_row(intent, recorded_at) for intent in intents]))

    async def mark_intents(self, marks: Sequence[Mark]) -> None:
        """Durable when it returns. Raises `Defect` when one of the transactions was never recorded."""
        at = encoding.utc_text(self._now())
        rows = [
            {
                "of_hash": to_hex(mark.transaction_hash),
                "to_status": mark.status.value,
                "in_block": mark.block_number,
                "at": at,
            }
            for mark in marks
        ]
        missing = f"no intent was recorded for transaction {', '.join(str(row['of_hash']) for row in rows)}"
        if rows:
            await self._writer.write_through((_MARK, rows), must_match=missing)


def _ready_path(path: Path) -> Path:
    """The real path, so that two names of one file share a lock; its folder is made when it is not there."""
    path = path.expanduser().resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"store {path}: cannot create its folder ({error.strerror}): name another file") from None
    if path.is_dir():
        raise StoreError(f"store {path}: it is a folder: name a file in it")
    return path


def _create_private(path: Path) -> None:
    """Signed transactions pass through the store before they are public: only its owner may read it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"store {path}: cannot open it ({error.strerror}): make it readable and writable") from None
