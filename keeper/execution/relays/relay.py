"""One relay: what it is asked, and what its answer is worth. Whatever it says, only the chain tells what was mined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eth_utils.crypto import keccak

from keeper.core.errors import ChainError, MethodUnavailable, RateLimited, RpcFailure
from keeper.core.order import Answer
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.answers import judge_answer
from keeper.execution.rpc import Rpc

_ABOUT_SIGNATURE = re.compile(r"signature|unauthori[sz]ed|forbidden|HTTP 40[13]", re.IGNORECASE)
_TURNED_AWAY = re.compile(r"HTTP 40[013]\b")


class RelayMethod(StrEnum):
    """How orders are offered. Stable names: the configuration has them."""

    BUNDLE = "bundle"
    """`eth_sendBundle`: for one block at a time, all of its transactions or none, and none that reverts."""
    PRIVATE = "private"
    """`eth_sendPrivateTransaction`: the relay keeps trying by itself until a last block."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What one relay said."""

    answer: Answer
    detail: str = ""


class Relay:
    """`rpc` signs each request by the key of `reputation`, and its errors name the relay without its URL's secrets."""

    def __init__(self, rpc: Rpc, label: str, method: RelayMethod, reputation: Address) -> None:
        self.label = label
        self.method = method
        self._rpc = rpc
        self._reputation = reputation

    async def offer(self, transactions: Sequence[bytes], target_block: int, last_block: int) -> Offered:
        """The last of the transactions, and whatever must stand before it in its block, for `target_block`; where the relay
        takes transactions one by one, for every block up to `last_block`."""
        name, asked = self._asked(transactions, target_block, last_block)
        try:
            answer = await self._rpc.request(name, [asked])
        except ChainError as error:
            return self._judged(error, Hash32(keccak(transactions[-1])))
        if self.method is RelayMethod.PRIVATE and answer != to_hex(keccak(transactions[-1])):
            return Offered(
                Answer.UNKNOWN, f"{self.label}: {name} was answered with another hash than the transaction's"
            )
        # What the hash of a bundle is, relays do not agree on.
        return Offered(Answer.ACCEPTED)

    def _asked(self, transactions: Sequence[bytes], target_block: int, last_block: int) -> tuple[str, dict[str, Any]]:
        if self.method is RelayMethod.BUNDLE:
            return "eth_sendBundle", {"txs": [to_hex(each) for each in transactions], "blockNumber": hex(target_block)}
        return "eth_sendPrivateTransaction", {"tx": to_hex(transactions[-1]), "maxBlockNumber": hex(last_block)}

    def _judged(self, error: ChainError, transaction_hash: Hash32) -> Offered:
        """A relay's word that it did not take it decides what is told and offered again. It has the bytes all the same."""
        text = str(error)
        if judge_answer(error, transaction_hash) is Answer.ACCEPTED:
            return Offered(Answer.ACCEPTED)
        refused = isinstance(error, RpcFailure | MethodUnavailable | RateLimited)
        if not refused and not _TURNED_AWAY.search(text):
            return Offered(Answer.UNKNOWN, text)
        if _ABOUT_SIGNATURE.search(text):
            text = f"{text}: it rejects the signature of the reputation key {to_hex(self._reputation)}"
        return Offered(Answer.REFUSED, text)
