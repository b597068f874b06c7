"""A few bytes of code that make several calls in a row and report each: put under our own address by a state override.

So a plain `eth_call` can show what a sequence of calls from our address does, one after the other, on nodes without
`eth_simulateV1`. The code is written for each sequence, straight down without a jump; the calldata of all calls follow
each other in the calldata of the whole. What it returns: the block's timestamp, then for each call 1 or 0, the gas it
took (the call's own overhead included), the length of what it returned, and that itself, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.block import Call
from keeper.core.errors import MalformedResponse

_WORD = 32
_ADD, _SUB = b"\x01", b"\x03"
_CALLDATACOPY, _RETURNDATASIZE, _RETURNDATACOPY = b"\x37", b"\x3d", b"\x3e"
_TIMESTAMP, _MSTORE, _GAS = b"\x42", b"\x52", b"\x5a"
_DUP2, _DUP3, _SWAP1 = b"\x81", b"\x82", b"\x90"
_CALL, _RETURN = b"\xf1", b"\xf3"


@dataclass(frozen=True, slots=True)
class RunCall:
    """One call to make, with at most so much gas and so many native coins."""

    call: Call
    gas_limit: int
    value_wei: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    ok: bool
    gas_used: int
    """By the call itself: no share of the transaction's own 21,000, no refund deducted."""
    returndata: bytes


def runner_code(calls: Sequence[RunCall]) -> bytes:
    """The code for exactly these calls."""
    results_at = max((len(each.call.calldata) for each in calls), default=0)
    # The stack holds one thing between calls: where the next report goes.
    code = [_push(results_at), _TIMESTAMP, _DUP2, _MSTORE, _push(_WORD), _ADD]
    start = 0
    for each in calls:
        length = len(each.call.calldata)
        code += [_push(length), _push(start), _push(0), _CALLDATACOPY, _GAS]
        code += [_push(0), _push(0), _push(length), _push(0), _push(each.value_wei)]
        code += [_push(int.from_bytes(each.call.target)), _push(each.gas_limit), _CALL]
        # where, gas before, ok → where, ok, gas used
        code += [_SWAP1, _GAS, _SWAP1, _SUB]
        code += [_DUP3, _push(_WORD), _ADD, _MSTORE, _DUP2, _MSTORE]
        code += [_RETURNDATASIZE, _DUP2, _push(2 * _WORD), _ADD, _MSTORE]
        code += [_RETURNDATASIZE, _push(0), _DUP3, _push(3 * _WORD), _ADD, _RETURNDATACOPY]
        code += [_RETURNDATASIZE, _ADD, _push(3 * _WORD), _ADD]
        start += length
    code += [_push(results_at), _SWAP1, _SUB, _push(results_at), _RETURN]
    return b"".join(code)


def runner_calldata(calls: Sequence[RunCall]) -> bytes:
    return b"".join(each.call.calldata for each in calls)


def decode_run(returned: bytes, count: int) -> tuple[int, list[RunResult]]:
    """The block's timestamp and what came of each call. Raises `MalformedResponse` when it does not add up."""
    timestamp_s, at = _word(returned, 0), _WORD
    results = []
    for _ in range(count):
        ok, gas_used, length = (_word(returned, at + place * _WORD) for place in range(3))
        at += 3 * _WORD
        if ok > 1 or at + length > len(returned):
            raise MalformedResponse("a run of calls was answered with a result that is cut short or no result")
        results.append(RunResult(ok == 1, gas_used, returned[at : at + length]))
        at += length
    if at != len(returned):
        raise MalformedResponse("a run of calls was answered with more than its results")
    return timestamp_s, results


def _push(number: int) -> bytes:
    """The shortest push of a number of up to 32 bytes, at least one."""
    length = max(1, (number.bit_length() + 7) // 8)
    return bytes([0x5F + length]) + number.to_bytes(length)


def _word(returned: bytes, at: int) -> int:
    word = returned[at : at + _WORD]
    if len(word) != _WORD:
        raise MalformedResponse(f"a run of calls was answered with {len(returned)} bytes, too few")
    return int.from_bytes(word)
