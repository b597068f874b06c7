"""The book as bytes, and what is refused."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import replace

import pytest

from keeper.book.book import Book
from keeper.book.snapshot import HEADER, MARK, VERSION, load_packed, pack_book
from keeper.core.errors import MalformedResponse
from keeper.core.lending import BalanceChange, Position
from keeper.core.units import Address
from tests.unit.book.test_table import random_position


def add_only(change: BalanceChange, previous_scaled: int) -> int:
    return previous_scaled + change.value


def book_of(rows: list[Position]) -> Book:
    book = Book(add_only)
    book.enter(1, rows)
    return book


def some_rows(count: int = 40) -> list[Position]:
    rng = random.Random(count)
    return [random_position(rng, Address(rng.randbytes(20))) for _ in range(count)]


def forged(stored: bytes, *, at: int, by: bytes) -> bytes:
    """Other bytes in the body, with a checksum that fits."""
    body = bytearray(stored[HEADER.size :])
    body[at : at + len(by)] = by
    mark, version, _, columns, rows = HEADER.unpack_from(stored)
    return HEADER.pack(mark, version, zlib.crc32(bytes(body)), columns, rows) + bytes(body)


@pytest.mark.parametrize("count", [0, 1, 40, 500])
def test_every_row_comes_back(count: int) -> None:
    book, restored = book_of(some_rows(count)), book_of(some_rows(3))
    load_packed(restored, pack_book(book), 9)
    assert list(restored.every_position()) == list(book.every_position())
    assert restored.borrowers == book.borrowers
    assert restored.totals() == book.totals()
    assert not restored.can_unwind_to(8)
    assert restored.sample(5, seed=1) == book.sample(5, seed=1)
    assert pack_book(restored) == pack_book(book)


def test_a_restored_book_goes_on() -> None:
    book = book_of(some_rows())
    restored = Book(add_only)
    load_packed(restored, pack_book(book), 9)
    row = replace(next(book.positions()), collateral_scaled={77: 1})
    restored.enter(10, [row])
    assert restored.position(row.borrower) == row


@pytest.mark.parametrize(
    "stored", [b"", b"garbage", b"x\x9c\x03\x00\x00\x00\x00\x01", MARK, HEADER.pack(b"", 2, 0, 0, 0)]
)
def test_bytes_that_are_no_book_are_refused(stored: bytes) -> None:
    with pytest.raises(MalformedResponse, match="saved book"):
        load_packed(Book(add_only), stored, 1)


def test_another_version_is_refused_by_name() -> None:
    stored = HEADER.pack(MARK, VERSION + 1, zlib.crc32(b""), 0, 0)
    with pytest.raises(MalformedResponse, match=f"format {VERSION + 1}, not {VERSION}"):
        load_packed(Book(add_only), stored, 1)


def test_any_cut_or_flipped_byte_is_noticed_and_the_book_stays() -> None:
    rows = some_rows()
    stored, book = pack_book(book_of(rows)), book_of(rows[:3])
    rng = random.Random(3)
    damaged = [stored[:cut] for cut in rng.sample(range(len(stored)), 40)] + [stored + b"\0"]
    for place in [*range(HEADER.size), *rng.sample(range(HEADER.size, len(stored)), 60)]:
        flipped = bytes([stored[place] ^ (1 << rng.randrange(8))])
        damaged += [stored[:place] + flipped + stored[place + 1 :]]
    for each in damaged:
        with pytest.raises(MalformedResponse, match="saved book"):
            load_packed(book, each, 1)
    assert sorted(book.accounts()) == sorted(row.borrower for row in rows[:3])


A, B = Address(b"\x0a" * 20), Address(b"\x0b" * 20)
ROWS = [Position(A, {3: 5}, {4: 6}, frozenset({3}), 7), Position(B, {3: 8}, {}, frozenset(), 0)]
COLUMNS = 3 * 24
"""Two of the first row, one of the second: side, reserve, e-mode, 8 bytes each."""
CATEGORIES = COLUMNS + 2 * 20
COUNTS = CATEGORIES + 2 * 4
NUMBERS = COUNTS + 2 * 2
LOW = NUMBERS + 3 * 4


@pytest.mark.parametrize(
    "at, by, why",
    [
        (0, struct.pack("<q", 2), "is none"),
        (8, struct.pack("<q", -1), "is none"),
        (0, struct.pack("<qqq", 0, 3, -1), "a column twice"),
        (COLUMNS, bytes(B), "an account is in it twice"),
        (CATEGORIES, struct.pack("<i", 6), "another e-mode"),
        (COUNTS, struct.pack("<H", 300), "ends too early"),
        (COUNTS, struct.pack("<H", 1), "something follows"),
        (NUMBERS, struct.pack("<I", 0), "in no column"),
        (NUMBERS, struct.pack("<I", 4), "in no column"),
        (NUMBERS, struct.pack("<I", 2**32 - 1), "in no column"),
        (NUMBERS, struct.pack("<II", 1, 1), "two balances of one reserve"),
        (LOW + 8, struct.pack("<Q", 0), "a balance is zero"),
    ],
)
def test_what_no_book_can_hold_is_refused_although_its_checksum_fits(at: int, by: bytes, why: str) -> None:
    stored = forged(pack_book(book_of(ROWS)), at=at, by=by)
    with pytest.raises(MalformedResponse, match=why):
        load_packed(Book(add_only), stored, 1)
