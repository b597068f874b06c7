"""The two DER structures that a key store answers with, read strictly. Pure."""

from __future__ import annotations

from keeper.execution.signing.envelope import GROUP_ORDER

_SEQUENCE, _INTEGER = 0x30, 0x02
_LONGEST = 127
"""Bytes of a length in one byte; a secp256k1 signature has at most 72."""
_KEY_PREFIX = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a034200")
"""Of every SubjectPublicKeyInfo that holds an uncompressed secp256k1 point; the 65 bytes of the point follow."""
_POINT_BYTES = 65


def decode_signature(der: bytes) -> tuple[int, int]:
    """(r, s) of an ECDSA signature. Raises `ValueError` for anything but the one proper encoding of two numbers from 1 to
    the order of the group less 1."""
    inner, rest = _take(der, _SEQUENCE)
    r, tail = _integer(inner)
    s, end = _integer(tail)
    if rest or end:
        raise ValueError("bytes follow the signature")
    return r, s


def decode_public_key(der: bytes) -> bytes:
    """The 65 bytes of an uncompressed point of secp256k1; whether it lies on the curve is not looked at. Raises
    `ValueError` for any other kind of key."""
    point = der[len(_KEY_PREFIX) :]
    if der[: len(_KEY_PREFIX)] != _KEY_PREFIX or len(point) != _POINT_BYTES or point[0] != 0x04:
        raise ValueError("no public key of the curve secp256k1")
    return point


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """(content, what follows) of the element at the beginning."""
    if len(data) < 2 or data[0] != tag or data[1] > _LONGEST or len(data) < 2 + data[1]:
        raise ValueError("no DER signature")
    return data[2 : 2 + data[1]], data[2 + data[1] :]


def _integer(data: bytes) -> tuple[int, bytes]:
    content, rest = _take(data, _INTEGER)
    negative = content[:1] >= b"\x80"
    padded = len(content) > 1 and content[0] == 0 and content[1] < 0x80
    number = int.from_bytes(content, "big")
    if negative or padded or not 0 < number < GROUP_ORDER:
        raise ValueError("no number of a signature")
    return number, rest
