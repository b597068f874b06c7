"""Stand-ins for what holds a key elsewhere, over real HTTP with a real key: they sign, and they do everything that they
should not."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from coincurve import PrivateKey
from eth_account import Account

from keeper.core.block import Call
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.execution.signing.der import decode_signature
from keeper.execution.signing.envelope import GROUP_ORDER, assemble, signing_digest
from keeper.execution.signing.signer import NO_TARGET, TransactionFields

KEY = bytes.fromhex("11" * 32)
OTHER_KEY = bytes.fromhex("22" * 32)
ADDRESS = address_from_hex(Account.from_key(KEY).address)
CANARY = "canary-4d1f0b77"
"""Stands for everything secret: it may be in a request, and nowhere else."""


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The URL of a loopback server."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# -- a remote signer ---------------------------------------------------------------------------------------------------

TAMPERED = {
    "target": lambda fields: replace(fields, call=Call(Address(b"\x66" * 20), fields.call.calldata)),
    "calldata": lambda fields: replace(fields, call=Call(fields.call.target, fields.call.calldata + b"\0")),
    "nonce": lambda fields: replace(fields, nonce=fields.nonce + 1),
    "chain_id": lambda fields: replace(fields, chain_id=1),
    "max_fee_wei": lambda fields: replace(fields, max_fee_wei=fields.max_fee_wei + 1),
    "priority_fee_wei": lambda fields: replace(fields, priority_fee_wei=fields.priority_fee_wei + 1),
    "gas_limit": lambda fields: replace(fields, gas_limit=fields.gas_limit + 1),
}


@dataclass
class RemoteStand:
    """`eth_signTransaction` and `eth_accounts` for one key. `does` says what else than its duty."""

    does: str = ""
    key: bytes = KEY
    accounts: list[str] | None = None
    """Default: the key's."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path_qs)
        body = await request.json()
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
        if self.does == "delays":
            await asyncio.sleep(30)
        if self.does == "forbids":
            return web.Response(status=403, text=f"no entry for {request.path_qs}")
        if self.does == "html":
            return web.Response(text=f"<html>{request.path_qs}</html>", content_type="text/html")
        if self.does == "refuses":
            reply["error"] = {"code": -32009, "message": f"from is not unlocked, said {request.path_qs}"}
        elif body["method"] == "eth_accounts":
            own = Account.from_key(self.key).address.lower()
            reply["result"] = [own] if self.accounts is None else self.accounts
        else:
            self.asked.append(body["params"][0])
            reply["result"] = self._signed(fields_of(body["params"][0]))
        return web.json_response(reply)

    def _signed(self, fields: TransactionFields) -> Any:
        if self.does == "garbage":
            return {"signature": "none"}
        if self.does == "odd_hex":
            return "0x123"
        if self.does == "other_bytes":
            return "0x02c0"
        if self.does == "value":
            return to_hex(_with_value(fields))
        if self.does == "legacy":
            return to_hex(_legacy(fields))
        key = OTHER_KEY if self.does == "other_key" else self.key
        raw = signed_by(key, TAMPERED[self.does](fields) if self.does in TAMPERED else fields, self.does == "high_s")
        return {"raw": to_hex(raw), "tx": {}} if self.does == "geth_form" else to_hex(raw)


def fields_of(asked: Mapping[str, str]) -> TransactionFields:
    target = address_from_hex(asked["to"]) if "to" in asked else NO_TARGET
    return TransactionFields(
        chain_id=int(asked["chainId"], 16),
        nonce=int(asked["nonce"], 16),
        call=Call(target, bytes.fromhex(asked["data"][2:])),
        gas_limit=int(asked["gas"], 16),
        max_fee_wei=int(asked["maxFeePerGas"], 16),
        priority_fee_wei=int(asked["maxPriorityFeePerGas"], 16),
    )


