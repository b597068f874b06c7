"""Reading a store from beside its writer: never writes, needs no lock."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Select, bindparam, create_engine, func, literal, or_, select
from sqlalchemy.pool import NullPool

from keeper.core.checkpoint import Checkpoint
from keeper.core.events import Kind
from keeper.core.intent import OPEN_STATUSES, Intent
from keeper.core.ledger import Movement
from keeper.core.pauses import StandingPause
from keeper.core.report import Booked
from keeper.core.units import Address, to_hex
from keeper.store.checkpoints import sound_books
from keeper.store.earlier import about
from keeper.store.encoding import intent_from_row, shares_from_text
from keeper.store.ledger import ENTRIES, MOVEMENTS, ON_THEIR_WAY, entry_from_row, movement_from_row, value_from_row
from keeper.store.pauses import STANDING, standing_pause
from keeper.store.schema import BUSY_TIMEOUT_MS, check_version, existing, store_errors
from keeper.store.tables import events, intents, saved_books, standing, watches

PAGE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One recorded event. Addresses and hashes are lower-case hex; amounts in `fields` are decimal text."""

    seq: int
    at: str
    chain: str
    kind: str
    block_number: int | None
    market: str | None
    borrower: str | None
    attempt: str | None
    severity: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StandingRow:
    """Why a borrower below 1 stood where it stood, from one judged head to another."""

    chain: str
    market: str
    borrower: str
    reason: str
    verdict: str | None
    detail: str
    attempt: str | None
    first_block: int
    last_block: int
    """While it stands: the last head that was judged."""
    first_health_wad: int | None
    last_health_wad: int | None
    """While it stands: at most half a minute old with up to 200 below 1, and so much older the more there are. None when a
    price was missing."""
    ended: str | None
    """None while it stands; else `changed`, `not_below_one` or `gap`."""
    ended_block: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """One unbroken stretch of judged heads of a market."""

    chain: str
    market: str
    first_block: int
    last_block: int
    first_at: str
    last_at: str
    heads: int
    below_one: int
    """Borrowers below 1 at the last head."""


