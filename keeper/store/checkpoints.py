"""The saved books: what a start can begin from, checked for damage, never deleted once refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from keeper.core.block import BlockRef
from keeper.core.checkpoint import CHECKPOINT_FORMAT, Checkpoint, Stage
from keeper.core.errors import StoreError
from keeper.core.events import Event, Kind, Severity
from keeper.core.units import Address, address_from_hex, hash_from_hex, to_hex
from keeper.store.encoding import Row, event_row, optional_decimal, utc_text
from keeper.store.schema import store_errors
from keeper.store.tables import events, saved_books
from keeper.store.writer import Writer

log = logging.getLogger(__name__)

OUTLASTS_REORG_BLOCKS = 128
"""Besides the newest checkpoint, the newest that is at least so many blocks older is kept: a reorg that takes the one leaves
the other."""

_IDENTITY = ("chain", "market", "stage", "chain_id", "protocol", "rules", "format")
_BLOCK = ("block_number", "block_hash", "parent_hash", "timestamp_s", "base_fee_wei", "gas_limit")

_books = saved_books.c
_in_use = _books.aside_at.is_(None)
_of_market = (_books.chain == bindparam("of_chain")) & (_books.market == bindparam("of_market"))
_of_stage = _of_market & (_books.stage == bindparam("of_stage"))
_older = (
    select(_books.id)
    .where(_of_stage, _in_use, _books.block_number <= bindparam("settled_block"))
    .order_by(_books.block_number.desc())
    .limit(1)
)
_THIN_OUT = delete(saved_books).where(_of_stage, _in_use, _books.id.not_in(_older.scalar_subquery()))
_END_BACK_FILL = delete(saved_books).where(_of_market, _in_use, _books.stage != Stage.BOOK.value)
_SAVE = insert(saved_books)
_SET_ASIDE = (
    update(saved_books)
    .where(_books.id == bindparam("of_id"), _in_use)
    .values(aside_at=bindparam("at"), cause=bindparam("why"))
)
_RECORD = events.insert()


class SavedBooks:
    """Implements the port `Checkpoints` over a store's connections."""

    def __init__(
        self,
        path: Path,
        connection: AsyncConnection,
        reading: asyncio.Lock,
        writer: Writer,
        now: Callable[[], datetime],
    ) -> None:
        self._path = path
        self._connection = connection
        self._reading = reading
        self._writer = writer
        self._now = now
        self._ids: dict[tuple[str, Address, Stage, bytes], int] = {}
        self._aside: set[int] = set()
        """Refused by this process, whether or not the disk knows it yet."""

    async def save(self, checkpoint: Checkpoint) -> bool:
        """On the disk when it returns True. False when the disk takes nothing now: what was saved before still stands, and
        nothing waits in memory for it."""
        row = await asyncio.to_thread(_row, checkpoint, utc_text(self._now()))
        of_market = {"of_chain": row["chain"], "of_market": row["market"]}
        settled = {"settled_block": checkpoint.block.number - OUTLASTS_REORG_BLOCKS, "of_stage": row["stage"]}
        steps = [(_THIN_OUT, [of_market | settled]), (_SAVE, [row])]
        if checkpoint.stage is Stage.BOOK:
            steps.append((_END_BACK_FILL, [of_market]))
        try:
            await self._writer.write_through(*steps)
        except StoreError as error:
            log.warning("the book of %s was not saved: %s", row["market"], error)
            return False
        return True

    async def load(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        """Those in use, newest first. Damaged ones are set aside: the book can always be rebuilt from the chain."""
        query = (
            select(saved_books)
            .where(_books.chain == chain, _books.market == to_hex(market), _in_use)
            .order_by(_books.block_number.desc(), _books.id.desc())
        )
        async with self._reading:
            with store_errors(self._path):
                rows = [found._asdict() for found in (await self._connection.execute(query)).all()]
        sound: list[Checkpoint] = []
        for row in rows:
            if row["id"] in self._aside:
                continue
            fault = await asyncio.to_thread(_fault, row)
            if fault is not None:
                await self._put_aside(row["id"], chain, market, fault, row["block_number"])
                continue
            sound.append(_checkpoint(row))
            self._ids[_key(sound[-1])] = row["id"]
        return sound

    async def set_aside(self, checkpoint: Checkpoint, cause: str) -> None:
        """It is not used again, but kept, with the date and the cause; journaled."""
        found = self._ids[_key(checkpoint)]
        await self._put_aside(found, checkpoint.chain, checkpoint.market, cause, checkpoint.block.number)

    async def _put_aside(self, found: int, chain: str, market: Address, cause: str, block_number: int) -> None:
        self._aside.add(found)
        at = utc_text(self._now())
        detail = f"the saved book of block {block_number} is refused, kept aside and built anew: {cause}"
        event = Event(
            Kind.TROUBLE,
            chain,
            market=market,
            severity=Severity.WARNING,
            fields={"error": "RefusedCheckpoint", "detail": detail},
        )
        log.warning("store %s: %s", self._path, detail)
        await self._writer.hand_over(
            (_SET_ASIDE, [{"of_id": found, "at": at, "why": cause}]), (_RECORD, [event_row(event, at)])
        )


def sound_books(rows: Iterable[Mapping[str, Any]]) -> list[Checkpoint]:
    """For a reader: those of the table's rows that are not damaged."""
    return [_checkpoint(row) for row in rows if _fault(row) is None]


def _key(checkpoint: Checkpoint) -> tuple[str, Address, Stage, bytes]:
    return checkpoint.chain, checkpoint.market, checkpoint.stage, checkpoint.block.hash


def _row(checkpoint: Checkpoint, saved_at: str) -> Row:
    block = checkpoint.block
    row: Row = {
        "saved_at": saved_at,
        "chain": checkpoint.chain,
        "market": to_hex(checkpoint.market),
        "stage": checkpoint.stage.value,
        "chain_id": checkpoint.chain_id,
        "protocol": checkpoint.protocol,
        "rules": checkpoint.rules,
        "format": checkpoint.format,
        "block_number": block.number,
        "block_hash": to_hex(block.hash),
        "parent_hash": to_hex(block.parent_hash),
        "timestamp_s": block.timestamp_s,
        "base_fee_wei": optional_decimal(block.base_fee_wei),
        "gas_limit": block.gas_limit,
        "facts": checkpoint.facts,
        "borrowers": checkpoint.borrowers,
        "rows": checkpoint.rows,
    }
    return {**row, "checksum": _checksum(row)}


def _checksum(row: Mapping[str, Any]) -> str:
    """SHA-256 over everything that a checkpoint says."""
    head = json.dumps([row[name] for name in (*_IDENTITY, *_BLOCK, "facts")], separators=(",", ":"))
    digest = hashlib.sha256(f"{head}\n{len(row['borrowers'])}\n".encode())
    digest.update(row["borrowers"])
    digest.update(row["rows"])
    return digest.hexdigest()


def _fault(row: Mapping[str, Any]) -> str | None:
    if row["format"] != CHECKPOINT_FORMAT:
        return f"its format is {row['format']}, this keeper reads {CHECKPOINT_FORMAT}"
    return None if _checksum(row) == row["checksum"] else "it does not match its checksum"


def _checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    block = BlockRef(
        number=row["block_number"],
        hash=hash_from_hex(row["block_hash"]),
        parent_hash=hash_from_hex(row["parent_hash"]),
        timestamp_s=row["timestamp_s"],
        base_fee_wei=int(row["base_fee_wei"]) if row["base_fee_wei"] is not None else None,
        gas_limit=row["gas_limit"],
    )
    return Checkpoint(
        chain=row["chain"],
        chain_id=row["chain_id"],
        market=address_from_hex(row["market"]),
        protocol=row["protocol"],
        rules=row["rules"],
        format=row["format"],
        stage=Stage(row["stage"]),
        block=block,
        facts=row["facts"],
        borrowers=row["borrowers"],
        rows=row["rows"],
    )
