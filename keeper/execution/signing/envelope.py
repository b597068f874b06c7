"""Reading a signed EIP-1559 transaction back from its bytes, without the code that signed it."""

from __future__ import annotations

from dataclasses import dataclass

import rlp  # type: ignore[import-untyped]
from coincurve import PublicKey
from eth_utils.crypto import keccak

from keeper.core.block import Call
from keeper.core.errors import Defect
from keeper.core.units import Address, Hash32
from keeper.execution.signing.signer import TransactionFields

DYNAMIC_FEE_TYPE = 0x02


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    fields: TransactionFields
    sender: Address
    hash: Hash32


def decode_signed(raw: bytes) -> SignedEnvelope:
    """Raises `Defect` on anything but an EIP-1559 transaction with value 0 and an empty access list."""
    if raw[:1] != bytes([DYNAMIC_FEE_TYPE]):
        raise Defect("the signed bytes are no EIP-1559 transaction")
    try:
        items = rlp.decode(raw[1:])
        *unsigned, parity, r, s = items
        chain_id, nonce, priority_fee, max_fee, gas_limit, target, value, calldata, access_list = unsigned
        signature = r.rjust(32, b"\0") + s.rjust(32, b"\0") + bytes([_number(parity)])
        digest = keccak(bytes([DYNAMIC_FEE_TYPE]) + rlp.encode(unsigned))
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)
    except (rlp.exceptions.RLPException, ValueError, TypeError):
        raise Defect("the signed bytes do not decode") from None
    if value != b"" or access_list != []:
        raise Defect("the signed transaction carries native coin or an access list")
    fields = TransactionFields(
        chain_id=_number(chain_id),
        nonce=_number(nonce),
        call=Call(Address(target), calldata),
        gas_limit=_number(gas_limit),
        max_fee_wei=_number(max_fee),
        priority_fee_wei=_number(priority_fee),
    )
    return SignedEnvelope(fields, Address(keccak(key[1:])[-20:]), Hash32(keccak(raw)))


def _number(item: bytes) -> int:
    return int.from_bytes(item, "big")
