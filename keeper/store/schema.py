"""Is this file a store, and one that this keeper knows? Checked before anything is read or written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from keeper.core.errors import StoreBusy, StoreError
from keeper.store.encoding import utc_now, utc_text
from keeper.store.tables import (
    APPEND_ONLY,
    PAUSES_KEPT,
    SCHEMA_VERSION,
    ledger,
    ledger_movements,
    metadata,
    pauses,
    saved_books,
    schema,
)

OLDEST_TO_MIGRATE = 1
BUSY_TIMEOUT_MS = 5_000
"""How long a statement waits for somebody else's lock (a backup, a person's SQLite shell)."""


def existing(path: Path) -> Path:
    """The real path of a store that is there. Raises `StoreError`."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise StoreError(f"store {path}: there is none: start the keeper first, or name another file with --store")
    return path


def prepare(connection: Connection, path: Path) -> None:
    """Ready a writer's connection (which must be in autocommit): create the tables in an empty file, else check
    its version. Raises `StoreError`."""
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    empty = not inspect(connection).get_table_names()
    if not empty:
        check_version(connection, path, oldest=OLDEST_TO_MIGRATE)
    # Every commit is synced to disk: what is recorded survives a power cut, and grouping keeps that cheap.
    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    connection.exec_driver_sql("PRAGMA synchronous = FULL")
    if empty:
        # In one transaction: a crash in the middle leaves an empty file, which is a new store again.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        metadata.create_all(connection, checkfirst=False)
        for trigger in (*APPEND_ONLY, *PAUSES_KEPT):
            connection.exec_driver_sql(trigger)
        _note_version(connection)
        connection.exec_driver_sql("COMMIT")
        return
    version = _version(connection)
    if version != SCHEMA_VERSION:
        # In one transaction, too: a crash in the middle leaves the file as it was.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if version == 1:
            _migrate_saved_books(connection)
        if version in (1, 2):
            _migrate_to_ledger(connection)
        if version == 3:
            _migrate_to_premiums(connection)
        if version in (3, 4):
            _migrate_to_lost_races(connection)
        _migrate_to_shares(connection)
        _note_version(connection)
        connection.exec_driver_sql("COMMIT")


def _note_version(connection: Connection) -> None:
    connection.execute(insert(schema), {"version": SCHEMA_VERSION, "created_at": utc_text(utc_now())})


def _version(connection: Connection) -> int | None:
    version: int | None = connection.execute(select(func.max(schema.c.version))).scalar_one()
    return version


def _migrate_saved_books(connection: Connection) -> None:
    """Version 1 kept one saved book per market, and did not say of which chain: it is carried over, and its first reader
    refuses it in words."""
    saved_books.create(connection)
    connection.exec_driver_sql(
        "INSERT INTO saved_books (chain, market, stage, saved_at, chain_id, protocol, rules, format, block_number,"
        " block_hash, parent_hash, timestamp_s, base_fee_wei, gas_limit, facts, borrowers, rows, checksum)"
        " SELECT chain, market, 'book', saved_at, 0, '', '', 1, block_number, block_hash, parent_hash, timestamp_s,"
        " base_fee_wei, gas_limit, '{}', x'', rows, '' FROM checkpoints"
    )
    connection.exec_driver_sql("DROP TABLE checkpoints")


def _migrate_to_ledger(connection: Connection) -> None:
    """Version 2 knew neither pauses nor what transactions cost. What an open one of its time may cost stays unknown."""
    connection.exec_driver_sql("ALTER TABLE intents ADD COLUMN purpose TEXT NOT NULL DEFAULT 'liquidation'")
    for name in ("worst_gas_wei", "worst_notional_wad", "worst_loss_wad"):
        connection.exec_driver_sql(f"ALTER TABLE intents ADD COLUMN {name} TEXT")
    connection.exec_driver_sql("UPDATE intents SET purpose = 'allowance' WHERE attempt = 'allowance'")
    for table in (ledger, ledger_movements, pauses):
        table.create(connection)
    for trigger in PAUSES_KEPT:
        connection.exec_driver_sql(trigger)


def _migrate_to_premiums(connection: Connection) -> None:
    """Version 3 knew neither what loans nor what swaps cost: its orders had none."""
    for name in ("premium_base", "slippage_base"):
        connection.exec_driver_sql(f"ALTER TABLE ledger ADD COLUMN {name} TEXT")


def _migrate_to_lost_races(connection: Connection) -> None:
    """Version 4 counted every revert alike, and so are those of its time."""
    connection.exec_driver_sql("ALTER TABLE ledger ADD COLUMN lost_race INTEGER")
    connection.exec_driver_sql("UPDATE ledger SET lost_race = 0")


def _migrate_to_shares(connection: Connection) -> None:
    """Version 5 knew only transactions of one attempt each."""
    connection.exec_driver_sql("ALTER TABLE intents ADD COLUMN shares TEXT")
    connection.exec_driver_sql("CREATE INDEX intents_shared ON intents (id) WHERE shares IS NOT NULL")


def check_version(connection: Connection, path: Path, *, oldest: int = SCHEMA_VERSION) -> None:
    """Raises `StoreError` for a file of something else, or of a version that is newer than this keeper's or older than
    `oldest`."""
    tables = inspect(connection).get_table_names()
    if not tables:
        raise StoreError(f"store {path}: it is empty: the keeper that makes it has only just begun; try again")
    if schema.name not in tables:
        raise StoreError(f"store {path}: this SQLite file belongs to something else: name another file")
    version = _version(connection)
    if version is None:
        raise StoreError(f"store {path}: it does not say its version: restore it from a backup, or name another file")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"store {path}: written by a newer keeper (version {version}, this one knows {SCHEMA_VERSION}):"
            " upgrade the keeper, or name another file"
        )
    if version < oldest:
        fix = "start the keeper once to bring it up to date" if version >= OLDEST_TO_MIGRATE else "name another file"
        raise StoreError(f"store {path}: version {version} is too old (this keeper knows {SCHEMA_VERSION}): {fix}")


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn the database's errors into one clear line."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:
        raise StoreBusy(database_trouble(path, error)) from None
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(database_trouble(path, error)) from None


def database_trouble(path: Path, error: Exception) -> str:
    """What happened, where, and what to do about it; never the statement or its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    lowered = text.lower()
    if "not a database" in lowered:
        fix = "it is no SQLite file: name another file, or move this one away"
    elif "malformed" in lowered:
        fix = "the file is damaged: restore it from a backup, or move it away to start a new one"
    elif "full" in lowered:
        fix = "free some disk space"
    elif "locked" in lowered:
        fix = "another program holds it: close that program"
    elif "unable to open" in lowered or "readonly" in lowered:
        fix = "check that the file and its folder can be read and written"
    else:
        fix = "check the disk and the file"
    return f"store {path}: {text}: {fix}"
