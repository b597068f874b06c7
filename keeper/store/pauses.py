"""Pauses in the store. Any program that may write the file can pause or lift: the keeper asks before whatever it sends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, or_, select, text
from sqlalchemy.pool import NullPool

from keeper.core.errors import Paused
from keeper.core.pauses import Pause, Scope, StandingPause, words
from keeper.core.units import Address, to_hex
from keeper.store.encoding import Row, optional_address, optional_hex, utc_now, utc_text
from keeper.store.schema import BUSY_TIMEOUT_MS, check_version, existing, store_errors
from keeper.store.tables import pauses
from keeper.store.writer import Gate

PAUSE = text(
    "INSERT INTO pauses (chain_id, signer, reason, detail, since_at, since_block)"
    " SELECT :chain_id, :signer, :reason, :detail, :at, :block_number WHERE NOT EXISTS (SELECT 1 FROM pauses"
    " WHERE lifted_at IS NULL AND chain_id IS :chain_id AND signer IS :signer AND reason = :reason)"
)
"""One of a kind stands at a time: what goes on tripping is told once."""
LIFT = text(
    "UPDATE pauses SET lifted_at = :at, lifted_by = :by, lifted_ledger_id = (SELECT coalesce(max(id), 0) FROM ledger)"
    " WHERE lifted_at IS NULL AND (:chain_id IS NULL OR chain_id = :chain_id)"
)
LIFTED = text(
    "SELECT id FROM pauses WHERE lifted_at IS NOT NULL AND chain_id IS :chain_id AND signer IS :signer"
    " AND reason = :reason AND detail = :detail"
)
STANDING = select(pauses).where(pauses.c.lifted_at.is_(None)).order_by(pauses.c.id)


def pause_row(pause: Pause, now: datetime) -> Row:
    return {
        "chain_id": pause.scope.chain_id,
        "signer": optional_hex(pause.scope.signer),
        "reason": pause.reason,
        "detail": pause.detail,
        "block_number": pause.block_number,
        "at": utc_text(now),
    }


def lift_row(chain_id: int | None, by: str, now: datetime) -> Row:
    """`chain_id` None lifts everything; else the pauses of that chain and its signers, not those of everybody."""
    return {"chain_id": chain_id, "by": by, "at": utc_text(now)}


def standing_pause(row: Any) -> StandingPause:
    scope = Scope(row.chain_id, optional_address(row.signer))
    return StandingPause(row.id, Pause(scope, row.reason, row.detail, row.since_block), row.since_at)


def sending_gate(chain_id: int, signer: Address) -> Gate:
    """Closed while a pause stands that covers the signer on the chain."""
    covers = STANDING.where(
        or_(pauses.c.chain_id.is_(None), pauses.c.chain_id == chain_id),
        or_(pauses.c.signer.is_(None), pauses.c.signer == to_hex(signer)),
    )
    return Gate(covers.limit(1), lambda row: Paused(words(standing_pause(row).pause)))


class PauseSwitch:
    """Pausing and lifting from beside a keeper, or without one; durable when a call returns. Raises `StoreError`."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[PauseSwitch]:
        path = existing(path)
        engine = create_engine(
            URL.create("sqlite", database=str(path)), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        try:
            with store_errors(path), engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                connection.exec_driver_sql("PRAGMA synchronous = FULL")
                check_version(connection, path)
                yield cls(connection, path)
        finally:
            engine.dispose()

    def pause(self, pause: Pause) -> None:
        self._connection.execute(PAUSE, pause_row(pause, utc_now()))

    def lift(self, chain_id: int | None, by: str) -> int:
        """How many were lifted."""
        return self._connection.execute(LIFT, lift_row(chain_id, by, utc_now())).rowcount

    def standing(self) -> Sequence[StandingPause]:
        return [standing_pause(row) for row in self._connection.execute(STANDING)]
