"""Reading signed bytes back: held against the library that signs."""

from __future__ import annotations

import asyncio

import pytest
import rlp  # type: ignore[import-untyped]
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.block import Call
from keeper.core.errors import Defect
from keeper.core.units import Address
from keeper.execution.signing.envelope import GROUP_ORDER, decode_signed
from keeper.execution.signing.keystore import KeystoreSigner
from keeper.execution.signing.signer import NO_TARGET, TransactionFields

NUMBERS = st.integers(0, 2**64 - 1)


@given(
    key=st.binary(min_size=31, max_size=31).map(lambda tail: b"\x01" + tail),
    chain_id=st.integers(1, 2**53),
    nonce=NUMBERS,
    target=st.binary(min_size=20, max_size=20),
    calldata=st.binary(max_size=200),
    gas_limit=st.integers(21_000, 2**32),
    fee=st.integers(0, 2**63),
)
async def test_every_field_and_the_sender_come_back(
    key: bytes, chain_id: int, nonce: int, target: bytes, calldata: bytes, gas_limit: int, fee: int
) -> None:
    fields = TransactionFields(chain_id, nonce, Call(Address(target), calldata), gas_limit, fee + 7, fee)
    signer = KeystoreSigner(Account.from_key(key))
    signed = await signer.sign_transaction(fields)
    decoded = decode_signed(signed.raw)
    assert (decoded.fields, decoded.sender, decoded.hash) == (fields, signer.address, signed.hash)
    library = Account.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": target,
            "value": 0,
            "data": calldata,
            "gas": gas_limit,
            "maxFeePerGas": fee + 7,
            "maxPriorityFeePerGas": fee,
            "accessList": [],
        },
        key,
    )
    assert (signed.raw, signed.hash) == (bytes(library.raw_transaction), bytes(library.hash))


def _with(field: int, item: object) -> bytes:
    fields = TransactionFields(1, 0, Call(Address(b"\x50" * 20), b""), 21_000, 2, 1)
    raw = asyncio.run(KeystoreSigner(Account.from_key(b"\x11" * 32)).sign_transaction(fields)).raw
    items = rlp.decode(raw[1:])
    items[field] = item
    return b"\x02" + bytes(rlp.encode(items))


def test_a_creation_has_no_target() -> None:
    decoded = decode_signed(_with(5, b""))
    assert decoded.fields.call == Call(NO_TARGET, b"")


def test_the_second_signature_of_the_same_digest_is_refused() -> None:
    """Whoever sees a transaction could make it: same sender, same fields, another hash."""
    raw = _with(6, b"")
    *unsigned, parity, r, s = rlp.decode(raw[1:])
    high = (GROUP_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
    other = b"\x02" + bytes(rlp.encode([*unsigned, b"" if parity else b"\x01", r, high]))
    with pytest.raises(Defect, match="high s"):
        decode_signed(other)
    assert decode_signed(raw).fields.nonce == 0


@pytest.mark.parametrize(
    "raw, words",
    [
        (b"", "no EIP-1559"),
        (b"\x01\xc0", "no EIP-1559"),
        (b"\x02", "do not decode"),
        (b"\x02\xc0", "do not decode"),
        (b"\x02\x80", "do not decode"),
        (b"\x02\xc0\x00", "do not decode"),
        (_with(1, b"\0"), "spelt in another way"),
        (_with(4, b"\0\x52\x08"), "spelt in another way"),
        (_with(5, b"\x50" * 19), "to no address"),
        (_with(5, []), "to no address"),
        (_with(7, []), "do not decode"),
        (_with(9, b"\x02"), "do not decode"),
        (_with(11, b"\xff" * 40), "do not decode"),
        (_with(6, b"\x01"), "native coin"),
        (_with(8, [[b"\x50" * 20, []]]), "access list"),
    ],
)
def test_other_bytes_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(Defect, match=words):
        decode_signed(raw)
