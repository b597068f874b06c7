"""What may be signed, whoever asks; and a check of what the signer gave back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from eth_utils.crypto import keccak

from keeper.core.errors import Defect
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.signer import NO_TARGET, SignedTransaction, Signer, TransactionFields
from keeper.execution.tokens import APPROVE

CANCEL_GAS = 21_000
"""What a plain transfer takes, and so the transfer of nothing to ourselves that cancels another transaction of its nonce."""


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """`calls` with their allowed selectors, `approve(spender, …)` of `approvals`, the creation of known contracts, and the
    cancelling of a nonce; nothing else.

    A refusal is a `Defect`: admission must never let such a transaction come this far."""

    chain_id: int
    calls: Mapping[Address, frozenset[bytes]]
    """The first four calldata bytes that each contract may be called with."""
    approvals: Mapping[Address, frozenset[Address]]
    """For each token, who may be given an allowance."""
    max_fee_cap_wei: int
    gas_limit_cap: int = 15_000_000
    creations: frozenset[Hash32] = frozenset()
    """keccak-256 of each init code, constructor arguments included, that may be deployed."""

    def check(self, fields: TransactionFields, signer: Address) -> None:
        """Raises `Defect` naming the first rule that `fields` of `signer` breaks."""
        if fields.chain_id != self.chain_id:
            raise Defect(f"signing for chain {fields.chain_id} was asked of a signer for chain {self.chain_id}")
        if fields.nonce < 0:
            raise Defect(f"a nonce cannot be {fields.nonce}")
        if not 0 < fields.max_fee_wei <= self.max_fee_cap_wei:
            raise Defect(f"a fee of {fields.max_fee_wei} wei per gas is not within the cap of {self.max_fee_cap_wei}")
        if not 0 <= fields.priority_fee_wei <= fields.max_fee_wei:
            raise Defect(f"a priority fee of {fields.priority_fee_wei} wei exceeds the fee of {fields.max_fee_wei}")
        if not 0 < fields.gas_limit <= self.gas_limit_cap:
            raise Defect(f"a gas limit of {fields.gas_limit} is not within the cap of {self.gas_limit_cap}")
        if not (
            self._is_allowed_call(fields)
            or self._is_approval(fields)
            or self._is_creation(fields)
            or _is_cancel(fields, signer)
        ):
            selector = to_hex(fields.call.calldata[:4])
            raise Defect(f"a call of {selector} on {to_hex(fields.call.target)} is not among those that may be signed")

    def _is_allowed_call(self, fields: TransactionFields) -> bool:
        return fields.call.calldata[:4] in self.calls.get(fields.call.target, frozenset())

    def _is_approval(self, fields: TransactionFields) -> bool:
        spenders = self.approvals.get(fields.call.target, frozenset())
        calldata = fields.call.calldata
        return (
            len(calldata) == 68
            and calldata[:4] == APPROVE
            and calldata[4:16] == bytes(12)
            and Address(calldata[16:36]) in spenders
        )

    def _is_creation(self, fields: TransactionFields) -> bool:
        return fields.call.target == NO_TARGET and Hash32(keccak(fields.call.calldata)) in self.creations


def _is_cancel(fields: TransactionFields, signer: Address) -> bool:
    return fields.call.target == signer and fields.call.calldata == b"" and fields.gas_limit == CANCEL_GAS


class GuardedSigner:
    """A signer behind its policy."""

    def __init__(self, signer: Signer, policy: SigningPolicy) -> None:
        self._signer = signer
        self._policy = policy

    @property
    def address(self) -> Address:
        return self._signer.address

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        """Raises `Defect` for what the policy forbids, and when the signed bytes say anything but `fields` or are not signed
        by this very key; `Refused` when there is no signature to be had now."""
        self._policy.check(fields, self.address)
        signed = await self._signer.sign_transaction(fields)
        decoded = decode_signed(signed.raw)
        if decoded.fields != fields:
            changed = ", ".join(_changes(fields, decoded.fields))
            raise Defect(f"the signer returned another transaction than was asked for: {changed}")
        if decoded.hash != signed.hash:
            raise Defect("the signer returned another hash than that of its transaction")
        if decoded.sender != self.address:
            raise Defect(f"the signature is not that of {to_hex(self.address)}")
        return signed


def _changes(asked: TransactionFields, returned: TransactionFields) -> list[str]:
    """Every field that differs; a call's by its target or by its calldata."""
    named = {
        field.name: (getattr(asked, field.name), getattr(returned, field.name)) for field in dataclasses.fields(asked)
    }
    del named["call"]
    named["target"] = to_hex(asked.call.target), to_hex(returned.call.target)
    changes = [f"{name} {got} instead of {wanted}" for name, (wanted, got) in named.items() if got != wanted]
    return changes + (["other calldata"] if asked.call.calldata != returned.call.calldata else [])
