"""What may be signed, and that what comes back is what was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from keeper.core.block import Call
from keeper.core.errors import Defect
from keeper.core.units import Address, Hash32
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.policy import CANCEL_GAS, GuardedSigner, SigningPolicy
from keeper.execution.signing.signer import NO_TARGET, SignedTransaction, TransactionFields
from keeper.execution.tokens import approve
from tests.unit.execution.fakes import CHAIN_ID, LIQUIDATE, POOL, TOKEN, signer

STRANGER = Address(b"\x66" * 20)
INIT_CODE = bytes.fromhex("600160005500")
POLICY = SigningPolicy(
    chain_id=CHAIN_ID,
    calls={POOL: frozenset({LIQUIDATE})},
    approvals={TOKEN: frozenset({POOL})},
    max_fee_cap_wei=100,
    creations=frozenset({Hash32(keccak(INIT_CODE))}),
)
ALLOWED = TransactionFields(
    chain_id=CHAIN_ID,
    nonce=0,
    call=Call(POOL, LIQUIDATE + bytes(160)),
    gas_limit=500_000,
    max_fee_wei=100,
    priority_fee_wei=2,
)
CANCEL = replace(ALLOWED, call=Call(signer().address, b""), gas_limit=CANCEL_GAS)


def guarded() -> GuardedSigner:
    return GuardedSigner(signer(), POLICY)


async def test_a_liquidation_and_a_bounded_approval_may_be_signed() -> None:
    approval = replace(ALLOWED, call=approve(TOKEN, POOL, 10**18))
    assert (await guarded().sign_transaction(ALLOWED)).raw[0] == 2
    assert (await guarded().sign_transaction(approval)).raw[0] == 2
    assert guarded().address == signer().address


@pytest.mark.parametrize("call", [CANCEL.call, Call(NO_TARGET, INIT_CODE)])
async def test_a_cancel_and_a_known_creation_may_be_signed(call: Call) -> None:
    signed = await guarded().sign_transaction(replace(CANCEL, call=call))
    assert decode_signed(signed.raw).fields.call == call


@pytest.mark.parametrize(
    "fields, words",
    [
        (replace(ALLOWED, chain_id=1), "chain 1"),
        (replace(ALLOWED, nonce=-1), "nonce"),
        (replace(ALLOWED, max_fee_wei=101), "cap of 100"),
        (replace(ALLOWED, max_fee_wei=0), "cap of 100"),
        (replace(ALLOWED, priority_fee_wei=101), "priority fee"),
        (replace(ALLOWED, gas_limit=15_000_001), "gas limit"),
        (replace(ALLOWED, gas_limit=0), "gas limit"),
        (replace(ALLOWED, call=Call(POOL, b"")), "may be signed"),
        (replace(ALLOWED, call=Call(POOL, bytes.fromhex("69328dec") + bytes(96))), "0x69328dec"),
        (replace(ALLOWED, call=Call(STRANGER, LIQUIDATE + bytes(160))), "may be signed"),
        (replace(ALLOWED, call=approve(TOKEN, STRANGER, 1)), "may be signed"),
        (replace(ALLOWED, call=approve(STRANGER, POOL, 1)), "may be signed"),
        (replace(ALLOWED, call=Call(TOKEN, approve(TOKEN, POOL, 1).calldata + b"\0")), "may be signed"),
        (replace(ALLOWED, call=Call(TOKEN, bytes.fromhex("a9059cbb") + bytes(64))), "0xa9059cbb"),
        (replace(ALLOWED, call=Call(POOL, approve(TOKEN, POOL, 1).calldata)), "may be signed"),
        (replace(CANCEL, gas_limit=21_001), "may be signed"),
        (replace(CANCEL, call=Call(STRANGER, b"")), "may be signed"),
        (replace(CANCEL, call=Call(signer().address, b"\0")), "may be signed"),
        (replace(ALLOWED, call=Call(NO_TARGET, b"")), "may be signed"),
        (replace(ALLOWED, call=Call(NO_TARGET, INIT_CODE + b"\0")), "may be signed"),
        (replace(ALLOWED, call=Call(NO_TARGET, LIQUIDATE)), "may be signed"),
    ],
)
async def test_anything_else_is_a_defect(fields: TransactionFields, words: str) -> None:
    with pytest.raises(Defect, match=words):
        await guarded().sign_transaction(fields)


class Crooked:
    """A signer that signs something else."""

    def __init__(self, change: str) -> None:
        self._change = change
        self.address = STRANGER if self._change == "address" else signer().address

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        if self._change == "nonce":
            fields = replace(fields, nonce=fields.nonce + 1)
        signed = await signer().sign_transaction(fields)
        if self._change == "hash":
            return replace(signed, hash=Hash32(bytes(32)))
        return replace(signed, raw=b"\x02\xc0") if self._change == "garbage" else signed


@pytest.mark.parametrize(
    "change, words",
    [
        ("nonce", "another transaction"),
        ("hash", "another hash"),
        ("address", "not that of"),
        ("garbage", "do not decode"),
    ],
)
async def test_what_comes_back_is_checked(change: str, words: str) -> None:
    with pytest.raises(Defect, match=words):
        await GuardedSigner(Crooked(change), POLICY).sign_transaction(ALLOWED)
