"""Calls to pools and factories, and their answers as words. Whatever is not exactly what was asked for is `QuoteError`."""

from __future__ import annotations

from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.units import Address

_WORD = 32


def call(target: Address, selector: bytes, *arguments: int | bytes) -> Call:
    """A call whose arguments each take one word: numbers (negative ones too) and addresses."""
    return Call(target, selector + b"".join(map(_encode, arguments)))


def _encode(argument: int | bytes) -> bytes:
    if isinstance(argument, bytes):
        return argument.rjust(_WORD, b"\0")
    return argument.to_bytes(_WORD, "big", signed=argument < 0)


def words(result: CallResult, count: int, what: str) -> tuple[int, ...]:
    """Return data of exactly `count` words. Raises `QuoteError` for a revert and for any other length."""
    content = _content(result, count, what)
    return tuple(int.from_bytes(content[at : at + _WORD], "big") for at in range(0, len(content), _WORD))


def word_of(result: CallResult, place: int, count: int, what: str) -> int:
    """One of them, where the others do not matter."""
    return int.from_bytes(_content(result, count, what)[place * _WORD : (place + 1) * _WORD], "big")


def _content(result: CallResult, count: int, what: str) -> bytes:
    if not result.ok:
        raise QuoteError(f"{what}: the call reverted")
    if len(result.returndata) != count * _WORD:
        raise QuoteError(f"{what}: {len(result.returndata)} bytes instead of {count * _WORD}")
    return result.returndata


def unsigned(word: int, bits: int, what: str) -> int:
    """Raises `QuoteError` when it does not fit its type: no contract answers that."""
    if word >> bits:
        raise QuoteError(f"{what}: {word:#x} does not fit {bits} bits")
    return word


def signed(word: int, bits: int, what: str) -> int:
    """The number that a sign-extended word stands for. Raises `QuoteError` when it does not fit its type."""
    number = word - (1 << 256) if word >> 255 else word
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise QuoteError(f"{what}: {number} does not fit {bits} bits")
    return number


def address_of(word: int, what: str) -> Address:
    return Address(unsigned(word, 160, what).to_bytes(20, "big"))
