"""The book as bytes: what a checkpoint stores. The format belongs to this file alone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable

from keeper.core.errors import MalformedResponse
from keeper.core.lending import Position
from keeper.core.units import Address

VERSION = 1


def pack_rows(rows: Iterable[Position]) -> bytes:
    """Compressed JSON; integers keep every digit."""
    packed = [
        [
            row.borrower.hex(),
            sorted(row.collateral_scaled.items()),
            sorted(row.debt_scaled.items()),
            sorted(row.collateral_enabled),
            row.category,
        ]
        for row in rows
    ]
    return zlib.compress(json.dumps([VERSION, packed], separators=(",", ":")).encode(), 1)


def unpack_rows(stored: bytes) -> list[Position]:
    """Raises `MalformedResponse` when the bytes are not a snapshot of this version."""
    try:
        version, packed = json.loads(zlib.decompress(stored))
        if version != VERSION:
            raise MalformedResponse(f"the saved book has format {version}, not {VERSION}")
        return [
            Position(Address(bytes.fromhex(account)), dict(collateral), dict(debt), frozenset(enabled), category)
            for account, collateral, debt, enabled, category in packed
        ]
    except (ValueError, TypeError, zlib.error) as error:
        raise MalformedResponse(f"the saved book cannot be read: {type(error).__name__}") from None
