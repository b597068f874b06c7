"""The few ERC-20 calls that this room makes, and the words they answer with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.units import Address

BALANCE_OF = bytes.fromhex("70a08231")
ALLOWANCE = bytes.fromhex("dd62ed3e")
APPROVE = bytes.fromhex("095ea7b3")
DECIMALS = bytes.fromhex("313ce567")
MOST_DECIMALS = 77
"""10 ** 78 no longer fits a word."""

Read = Callable[[Sequence[Call], BlockRef], Awaitable[Sequence[CallResult]]]


def encode_balance_of(account: Address) -> bytes:
    return BALANCE_OF + account.rjust(32, b"\0")


def encode_allowance(owner: Address, spender: Address) -> bytes:
    return ALLOWANCE + owner.rjust(32, b"\0") + spender.rjust(32, b"\0")


def approve(token: Address, spender: Address, amount_raw: int) -> Call:
    return Call(token, APPROVE + spender.rjust(32, b"\0") + amount_raw.to_bytes(32, "big"))


def decode_amount_raw(result: CallResult, what: str) -> int:
    """One word. Raises `MalformedResponse` on a revert or short data: an unread balance is not 0."""
    if not result.ok or len(result.returndata) < 32:
        raise MalformedResponse(f"{what} could not be read")
    return int.from_bytes(result.returndata[:32], "big")


async def read_decimals(read: Read, tokens: Sequence[Address], block: BlockRef) -> Mapping[Address, int]:
    """What each token says of itself. One that says nothing, or nonsense, is left out: the others do not depend on it."""
    answers = await read([Call(token, DECIMALS) for token in tokens], block)
    found = {}
    for token, answer in zip(tokens, answers, strict=True):
        if answer.ok and len(answer.returndata) >= 32:
            decimals = decode_amount_raw(answer, "decimals")
            if decimals <= MOST_DECIMALS:
                found[token] = decimals
    return found
