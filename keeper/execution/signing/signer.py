"""What a signer is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from keeper.core.block import Call
from keeper.core.errors import Refused
from keeper.core.units import Address, Hash32, to_hex

NO_TARGET = Address(b"")
"""Stands where a call has its target: the transaction creates a contract, and the calldata is its init code."""


@dataclass(frozen=True, slots=True)
class TransactionFields:
    """An EIP-1559 transaction that carries no native coin (`value` is 0 and cannot be otherwise)."""

    chain_id: int
    nonce: int
    call: Call
    gas_limit: int
    max_fee_wei: int
    priority_fee_wei: int


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Bytes ready to send, and the hash under which the network will know them."""

    raw: bytes
    hash: Hash32


class Signer(Protocol):
    @property
    def address(self) -> Address: ...

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        """Raises `Refused` when there is no signature to be had now; nothing was sent."""
        ...


@dataclass(frozen=True, slots=True)
class NobodySigns:
    """`Signer` whose key is not to be had: what it signed before can be followed, and nothing is added."""

    address: Address

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        raise Refused(f"nobody signs for {to_hex(self.address)} here")
