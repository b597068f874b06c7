"""Calldata and return data as 32-byte words. Whatever is not exactly what was asked for is `MalformedResponse`."""

from __future__ import annotations

from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.units import Address

WORD = 32
_ADDRESS_PADDING = bytes(12)


def call(target: Address, selector: bytes, *arguments: int | bytes) -> Call:
    """A call whose arguments each take one word: numbers, booleans and addresses."""
    return Call(target, selector + b"".join(encode_word(argument) for argument in arguments))


def encode_word(argument: int | bytes) -> bytes:
    if isinstance(argument, bytes):
        return argument.rjust(WORD, b"\0")
    return argument.to_bytes(WORD, "big")


def words(result: CallResult, count: int, what: str) -> tuple[int, ...]:
    """Return data of exactly `count` words. Raises `MalformedResponse` for a revert and for any other length."""
    if not result.ok:
        raise MalformedResponse(f"{what}: the call reverted")
    return split(result.returndata, count, what)


def split(content: bytes, count: int, what: str) -> tuple[int, ...]:
    if len(content) != count * WORD:
        raise MalformedResponse(f"{what}: {len(content)} bytes instead of {count * WORD}")
    return tuple(int.from_bytes(content[i : i + WORD], "big") for i in range(0, len(content), WORD))


def bounded(number: int, bits: int, what: str) -> int:
    """`number` itself. Raises `MalformedResponse` when it does not fit its type: no contract answers that."""
    if number >> bits:
        raise MalformedResponse(f"{what}: {number:#x} does not fit {bits} bits")
    return number


def to_address(word: int, what: str) -> Address:
    return Address(bounded(word, 160, what).to_bytes(20, "big"))


def to_bool(word: int, what: str) -> bool:
    return bool(bounded(word, 1, what))


def address_result(result: CallResult, what: str) -> Address:
    return to_address(words(result, 1, what)[0], what)


def address_list(result: CallResult, what: str) -> list[Address]:
    """A returned `address[]`: offset 32, length, then the items."""
    if not result.ok:
        raise MalformedResponse(f"{what}: the call reverted")
    content = result.returndata
    count = int.from_bytes(content[WORD : 2 * WORD], "big")
    if len(content) < 2 * WORD or int.from_bytes(content[:WORD], "big") != WORD or count > len(content):
        raise MalformedResponse(f"{what}: not an address list")
    return [to_address(word, what) for word in split(content[2 * WORD :], count, what)]


def topic_address(topic: bytes, what: str) -> Address:
    """An indexed address."""
    if len(topic) != WORD or not topic.startswith(_ADDRESS_PADDING):
        raise MalformedResponse(f"{what}: {topic.hex()} is no address")
    return Address(topic[12:])


def text_result(result: CallResult) -> str | None:
    """A name for people, as `string` or as the `bytes32` of older tokens; None when it is neither."""
    content = result.returndata
    if not result.ok or len(content) < WORD:
        return None
    if len(content) > WORD:
        length = int.from_bytes(content[WORD : 2 * WORD], "big")
        content = content[2 * WORD :][: min(length, WORD)]
    try:
        text = content.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and text else None
