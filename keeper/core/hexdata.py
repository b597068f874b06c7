"""Strict decoding of JSON-RPC's hex text. Whatever is not exactly as promised raises `MalformedResponse`."""

from __future__ import annotations

from typing import Any

from keeper.core.errors import MalformedResponse
from keeper.core.units import Address, Hash32

MAX_QUANTITY_DIGITS = 64


def decode_quantity(value: object, what: str) -> int:
    """``0x`` and 1 to 64 hex digits as an integer. Leading zeros pass: some nodes send them."""
    if isinstance(value, str) and value[:2] == "0x" and 2 < len(value) <= 2 + MAX_QUANTITY_DIGITS:
        try:
            # int() alone would accept "_", blanks and digits of other scripts.
            if value.isascii() and value.isalnum():
                return int(value, 16)
        except ValueError:
            pass
    raise MalformedResponse(f"{what} is no hex quantity: {_shown(value)}")


def decode_bytes(value: object, what: str, length: int | None = None) -> bytes:
    """``0x`` and an even number of hex digits as bytes; exactly `length` of them when given."""
    if isinstance(value, str) and value[:2] == "0x":
        try:
            raw = bytes.fromhex(value[2:])
        except ValueError:
            raw = None
        # fromhex() skips blanks, so the length of the text must agree.
        if raw is not None and 2 * len(raw) + 2 == len(value) and length in (None, len(raw)):
            return raw
    wanted = "hex bytes" if length is None else f"{length} hex bytes"
    raise MalformedResponse(f"{what} is not {wanted}: {_shown(value)}")


def decode_address(value: object, what: str) -> Address:
    return Address(decode_bytes(value, what, 20))


def decode_hash(value: object, what: str) -> Hash32:
    return Hash32(decode_bytes(value, what, 32))


def decode_object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedResponse(f"{what} is no object: {_shown(value)}")
    return value


def decode_list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedResponse(f"{what} is no list: {_shown(value)}")
    return value


def encode_quantity(number: int) -> str:
    return hex(number)


def _shown(value: object) -> str:
    """Hex is shown in part. Other text is not: it is foreign, and may repeat our URL."""
    if isinstance(value, str):
        return value[:40] if value[:2] == "0x" and value.isalnum() else f"text of {len(value)} characters"
    return f"a {type(value).__name__}"