def signed_by(key: bytes, fields: TransactionFields, high_s: bool = False) -> bytes:
    """With `high_s` the other signature of the same digest by the same key."""
    signature = PrivateKey(key).sign_recoverable(signing_digest(fields), hasher=None)
    r, s, parity = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    return assemble(fields, 1 - parity, r, GROUP_ORDER - s).raw if high_s else assemble(fields, parity, r, s).raw


def _with_value(fields: TransactionFields) -> bytes:
    return _by_account(fields, {"type": 2, "value": 1} | _fees(fields))


def _legacy(fields: TransactionFields) -> bytes:
    return _by_account(fields, {"value": 0, "gasPrice": fields.max_fee_wei})


def _fees(fields: TransactionFields) -> dict[str, int]:
    return {"maxFeePerGas": fields.max_fee_wei, "maxPriorityFeePerGas": fields.priority_fee_wei}


def _by_account(fields: TransactionFields, more: Mapping[str, Any]) -> bytes:
    transaction = {
        "chainId": fields.chain_id,
        "nonce": fields.nonce,
        "to": bytes(fields.call.target),
        "data": fields.call.calldata,
        "gas": fields.gas_limit,
        **more,
    }
    return bytes(Account.from_key(KEY).sign_transaction(transaction).raw_transaction)


# -- AWS KMS -----------------------------------------------------------------------------------------------------------

SPKI_PREFIX = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a034200")


@dataclass
class KmsStand:
    """The two calls of KMS's JSON protocol that a signer needs. `does` says what else than its duty; `times` how often."""

    does: str = ""
    times: int = 1_000
    key: bytes = KEY
    targets: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        target = request.headers["X-Amz-Target"]
        body = json.loads(await request.read())
        self.targets.append(target)
        self.authorizations.append(request.headers["Authorization"])
        self.bodies.append(body)
        misbehaves = self.does != "" and self.times > 0
        if misbehaves:
            self.times -= 1
        if misbehaves and self.does.endswith("Exception"):
            return _aws(
                {"__type": self.does, "message": f"for {request.headers['Authorization']} {CANARY}"}, status=400
            )
        if misbehaves and self.does == "html":
            return web.Response(status=502, text=f"<html>{CANARY}</html>")
        if target == "TrentService.GetPublicKey":
            return _aws(self._public_key(body["KeyId"], self.does if misbehaves else ""))
        assert target == "TrentService.Sign"
        assert (body["MessageType"], body["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        der = _der_signature(self.key, base64.b64decode(body["Message"]), self.does if misbehaves else "")
        return _aws({"KeyId": body["KeyId"], "Signature": base64.b64encode(der).decode()})

    def _public_key(self, key_id: str, does: str) -> dict[str, Any]:
        point = PrivateKey(self.key).public_key.format(compressed=False)
        spki = {"bad_spki": b"\x30\x00", "off_curve": SPKI_PREFIX + point[:-1] + b"\0"}.get(does, SPKI_PREFIX + point)
        return {
            "KeyId": key_id,
            "KeySpec": "ECC_NIST_P256" if does == "other_curve" else "ECC_SECG_P256K1",
            "KeyUsage": "ENCRYPT_DECRYPT" if does == "other_usage" else "SIGN_VERIFY",
            "PublicKey": base64.b64encode(spki).decode(),
            "SigningAlgorithms": ["ECDSA_SHA_256"],
        }


def _aws(answer: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(answer), content_type="application/x-amz-json-1.1")


def _der_signature(key: bytes, digest: bytes, does: str) -> bytes:
    der = PrivateKey(OTHER_KEY if does == "other_key" else key).sign(digest, hasher=None)
    if does == "other_digest":
        der = PrivateKey(key).sign(bytes(32), hasher=None)
    if does == "high_s":
        r, s = decode_signature(der)
        return der_of(r, GROUP_ORDER - s)
    return {"malformed": der + b"\0", "empty": b"", "truncated": der[:-1]}.get(does, der)


def der_of(r: int, s: int) -> bytes:
    inner = b"".join(_der_integer(number) for number in (r, s))
    return bytes([0x30, len(inner)]) + inner


def _der_integer(number: int) -> bytes:
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes([0x02, len(content)]) + content
