"""One `eth_subscribe` on a connection of its own: its requests travel elsewhere, so that nothing delays what is announced."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from keeper.chain.rpc import Params
from keeper.chain.sockets import Socket, SocketAddress
from keeper.chain.translate import translate_error
from keeper.core.errors import ChainError, MalformedResponse, MethodUnavailable, RpcFailure, RpcTimeout, WrongChain
from keeper.core.foreign_json import decode_json
from keeper.core.hexdata import decode_quantity

MOST_EARLY = 1_000
"""Announcements that are kept while the subscription's id is not known yet."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may say nothing."""

    answer_s: float = 5.0
    """For the answer to a request."""
    probe_after_s: float = 15.0
    """After so much silence the node is asked for a sign of life: a half-open connection is silent for ever."""


class NotOffered(ChainError):
    """The node refuses the subscription itself."""


@asynccontextmanager
async def subscribed(
    address: SocketAddress, chain_id: int, *choices: Params, patience: Patience | None = None
) -> AsyncIterator[Subscription]:
    """The first of the `choices` (parameters of `eth_subscribe`) that the node offers, on a new connection.

    Raises `WrongChain` when the node is of another chain, `NotOffered` when it refuses every choice, other `ChainError`s
    when it cannot be reached.
    """
    async with address.opened() as socket:
        subscription = Subscription(socket, address, patience or Patience())
        await subscription.begin(chain_id, choices)
        yield subscription


class Subscription:
    """What one subscription announces, in order. Use `subscribed`."""

    def __init__(self, socket: Socket, address: SocketAddress, patience: Patience) -> None:
        self._socket = socket
        self._origin = address.origin
        self.label = self._origin.label
        self._patience = patience
        self._ids = itertools.count(1)
        self._id: object = None
        self._early: deque[dict[str, Any]] = deque(maxlen=MOST_EARLY)

    async def begin(self, chain_id: int, choices: Sequence[Params]) -> None:
        found = decode_quantity(await self._ask("eth_chainId", []), f"{self.label}: eth_chainId")
        if found != chain_id:
            raise WrongChain(f"{self.label} answers for chain {found}; configured is chain {chain_id}")
        refusal: ChainError | None = None
        for choice in choices:
            try:
                self._id = await self._ask("eth_subscribe", choice)
            except (MethodUnavailable, RpcFailure) as error:
                refusal = error
                continue
            if not isinstance(self._id, str | int):
                raise MalformedResponse(f"{self.label}: eth_subscribe was answered without an id")
            return
        raise NotOffered(f"no subscription: {refusal}")

    async def next(self) -> Any:
        """What is announced next; waits for as long as the node shows signs of life. Raises `ChainError` when it does not."""
        while True:
            message = self._early.popleft() if self._early else await self._message()
            params = message.get("params")
            if isinstance(params, dict) and params.get("subscription") == self._id and "result" in params:
                return params["result"]

    async def _ask(self, method: str, params: Params) -> Any:
        entry = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        try:
            async with asyncio.timeout(self._patience.answer_s):
                await self._socket.send(json.dumps(entry))
                while True:
                    message = _decoded(await self._socket.receive(), self.label)
                    if message.get("id") == entry["id"] and "method" not in message:
                        break
                    self._early.append(message)
        except TimeoutError:
            raise RpcTimeout(f"{self.label}: no answer to {method} in time ({self._patience.answer_s:g} s)") from None
        if message.get("error") is not None:
            raise translate_error(message["error"], method, self._origin)
        if "result" not in message:
            raise MalformedResponse(f"{self.label}: {method} was answered without result or error")
        return message["result"]

    async def _message(self) -> dict[str, Any]:
        """The next message. After a long silence the node is asked something: whatever it says then is a sign of life."""
        try:
            async with asyncio.timeout(self._patience.probe_after_s):
                return _decoded(await self._socket.receive(), self.label)
        except TimeoutError:
            pass
        probe = {"jsonrpc": "2.0", "id": next(self._ids), "method": "eth_chainId", "params": []}
        try:
            async with asyncio.timeout(self._patience.answer_s):
                await self._socket.send(json.dumps(probe))
                return _decoded(await self._socket.receive(), self.label)
        except TimeoutError:
            raise RpcTimeout(f"{self.label}: the connection is silent, and no sign of life comes when asked") from None


def _decoded(text: str, label: str) -> dict[str, Any]:
    try:
        message = decode_json(text.encode())
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise MalformedResponse(f"{label}: something else than a JSON object came over the socket")
    return message
