"""A key behind another program that speaks JSON-RPC, such as web3signer: it is told the transaction and returns its bytes."""

from __future__ import annotations

from typing import Any

from eth_utils.crypto import keccak

from keeper.core.errors import ChainError, ConfigError, Defect, MethodUnavailable, Refused
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.rpc import Rpc
from keeper.execution.signing.signer import NO_TARGET, SignedTransaction, TransactionFields


class RemoteSigner:
    """Believes nothing of what comes back: that is `GuardedSigner`'s to check. `label` names the remote in messages without
    its URL's secrets, and so must `rpc`."""

    def __init__(self, rpc: Rpc, address: Address, label: str) -> None:
        self._rpc = rpc
        self._label = label
        self.address = address

    def __repr__(self) -> str:
        return f"RemoteSigner({to_hex(self.address)} at {self._label})"

    async def check(self) -> None:
        """Raises `ConfigError` when the remote says that it has no such key; `ChainError` when it says nothing."""
        try:
            accounts = await self._rpc.request("eth_accounts")
        except MethodUnavailable:
            return  # it need not tell; the first signature shows
        if not isinstance(accounts, list) or to_hex(self.address) not in [str(each).lower() for each in accounts]:
            raise ConfigError(f"the remote signer at {self._label} has no key for {to_hex(self.address)}")

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        """Raises `Refused` when the remote does not answer or says no; `Defect` for an answer that is no bytes."""
        try:
            answer = await self._rpc.request("eth_signTransaction", [_asked(fields, self.address)])
        except ChainError as error:
            refusal = Refused(f"the remote signer gave no signature: {error}")
        else:
            raw = _raw(answer)
            if raw is None:
                raise Defect(
                    f"the remote signer at {self._label} answered with something else than a signed transaction"
                )
            return SignedTransaction(raw, Hash32(keccak(raw)))
        raise refusal


def _asked(fields: TransactionFields, signer: Address) -> dict[str, Any]:
    asked = {
        "from": to_hex(signer),
        "chainId": hex(fields.chain_id),
        "nonce": hex(fields.nonce),
        "value": "0x0",
        "data": to_hex(fields.call.calldata),
        "gas": hex(fields.gas_limit),
        "maxFeePerGas": hex(fields.max_fee_wei),
        "maxPriorityFeePerGas": hex(fields.priority_fee_wei),
    }
    return asked if fields.call.target == NO_TARGET else {**asked, "to": to_hex(fields.call.target)}


def _raw(answer: object) -> bytes | None:
    """The bytes alone (web3signer), or beside the decoded transaction (geth's form)."""
    if isinstance(answer, dict):
        answer = answer.get("raw")
    if not isinstance(answer, str) or not answer.startswith("0x"):
        return None
    try:
        return bytes.fromhex(answer[2:])
    except ValueError:
        return None
