"""The key under which relays know us. It never holds money and signs requests only, never a transaction."""

from __future__ import annotations

from eth_account.messages import encode_defunct
from eth_account.signers.base import BaseAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.core.units import Address, to_hex

HEADER = "X-Flashbots-Signature"


class ReputationKey:
    """Shows nothing of the key: neither printed nor compared."""

    __slots__ = ("_account", "address")

    def __init__(self, account: BaseAccount) -> None:
        self._account = account
        self.address = Address(bytes.fromhex(account.address[2:]))

    def headers(self, body: bytes) -> dict[str, str]:
        """What proves that a request with exactly this body is ours: address and a signature over its hash, as text."""
        digest = encode_defunct(text=to_hex(keccak(body)))
        signature = bytes(self._account.sign_message(digest).signature)
        return {HEADER: f"{to_checksum_address(self.address)}:{to_hex(signature)}"}

    def __repr__(self) -> str:
        return f"ReputationKey({to_hex(self.address)})"
