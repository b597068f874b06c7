"""A relay on loopback, with a builder behind it that mines bundles on a real anvil: all of a bundle or nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from keeper.core.units import Hash32, to_hex
from keeper.execution.rpc import Rpc
from tests.signing.stands import CANARY, serving

HEADER = "X-Flashbots-Signature"


@dataclass
class LocalRelay:
    """Takes both ways of offering. `does` says what else than its duty."""

    does: str = ""
    known: str | None = None
    """Only this address may ask; None is anybody who signs well."""
    node: Rpc | None = None
    """Where a relay that reveals sends what it was given."""
    bundles: list[tuple[int, list[str]]] = field(default_factory=list)
    privates: list[tuple[int, str]] = field(default_factory=list)
    seen: list[tuple[str, list[str]]] = field(default_factory=list)
    """Every transaction that it was ever given, with the method."""
    signers: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        async with serving(app) as url:
            yield f"{url}/{CANARY}"

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.set()
        raw = await request.read()
        body = await request.json()
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
        signer = _signed_by(request.headers.get(HEADER, ""), raw)
        if signer is None or self.known not in (None, signer):
            reply["error"] = {"code": -32600, "message": "invalid signature header"}
            return web.json_response(reply)
        self.signers.append(signer)
        if self.does == "forbids":
            return web.Response(status=403, text=f"who are you? {request.path}")
        if self.does in ("refuses", "refuses_and_keeps"):
            if self.does == "refuses_and_keeps":
                self._kept(body["method"], body["params"][0], keeps=True)
            reply["error"] = {"code": -32000, "message": "bundle is too small"}
            return web.json_response(reply)
        if self.does == "drops":
            return web.json_response(reply | {"result": self._kept(body["method"], body["params"][0], keeps=False)})
        reply["result"] = self._kept(body["method"], body["params"][0], keeps=True)
        if self.does == "delays":
            await asyncio.sleep(30)
        if self.does == "html":
            return web.Response(text="<html>busy</html>", content_type="text/html")
        if self.does == "reveals":
            await self._reveal(body["params"][0])
        return web.json_response(reply)

    def _kept(self, method: str, asked: dict[str, Any], keeps: bool) -> Any:
        self.seen.append((method, asked.get("txs") or [asked["tx"]]))
        if method == "eth_sendBundle":
            if keeps:
                self.bundles.append((int(asked["blockNumber"], 16), asked["txs"]))
            return {"bundleHash": to_hex(keccak(b"another" if self.does == "other_hash" else b"bundle"))}
        assert method == "eth_sendPrivateTransaction"
        if keeps:
            self.privates.append((int(asked["maxBlockNumber"], 16), asked["tx"]))
        return to_hex(keccak(b"another" if self.does == "other_hash" else bytes.fromhex(asked["tx"][2:])))

    async def _reveal(self, asked: dict[str, Any]) -> None:
        assert self.node is not None
        for transaction in asked.get("txs") or [asked["tx"]]:
            await self.node.request("eth_sendRawTransaction", [transaction])

    # -- the builder ---------------------------------------------------------------------------------------------

    async def build(self, node: Rpc) -> list[Hash32]:
        """The next block, with the longest bundle for it that runs to its end; else with every transaction given to it alone
        that is still good. Returns what of it was mined."""
        number = int(await node.request("eth_blockNumber"), 16) + 1
        for bundle in sorted((txs for target, txs in self.bundles if target == number), key=len, reverse=True):
            if (mined := await self._mined_whole(node, bundle)) is not None:
                return mined
        alone = [transaction for last, transaction in self.privates if number <= last]
        mined = []
        for transaction in dict.fromkeys(alone):
            mined += await self._mined_whole(node, [transaction]) or []
        if not mined:
            await node.request("evm_mine")
        return mined

    async def _mined_whole(self, node: Rpc, transactions: list[str]) -> list[Hash32] | None:
        snapshot = await node.request("evm_snapshot")
        hashes = [Hash32(keccak(bytes.fromhex(each[2:]))) for each in transactions]
        await node.batch([("eth_sendRawTransaction", [each]) for each in transactions])  # some it knows already
        await node.request("evm_mine")
        receipts = await node.batch([("eth_getTransactionReceipt", [to_hex(each)]) for each in hashes])
        if all(isinstance(receipt, dict) and receipt["status"] == "0x1" for receipt in receipts):
            return hashes
        await node.request("anvil_dropAllTransactions")
        await node.request("evm_revert", [snapshot])
        return None


def _signed_by(header: str, body: bytes) -> str | None:
    """The address of a header that really signs this body."""
    address, _, signature = header.partition(":")
    if not signature:
        return None
    try:
        found = Account.recover_message(encode_defunct(text=to_hex(keccak(body))), signature=signature)
    except ValueError:
        return None
    return address if found == address else None
