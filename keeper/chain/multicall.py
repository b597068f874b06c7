"""Multicall3's `aggregate3`, encoded and decoded by words.

Source of the interface: Multicall3, `aggregate3((address target, bool allowFailure, bytes callData)[])` returning
`(bool success, bytes returnData)[]`; the same address on every chain that has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.units import Address

MULTICALL3 = Address(bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11"))
AGGREGATE3_SELECTOR = bytes.fromhex("82ad56cb")
CURRENT_BLOCK_TIMESTAMP_SELECTOR = bytes.fromhex("0f28c97d")

_WORD = 32
_ONE = (1).to_bytes(_WORD)
_BYTES_AT = (96).to_bytes(_WORD)
_ADDRESS_PADDING = bytes(12)


def encode_aggregate3(calls: Sequence[Call]) -> bytes:
    """Calldata of `aggregate3`, every call allowed to fail by itself."""
    offsets: list[bytes] = []
    bodies: list[bytes] = []
    offset = len(calls) * _WORD
    for call in calls:
        offsets.append(offset.to_bytes(_WORD))
        length = len(call.calldata)
        padding = -length % _WORD
        bodies += (
            _ADDRESS_PADDING,
            call.target,
            _ONE,
            _BYTES_AT,
            length.to_bytes(_WORD),
            call.calldata,
            bytes(padding),
        )
        offset += 4 * _WORD + length + padding
    head = (AGGREGATE3_SELECTOR, _WORD.to_bytes(_WORD), len(calls).to_bytes(_WORD))
    return b"".join((*head, *offsets, *bodies))


def decode_aggregate3(returned: bytes, count: int) -> list[CallResult]:
    """The `count` results in the bytes that `aggregate3` returned. Raises `MalformedResponse` when they do not add up."""
    table = _read_word(returned, 0) + _WORD
    if _read_word(returned, table - _WORD) != count:
        raise MalformedResponse(f"aggregate3 did not answer with {count} results")
    return [_decode_result(returned, table + _read_word(returned, table + _WORD * index)) for index in range(count)]


def _decode_result(returned: bytes, start: int) -> CallResult:
    ok = _read_word(returned, start)
    body = start + _read_word(returned, start + _WORD)
    length = _read_word(returned, body)
    end = body + _WORD + length
    if ok > 1 or end > len(returned):
        raise MalformedResponse("aggregate3 answered with a result that is cut short or no result")
    return CallResult(ok=ok == 1, returndata=returned[body + _WORD : end])


def _read_word(returned: bytes, start: int) -> int:
    word = returned[start : start + _WORD]
    if len(word) != _WORD:
        raise MalformedResponse(f"aggregate3 answered with {len(returned)} bytes, too few")
    return int.from_bytes(word)
