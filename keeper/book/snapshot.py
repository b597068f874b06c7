"""The book as bytes: what a checkpoint stores. The format belongs to this file alone.

A header (mark, version, counts, checksum of all that follows), the table of columns, then the rows column by column,
little-endian and uncompressed: about 80 bytes for a borrower with three balances.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keeper.book.book import Book
from keeper.book.columns import MOST_ENTRIES, NO_CATEGORY
from keeper.book.page import WITH_DEBT, WITHOUT_DEBT, Rows
from keeper.book.table import Table
from keeper.core.errors import MalformedResponse
from keeper.core.lending import Side

MARK = b"keeperbk"
VERSION = 2
HEADER = struct.Struct("<8sIIIQ")
"""Mark, version, checksum, columns, rows; the number of entries follows from the rows."""

COLLATERAL, DEBT = 0, 1

Numbers = NDArray[np.int64]


def pack_book(book: Book) -> bytes:
    """All rows of a book, but not its undo records."""
    kinds = [
        (DEBT if kind[0] is Side.DEBT else COLLATERAL, kind[1], kind[2]) for kind in book.kinds() if kind is not None
    ]
    blocks = list(book.live())
    parts = [np.array(kinds, dtype="<i8").tobytes()]
    parts += [block.accounts.tobytes() for block in blocks]
    parts += [block.categories.astype("<i4").tobytes() for block in blocks]
    parts += [block.counts.astype("<u2").tobytes() for block in blocks]
    parts += [block.columns.astype("<u4").tobytes() for block in blocks]
    parts += [block.low.astype("<u8").tobytes() for block in blocks]
    parts += [block.high.astype("<u8").tobytes() for block in blocks]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    rows = sum(len(block) for block in blocks)
    return b"".join([HEADER.pack(MARK, VERSION, checksum, len(kinds), rows), *parts])


def load_packed(book: Book, stored: bytes, block_number: int) -> None:
    """Replace everything in a book by what `pack_book` gave, known at `block_number`. Raises `MalformedResponse`, and leaves
    the book alone, when the bytes are anything else."""
    book.take(_unpack(stored), block_number)


def _unpack(stored: bytes) -> Table:
    if len(stored) < HEADER.size or not stored.startswith(MARK):
        raise MalformedResponse("the saved book cannot be read: it is no book of this format")
    _, version, checksum, width, count = HEADER.unpack_from(stored)
    if version != VERSION:
        raise MalformedResponse(f"the saved book has format {version}, not {VERSION}")
    if zlib.crc32(memoryview(stored)[HEADER.size :]) != checksum:
        raise MalformedResponse("the saved book is damaged: its checksum does not fit")
    body = _Body(stored)
    kinds = body.take("<i8", width * 3).astype(np.int64).reshape(width, 3)
    accounts = body.take("u1", count * 20).astype(np.uint8).reshape(count, 20)
    categories = body.take("<i4", count).astype(np.int32)
    counts = body.take("<u2", count).astype(np.int32)
    entries = int(counts.sum())
    columns = body.take("<u4", entries).astype(np.int32)
    low, high = body.take("<u8", entries).astype(np.uint64), body.take("<u8", entries).astype(np.uint64)
    body.end()
    rows = Rows(accounts, categories, np.zeros(count, dtype=np.uint8), counts, columns, low, high)
    for fault in _faults(kinds, rows):
        raise MalformedResponse(f"the saved book cannot be read: {fault}")
    owing = np.repeat(np.arange(count), counts)[kinds[columns - 1, 0] == DEBT]
    rows.states[:] = np.where(np.bincount(owing, minlength=count) > 0, WITH_DEBT, WITHOUT_DEBT)
    table = Table()
    table.columns.adopt(_kinds(kinds))
    table.replace_all(rows)
    return table


class _Body:
    """The arrays after the header, one after the other."""

    def __init__(self, stored: bytes) -> None:
        self._stored = stored
        self._at = HEADER.size

    def take(self, kind: str, count: int) -> NDArray[np.generic]:
        size = np.dtype(kind).itemsize * count
        if self._at + size > len(self._stored):
            raise MalformedResponse("the saved book cannot be read: it ends too early")
        found = np.frombuffer(self._stored, dtype=kind, count=count, offset=self._at)
        self._at += size
        return found

    def end(self) -> None:
        if self._at != len(self._stored):
            raise MalformedResponse("the saved book cannot be read: something follows its end")


def _kinds(kinds: NDArray[np.generic]) -> list[tuple[Side, int, int]]:
    found = []
    for side, reserve_id, category in kinds.tolist():
        sound = (
            side in (COLLATERAL, DEBT) and reserve_id >= 0 and category >= (NO_CATEGORY if side == COLLATERAL else 0)
        )
        if not sound:
            raise MalformedResponse(f"the saved book cannot be read: column {(side, reserve_id, category)} is none")
        found.append((Side.DEBT if side == DEBT else Side.COLLATERAL, reserve_id, category))
    if len(set(found)) != len(found):
        raise MalformedResponse("the saved book cannot be read: it has a column twice")
    return found


def _faults(kinds: Numbers, rows: Rows) -> Iterator[str]:
    """What a book cannot hold, though the checksum fits."""
    if rows.counts.max(initial=0) > MOST_ENTRIES:
        yield f"a row has more than {MOST_ENTRIES} balances"
    if rows.columns.min(initial=1) < 1 or rows.columns.max(initial=0) > len(kinds):
        yield "a balance is in no column"
        return
    if len(np.unique(rows.accounts.view("V20"))) != len(rows):
        yield "an account is in it twice"
    side, reserve_id, category = (kinds[rows.columns - 1, field] for field in range(3))
    owner = np.repeat(np.arange(len(rows)), rows.counts)
    if ((category != NO_CATEGORY) & (category != rows.categories[owner])).any():
        yield "a balance is in another e-mode than its row"
    switched_on = (side == COLLATERAL) & (category != NO_CATEGORY)
    if ((rows.low == 0) & (rows.high == 0) & ~switched_on).any():
        yield "a balance is zero"
    order = np.lexsort((reserve_id, side, owner))
    twice = (np.diff(owner[order]) == 0) & (np.diff(side[order]) == 0) & (np.diff(reserve_id[order]) == 0)
    if twice.any():
        yield "a row has two balances of one reserve on one side"
