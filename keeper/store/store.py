"""The store: one SQLite file with the journal, the standings, the saved books, the signers' intents, ledger and pauses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Executable, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from keeper.core.checkpoint import Checkpoint
from keeper.core.decision import Decision
from keeper.core.errors import Defect, StoreError
from keeper.core.events import Event
from keeper.core.intent import OPEN_STATUSES, Intent, Mark
from keeper.core.ledger import PASSES_A_PAUSE, Valuation
from keeper.core.pauses import Pause, StandingPause
from keeper.core.spending import Spending
from keeper.core.standing import Standing
from keeper.core.units import Address, Hash32, to_hex
from keeper.store import encoding
from keeper.store.checkpoints import SavedBooks
from keeper.store.earlier import DECIDED, LAST_MINED, OF_ATTEMPT, TOLD, UNTOLD, decision_from_row
from keeper.store.encoding import Row
from keeper.store.ledger import (
    LIFTS,
    ON_THEIR_WAY,
    RECENT,
    RIVALS,
    SETTLED_SINCE,
    lift_from_row,
    mark_steps,
    on_its_way_from_row,
    recent_from_row,
    settled_from_row,
    share_steps,
    value_step,
)
from keeper.store.lock import writer_lock
from keeper.store.pauses import LIFT, LIFTED, PAUSE, STANDING, lift_row, pause_row, sending_gate, standing_pause
from keeper.store.schema import prepare, store_errors
from keeper.store.standing_log import StandingLog
from keeper.store.tables import events, intents
from keeper.store.writer import Gate, Step, Writer

_RECORD = events.insert()
_INTEND = insert(intents)
_INTEND = _INTEND.on_conflict_do_update(
    index_elements=[intents.c.transaction_hash],
    set_={
        name: _INTEND.excluded[name]
        for name in (
            "updated_at",
            "attempt",
            "borrower",
            "call_index",
            "submitted_block",
            "status",
            "block_number",
            "purpose",
            "worst_gas_wei",
            "worst_notional_wad",
            "worst_loss_wad",
            "shares",
        )
    },
)
_MARK = (
    update(intents)
    .where(intents.c.transaction_hash == bindparam("of_hash"))
    .values(status=bindparam("to_status"), block_number=bindparam("in_block"), updated_at=bindparam("at"))
)


class Store:
    """Implements the ports `Journal`, `Checkpoints`, `Intents`, `Decisions`, `Ledger` and `Pauses`. Made by `Store.open`;
    raises `StoreError`s."""

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
        self.spending_changes = 0
        """Counts what may have changed the answer of `spending`."""

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
        [found] = await self._read((query, {}))
        return [encoding.intent_from_row(row._asdict()) for row in found]

    async def mined_intents(
        self, chain_id: int, signer: Address, last_blocks: int
    ) -> Sequence[tuple[Intent, int, Hash32]]:
        """See `keeper.ports.Intents`."""
        [found] = await self._read((RECENT, {"of_chain": chain_id, "of_signer": to_hex(signer), "blocks": last_blocks}))
        return [recent_from_row(row) for row in found]

    async def dropped_intents(self, chain_id: int, signer: Address, last_blocks: int) -> Sequence[Intent]:
        """See `keeper.ports.Intents`."""
        [found] = await self._read((RIVALS, {"of_chain": chain_id, "of_signer": to_hex(signer), "blocks": last_blocks}))
        return [encoding.intent_from_row(row._asdict()) for row in found]

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        """Durable when it returns. The same bytes again (one hash) are the same row, with the new attempt and status. Raises
        `Paused`, and nothing is written, while a pause stands for a signer that does more than cancel."""
        at = encoding.utc_text(self._now())
        gated = {(each.chain_id, each.signer) for each in intents if each.purpose not in PASSES_A_PAUSE}
        if len(gated) > 1:
            raise Defect("intents of several signers were recorded together")
        gate = sending_gate(*gated.pop()) if gated else None
        await self._spend((_INTEND, [encoding.intent_row(each, at) for each in intents]), gate=gate)

    async def mark_intents(self, marks: Sequence[Mark]) -> None:
        """Durable when it returns, with what the ledger learns. Raises `Defect` when one of the transactions was never
        recorded."""
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
            await self._spend((_MARK, rows), *mark_steps(marks, at), must_match=missing)

    # -- Decisions ---------------------------------------------------------------------------------------------------
    async def untold_intents(self, chain: str, chain_id: int, signer: Address) -> Sequence[Intent]:
        """See `keeper.ports.Decisions`. What was handed over before is looked at, too."""
        await self._writer.write_through()
        [found] = await self._read((UNTOLD, {"chain": chain, "chain_id": chain_id, "signer": to_hex(signer)}))
        parts = [part for row in found for part in encoding.intent_from_row(row._asdict()).parts]
        shared = [part.attempt for part in parts if part.shares]
        [told] = await self._read((TOLD, {"chain": chain, "attempts": shared}))
        known = {row.attempt for row in told}
        return [part for part in parts if part.attempt not in known]

    async def intents_of(self, chain_id: int, signer: Address, attempt: str) -> Sequence[Intent]:
        """See `keeper.ports.Decisions`."""
        of = {"chain_id": chain_id, "signer": to_hex(signer), "attempt": attempt}
        [found] = await self._read((OF_ATTEMPT, of))
        return [encoding.intent_from_row(row._asdict()) for row in found]

    async def decision(self, chain: str, attempt: str) -> Decision | None:
        """See `keeper.ports.Decisions`."""
        [found] = await self._read((DECIDED, {"chain": chain, "attempt": attempt}))
        return decision_from_row(found[0]) if found else None

    async def last_mined_nonce(self, chain_id: int, signer: Address) -> int | None:
        """See `keeper.ports.Decisions`."""
        [found] = await self._read((LAST_MINED, {"chain_id": chain_id, "signer": to_hex(signer)}))
        return found[0].nonce if found else None

    # -- Ledger ------------------------------------------------------------------------------------------------------
    async def value(self, valuations: Sequence[Valuation]) -> None:
        """See `keeper.ports.Ledger`."""
        if valuations:
            await self._spend(value_step(valuations), *share_steps(valuations))

    async def spending(self, since_s: int) -> Spending:
        """See `keeper.ports.Ledger`."""
        settled, on_their_way, lifts = await self._read(
            (SETTLED_SINCE, {"since_s": since_s}), (ON_THEIR_WAY, {}), (LIFTS, {})
        )
        return Spending(
            tuple(map(settled_from_row, settled)),
            tuple(map(on_its_way_from_row, on_their_way)),
            tuple(map(lift_from_row, lifts)),
        )

    # -- Pauses ------------------------------------------------------------------------------------------------------
    async def standing_pauses(self) -> Sequence[StandingPause]:
        """See `keeper.ports.Pauses`."""
        [found] = await self._read((STANDING, {}))
        return [standing_pause(row) for row in found]

    async def pause(self, pause: Pause) -> None:
        """See `keeper.ports.Pauses`."""
        await self._writer.write_through((PAUSE, [pause_row(pause, self._now())]))

    async def was_lifted(self, pause: Pause) -> bool:
        """See `keeper.ports.Pauses`."""
        [found] = await self._read((LIFTED, pause_row(pause, self._now())))
        return bool(found)

    async def lift(self, chain_id: int | None, by: str) -> None:
        """See `keeper.ports.Pauses`."""
        await self._spend((LIFT, [lift_row(chain_id, by, self._now())]))

    async def _spend(self, *steps: Step, must_match: str = "", gate: Gate | None = None) -> None:
        """Write through what changes the answer of `spending`. Counted after it: who reads meanwhile reads again."""
        try:
            await self._writer.write_through(*steps, must_match=must_match, gate=gate)
        finally:
            self.spending_changes += 1

    async def _read(self, *queries: tuple[Executable, Row]) -> list[Sequence[Any]]:
        async with self._reading:
            with store_errors(self.path):
                return [(await self._connection.execute(query, values)).all() for query, values in queries]


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
