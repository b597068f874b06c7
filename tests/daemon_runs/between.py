"""What stands between the keeper and its node: loses transactions, holds them, and kills the keeper where it hurts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from eth_utils.crypto import keccak

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import RpcFailure
from keeper.core.units import to_hex
from tests.crash.killing import KillingProxy

SEND = "eth_sendRawTransaction"
MANNERS = ("passes", "drops", "delays", "refuses", "loses the answer")
"""What it does with a raw transaction. Dropped and delayed ones are answered with their hash, as if all were well."""


@dataclass
class Between(KillingProxy):
    """A killing proxy with manners of its own towards raw transactions."""

    upstream: str
    manner: str = "passes"
    held: list[str] = field(default_factory=list)
    """Raw transactions that wait for `release`."""

    def __post_init__(self) -> None:
        super().__init__(self.upstream)

    async def release(self, rpc: JsonRpc) -> None:
        """Late, what was held reaches the node after all."""
        held, self.held = self.held, []
        for raw in held:
            await offered(rpc, raw)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        loses = self.manner == "loses the answer" and SEND.encode() in await request.read()
        response = await super()._handle(request)
        if loses and request.transport is not None:
            request.transport.abort()
        return response

    async def _ask(self, method: str, params: list[Any]) -> dict[str, Any]:
        if method != SEND or self.manner in ("passes", "loses the answer"):
            return await super()._ask(method, params)
        if self.manner == "refuses":
            return {"error": {"code": -32000, "message": "txpool is full"}}
        if self.manner == "delays":
            self.held.append(params[0])
        return {"result": to_hex(keccak(bytes.fromhex(params[0][2:])))}


async def offered(rpc: JsonRpc, raw: str) -> bool:
    """Whether the node took a raw transaction that it may have reasons to refuse by now."""
    try:
        await rpc.request(SEND, [raw])
    except RpcFailure:
        return False
    return True
