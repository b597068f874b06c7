"""A key behind JSON-RPC: what it signs is taken only when it is what was asked for; why it does not is one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.block import Call
from keeper.core.errors import ConfigError, Defect, Refused, RpcUnreachable
from keeper.core.units import Address, to_hex
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.policy import GuardedSigner, SigningPolicy
from keeper.execution.signing.remote import RemoteSigner
from keeper.execution.signing.signer import TransactionFields
from tests.signing.stands import ADDRESS, CANARY, TAMPERED, RemoteStand, serving

POOL = Address(b"\x50" * 20)
SELECTOR = bytes.fromhex("00a718a9")
FIELDS = TransactionFields(31337, 7, Call(POOL, SELECTOR + bytes(160)), 500_000, 99, 2)
POLICY = SigningPolicy(31337, {POOL: frozenset({SELECTOR})}, {}, 100)


@asynccontextmanager
async def remote(stand: RemoteStand, timeout_s: float = 5.0) -> AsyncIterator[RemoteSigner]:
    async with serving(stand.app()) as url, JsonRpc(f"{url}/{CANARY}?key={CANARY}", timeout_s=timeout_s) as rpc:
        yield RemoteSigner(rpc, ADDRESS, rpc.label)


@pytest.mark.parametrize("does", ["", "geth_form"])
async def test_what_was_asked_for_comes_back_signed(does: str) -> None:
    stand = RemoteStand(does)
    async with remote(stand) as signer:
        await signer.check()
        signed = await GuardedSigner(signer, POLICY).sign_transaction(FIELDS)
    decoded = decode_signed(signed.raw)
    assert (decoded.fields, decoded.sender, decoded.hash) == (FIELDS, ADDRESS, signed.hash)
    assert stand.asked[0]["from"] == to_hex(ADDRESS)
    assert all(CANARY in path for path in stand.paths)


@pytest.mark.parametrize(
    "does, words",
    [
        *((field, "other calldata" if field == "calldata" else f"{field} ") for field in TAMPERED),
        ("value", "native coin"),
        ("legacy", "no EIP-1559"),
        ("other_key", "not that of"),
        ("high_s", "high s"),
        ("garbage", "something else"),
        ("odd_hex", "something else"),
        ("other_bytes", "do not decode"),
    ],
)
async def test_whatever_it_changes_is_a_defect_by_name(does: str, words: str) -> None:
    async with remote(RemoteStand(does)) as signer:
        with pytest.raises(Defect, match=words) as caught:
            await GuardedSigner(signer, POLICY).sign_transaction(FIELDS)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "does, words", [("refuses", "not unlocked"), ("forbids", "HTTP 403"), ("html", "no JSON"), ("delays", "in time")]
)
async def test_no_signature_is_a_refusal_in_one_line_without_the_secrets_of_its_url(does: str, words: str) -> None:
    async with remote(RemoteStand(does), timeout_s=0.3 if does == "delays" else 5.0) as signer:
        with pytest.raises(Refused, match=words) as caught:
            await GuardedSigner(signer, POLICY).sign_transaction(FIELDS)
    text = str(caught.value)
    assert "\n" not in text
    assert "http://127.0.0.1:" in text
    assert CANARY not in text + repr(signer) + repr(caught.value.__cause__) + repr(caught.value.__context__)


async def test_nobody_there_is_a_refusal() -> None:
    stand = RemoteStand()
    async with serving(stand.app()) as url:
        pass
    async with JsonRpc(f"{url}/{CANARY}") as rpc:
        with pytest.raises(Refused, match="no signature") as caught:
            await RemoteSigner(rpc, ADDRESS, rpc.label).sign_transaction(FIELDS)
        with pytest.raises(RpcUnreachable):
            await RemoteSigner(rpc, ADDRESS, rpc.label).check()
    assert CANARY not in str(caught.value)


async def test_a_forbidden_transaction_never_reaches_it() -> None:
    stand = RemoteStand()
    async with remote(stand) as signer:
        with pytest.raises(Defect, match="may be signed"):
            await GuardedSigner(signer, SigningPolicy(31337, {}, {}, 100)).sign_transaction(FIELDS)
    assert stand.asked == []


async def test_a_remote_without_the_configured_key_is_one_line() -> None:
    async with remote(RemoteStand(accounts=["0x" + "ab" * 20])) as signer:
        with pytest.raises(ConfigError, match=f"no key for {to_hex(ADDRESS)}") as caught:
            await signer.check()
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)