@dataclass(frozen=True, slots=True)
class RecordedTransaction:
    """One transaction of ours, with when it was first written down and in which block it was found."""

    intent: Intent
    recorded_at: str
    block_number: int | None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What to read of the journal; empty reads everything."""

    since_block: int | None = None
    """Events of this block and later ones, and those without a block that were recorded after the first of them."""
    borrower: Address | None = None
    attempt: str | None = None
    kinds: tuple[Kind, ...] = ()
    after_seq: int = 0
    last: int | None = None
    """No more than this many, the latest ones."""


class StoreReader:
    """Made by `StoreReader.open`; raises `StoreError`s."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[StoreReader]:
        """Raises `StoreError`, one line: not there, no store, from another version, damaged."""
        path = existing(path)

        def connect() -> sqlite3.Connection:
            uri = f"file:{quote(str(path))}?mode=ro"
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        try:
            with store_errors(path):
                connection = engine.connect()
            with connection:
                with store_errors(path):
                    check_version(connection, path)
                yield cls(connection, path)
        finally:
            engine.dispose()

    @property
    def path(self) -> Path:
        return self._path

    def events(self, wanted: EventFilter = EventFilter()) -> Iterator[JournalRow]:
        """In the order recorded, a page at a time: no reading transaction stays open while the caller takes its time,
        which would keep the writer from tidying up its log."""
        query = _event_query(wanted)
        while True:
            with store_errors(self._path):
                page = self._connection.execute(query, {"after": wanted.after_seq}).all()
            for row in page:
                yield JournalRow(**{**row._asdict(), "fields": json.loads(row.fields)})
            if wanted.last is not None or len(page) < PAGE_ROWS:
                return
            wanted = replace(wanted, after_seq=page[-1].seq)

    def standing(self, *, borrower: Address | None = None, only_open: bool = False) -> Sequence[StandingRow]:
        """In the order in which they began."""
        names = [name for name in StandingRow.__slots__ if name != "last_block"]
        # A standing that goes on has no row per head: it holds up to the last head of its watch.
        stood_until = func.iif(standing.c.ended.is_(None), watches.c.last_block, standing.c.last_block)
        query = (
            select(*(standing.c[name] for name in names), stood_until.label("last_block"))
            .join(watches, watches.c.id == standing.c.watch_id)
            .order_by(standing.c.id)
        )
        if borrower is not None:
            query = query.where(standing.c.borrower == to_hex(borrower))
        if only_open:
            query = query.where(standing.c.ended.is_(None))
        with store_errors(self._path):
            return [_standing_row(row._asdict()) for row in self._connection.execute(query)]

    def watches(self) -> Sequence[Watch]:
        """In the order in which they began."""
        query = select(*(watches.c[name] for name in Watch.__slots__)).order_by(watches.c.id)
        with store_errors(self._path):
            return [Watch(**row._asdict()) for row in self._connection.execute(query)]

    def counts(self, chain: str, market: str, since_at: str) -> Mapping[str, int]:
        """How many events of each kind since a moment (ISO text as in the journal)."""
        of_market = (events.c.chain == chain) & (events.c.market == market) & (events.c.recorded_at >= since_at)
        query = select(events.c.kind, func.count().label("number")).where(of_market).group_by(events.c.kind)
        with store_errors(self._path):
            return {row.kind: row.number for row in self._connection.execute(query)}

    def saved_books(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        """Those in use, newest first; damaged ones are left out."""
        books = saved_books.c
        query = (
            select(saved_books)
            .where(books.chain == chain, books.market == to_hex(market), books.aside_at.is_(None))
            .order_by(books.block_number.desc(), books.id.desc())
        )
        with store_errors(self._path):
            return sound_books(row._asdict() for row in self._connection.execute(query))

    def accounts(self) -> Sequence[Booked]:
        """Every mined transaction of ours, by the time of its block."""
        moved: dict[int, list[Movement]] = {}
        with store_errors(self._path):
            for row in self._connection.execute(MOVEMENTS):
                moved.setdefault(row.ledger_id, []).append(movement_from_row(row))
            return [
                Booked(entry_from_row(row, moved.get(row.id, [])), value_from_row(row), shares_from_text(row.shares))
                for row in self._connection.execute(ENTRIES)
            ]

    def standing_pauses(self) -> Sequence[StandingPause]:
        with store_errors(self._path):
            return [standing_pause(row) for row in self._connection.execute(STANDING)]

    def on_their_way(self) -> Sequence[Intent]:
        """Everything that may still be mined, in the order it was recorded."""
        with store_errors(self._path):
            return [intent_from_row(row._asdict()) for row in self._connection.execute(ON_THEIR_WAY)]

    def transactions(self, last: int) -> Sequence[RecordedTransaction]:
        """Everything that may still be mined, and the latest `last` of the others; by signer and nonce."""
        latest = select(intents.c.id).order_by(intents.c.id.desc()).limit(last)
        wanted = or_(intents.c.status.in_(sorted(OPEN_STATUSES)), intents.c.id.in_(latest))
        query = (
            select(intents).where(wanted).order_by(intents.c.chain_id, intents.c.signer, intents.c.nonce, intents.c.id)
        )
        with store_errors(self._path):
            rows = [row._asdict() for row in self._connection.execute(query)]
        return [RecordedTransaction(intent_from_row(row), row["recorded_at"], row["block_number"]) for row in rows]

    def intents(self, attempt: str) -> Sequence[Intent]:
        query = select(intents).where(about(literal(attempt))).order_by(intents.c.id)
        with store_errors(self._path):
            return [intent_from_row(row._asdict()) for row in self._connection.execute(query)]


def _event_query(wanted: EventFilter) -> Select[Any]:
    columns = [events.c[name] for name in JournalRow.__slots__ if name != "at"]
    query = select(*columns, events.c.recorded_at.label("at")).where(events.c.seq > bindparam("after"))
    if wanted.since_block is not None:
        in_block = events.c.block_number >= wanted.since_block
        first = select(func.min(events.c.seq)).where(in_block).scalar_subquery()
        query = query.where(or_(in_block, events.c.block_number.is_(None) & (events.c.seq >= first)))
    if wanted.borrower is not None:
        query = query.where(events.c.borrower == to_hex(wanted.borrower))
    if wanted.attempt is not None:
        query = query.where(events.c.attempt == wanted.attempt)
    if wanted.kinds:
        query = query.where(events.c.kind.in_([kind.value for kind in wanted.kinds]))
    if wanted.last is not None:
        latest = query.order_by(events.c.seq.desc()).limit(wanted.last).subquery()
        return select(latest).order_by(latest.c.seq)
    return query.order_by(events.c.seq).limit(PAGE_ROWS)


def _standing_row(row: dict[str, Any]) -> StandingRow:
    names = ("first_health_wad", "last_health_wad")
    health = {name: int(row[name]) if row[name] is not None else None for name in names}
    return StandingRow(**{**row, **health})
