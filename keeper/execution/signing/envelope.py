"""The bytes of an EIP-1559 transaction: what is to be signed, and reading back what was, without the code that signed it."""

from __future__ import annotations

from dataclasses import dataclass

import rlp  # type: ignore[import-untyped]
from coincurve import PublicKey
from eth_utils.crypto import keccak

from keeper.core.block import Call
from keeper.core.errors import Defect
from keeper.core.units import Address, Hash32
from keeper.execution.signing.signer import NO_TARGET, SignedTransaction, TransactionFields

DYNAMIC_FEE_TYPE = 0x02
GROUP_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Of secp256k1."""
HIGHEST_S = GROUP_ORDER // 2
"""Of two signatures of one digest only the one with the low s is valid on chain (EIP-2)."""


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    fields: TransactionFields
    sender: Address
    hash: Hash32


def signing_digest(fields: TransactionFields) -> bytes:
    """The 32 bytes that a key signs."""
    return keccak(_typed(_items(fields)))


def assemble(fields: TransactionFields, parity: int, r: int, s: int) -> SignedTransaction:
    """The transaction with its signature, ready to send."""
    raw = _typed([*_items(fields), _bytes_of(parity), _bytes_of(r), _bytes_of(s)])
    return SignedTransaction(raw, Hash32(keccak(raw)))


def address_of(key: PublicKey) -> Address:
    return Address(keccak(key.format(compressed=False)[1:])[-20:])


def recover(digest: bytes, parity: int, r: int, s: int) -> Address:
    """Whose signature of `digest` this is. Raises `ValueError` when it is nobody's."""
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
    return address_of(PublicKey.from_signature_and_message(signature, digest, hasher=None))


def decode_signed(raw: bytes) -> SignedEnvelope:
    """Raises `Defect` on anything but an EIP-1559 transaction with value 0 and an empty access list, in the one spelling and
    with the one signature (low s) that the network takes."""
    if raw[:1] != bytes([DYNAMIC_FEE_TYPE]):
        raise Defect("the signed bytes are no EIP-1559 transaction")
    try:
        *unsigned, parity, r, s = rlp.decode(raw[1:])
        chain_id, nonce, priority_fee, max_fee, gas_limit, target, value, calldata, access_list = unsigned
        signature = _number(parity), _number(r), _number(s)
        sender = recover(keccak(_typed(unsigned)), *signature)
    except (rlp.exceptions.RLPException, ValueError, TypeError, OverflowError):
        raise Defect("the signed bytes do not decode") from None
    if value != b"" or access_list != []:
        raise Defect("the signed transaction carries native coin or an access list")
    if not isinstance(target, bytes) or len(target) not in (len(NO_TARGET), 20):
        raise Defect("the signed transaction goes to no address")
    if not isinstance(calldata, bytes):
        raise Defect("the signed bytes do not decode")
    fields = TransactionFields(
        chain_id=_number(chain_id),
        nonce=_number(nonce),
        call=Call(Address(target), calldata),
        gas_limit=_number(gas_limit),
        max_fee_wei=_number(max_fee),
        priority_fee_wei=_number(priority_fee),
    )
    if signature[2] > HIGHEST_S:
        raise Defect("the signature has the high s, which no network takes")
    if assemble(fields, *signature).raw != raw:
        raise Defect("the signed bytes are spelt in another way than the network's")
    return SignedEnvelope(fields, sender, Hash32(keccak(raw)))


def _items(fields: TransactionFields) -> list[object]:
    return [
        _bytes_of(fields.chain_id),
        _bytes_of(fields.nonce),
        _bytes_of(fields.priority_fee_wei),
        _bytes_of(fields.max_fee_wei),
        _bytes_of(fields.gas_limit),
        bytes(fields.call.target),
        b"",
        fields.call.calldata,
        [],
    ]


def _typed(items: list[object]) -> bytes:
    return bytes([DYNAMIC_FEE_TYPE]) + bytes(rlp.encode(items))


def _bytes_of(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _number(item: bytes) -> int:
    return int.from_bytes(item, "big")
