"""Scalars and their units. Addresses and hashes travel as raw bytes; text exists only at the borders."""

from __future__ import annotations

from typing import NewType

Address = NewType("Address", bytes)
"""20 raw bytes."""

Hash32 = NewType("Hash32", bytes)
"""32 raw bytes: a block or transaction hash."""

BPS = 10_000
WAD = 10**18
RAY = 10**27
SECONDS_PER_YEAR = 31_536_000
UINT256_MAX = 2**256 - 1

HEALTH_ONE_WAD = WAD
"""Below this a position is liquidatable."""

NO_DEBT_HEALTH_WAD = UINT256_MAX
"""What the contracts answer for a position without debt; it is their number, not a guess of ours."""


def address_from_hex(text: str) -> Address:
    """Parse ``0x`` + 40 hex digits (any case). Raises ValueError naming the text."""
    body = text[2:] if text[:2] in ("0x", "0X") else ""
    if len(body) != 40:
        raise ValueError(f"not an address (0x and 40 hex digits): {text!r}")
    try:
        return Address(bytes.fromhex(body))
    except ValueError:
        raise ValueError(f"not an address (0x and 40 hex digits): {text!r}") from None


def hash_from_hex(text: str) -> Hash32:
    """Parse ``0x`` + 64 hex digits. Raises ValueError naming the text."""
    body = text[2:] if text[:2] in ("0x", "0X") else ""
    if len(body) != 64:
        raise ValueError(f"not a 32-byte hash (0x and 64 hex digits): {text!r}")
    try:
        return Hash32(bytes.fromhex(body))
    except ValueError:
        raise ValueError(f"not a 32-byte hash (0x and 64 hex digits): {text!r}") from None


def to_hex(raw: bytes) -> str:
    """``0x`` and lower-case hex. For people and scripts, the cli renders addresses with their checksum."""
    return "0x" + raw.hex()
