"""What a node's answer to `eth_sendRawTransaction` proves. Pure.

Node software agrees on no error codes here, so the texts decide; what we do not recognise proves nothing.
"""

from __future__ import annotations

from keeper.core.errors import ChainError, MethodUnavailable, RpcFailure
from keeper.core.order import Answer
from keeper.core.units import Hash32, to_hex

ALREADY_THERE = ("already known", "known transaction", "already imported", "already exists", "already in mempool")
"""It had reached the node before."""

NONCE_USED = ("nonce too low", "nonce is too low", "invalid nonce", "old nonce", "nonce has already been used")
"""Refused now; but if our own bytes got there by another way, it is them that used the nonce."""

NOT_ACCEPTED = (
    "insufficient funds",
    "intrinsic gas too low",
    "underpriced",
    "fee too low",
    "max fee per gas less than block base fee",
    "maxfeepergas cannot be lower",
    "tip higher than fee cap",
    "priority fee per gas higher than max fee per gas",
    "gas limit reached",
    "exceeds block gas limit",
    "gas limit is too high",
    "gas limit too high",
    "fee exceeds",
    "exceeds the configured cap",
    "nonce too high",
    "txpool is full",
    "transaction pool is full",
    "invalid sender",
    "invalid chain id",
    "incorrect chain id",
    "chain id mismatch",
    "transaction type not supported",
    "rejected transaction",
    "oversized data",
    "in-flight transaction limit",
)


class TurnedAway(RpcFailure):
    """Refused by others than a node: they have its bytes, and may have it mined all the same."""


def judge_answer(answer: object, transaction_hash: Hash32) -> Answer:
    """`answer` is the result, or the error that came instead of one.

    ACCEPTED and REFUSED are proven; UNKNOWN is everything else: no answer, a broken one, another hash, a text that we do
    not know. A used nonce is UNKNOWN here: whether it was used by these very bytes must be looked up.
    """
    if isinstance(answer, MethodUnavailable):
        return Answer.REFUSED
    if isinstance(answer, RpcFailure):
        text = str(answer).lower()
        if any(phrase in text for phrase in ALREADY_THERE):
            return Answer.ACCEPTED
        if any(phrase in text for phrase in NONCE_USED):
            return Answer.UNKNOWN
        return Answer.REFUSED if any(phrase in text for phrase in NOT_ACCEPTED) else Answer.UNKNOWN
    if isinstance(answer, ChainError):
        return Answer.UNKNOWN
    return Answer.ACCEPTED if answer == to_hex(transaction_hash) else Answer.UNKNOWN


def says_nonce_used(answer: object) -> bool:
    """Whether the node refused because the nonce is in a block already."""
    return isinstance(answer, RpcFailure) and any(phrase in str(answer).lower() for phrase in NONCE_USED)
