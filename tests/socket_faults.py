"""A proxy with the faults of real subscriptions, in front of any node on loopback: WebSocket and IPC.

It passes everything on and behaves as its `manners` say; change those at any time. `tests.faults` does the same for requests
over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from keeper.chain.json_stream import JsonStream

_LONGEST = 16 * 1024 * 1024


@dataclass
class SocketManners:
    """How the proxy behaves. The defaults are those of a perfect node."""

    refuses: bool = False
    """No connection is taken: HTTP 503, or a closed IPC socket."""
    half_open: bool = False
    """Connections are taken, and then nothing ever comes: no answer, no announcement, no pong."""
    silent: bool = False
    """Requests are answered, but nothing is announced any more: frozen, yet "ok"."""
    late_blocks: int = 0
    """A head is announced only when so many more have come."""
    chain_id: int | None = None
    offers_subscriptions: bool = True
    hashes_only: bool = False
    """Pending transactions are told by hash, whatever was asked for."""
    refuses_whole_transactions: bool = False
    garbage: bool = False
    """No JSON in the place of announcements."""
    half_headers: bool = False
    """Announced headers lack a field."""
    cut_off: bool = False
    """The connection breaks in the middle of the next announcement; then the defaults return."""
    times: int = 1
    """Each announcement is sent so often."""
    drop_every: int | None = None
    """Every so many-th announcement gets lost."""
    backwards: bool = False
    """After each head the one before it is announced once more."""
    removed: bool = False
    """Each head is announced as removed right after."""


class _Client(Protocol):
    """Who is connected to us."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str | None:
        """None when it has gone."""
        ...

    async def cut_off(self, text: str) -> None:
        """Break within this message."""
        ...


class SocketProxy:
    """``async with SocketProxy(node_url) as proxy`` listens at `url` (WebSocket) and `ipc_path` until the block ends."""

    def __init__(self, upstream: str, manners: SocketManners | None = None) -> None:
        parts = urlsplit(upstream)
        if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("the fault proxy stands in front of loopback nodes only")
        self.manners = manners or SocketManners()
        self.counts: Counter[str] = Counter()
        """Requests by method."""
        self.connections = 0
        self.announced = 0
        self._upstream = f"ws://{parts.netloc}"
        self._port = 0
        self._stack = AsyncExitStack()
        self._over = asyncio.Event()
        self._clients: set[_Client] = set()
        self._subscriptions: dict[tuple[int, str], str] = {}
        """What each subscription, by client and id, is to."""
        self._asked: dict[tuple[int, Any], str] = {}
        """Subscriptions under way, by client and request."""
        self._heads: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def ipc_path(self) -> Path:
        return self._folder / "node.ipc"

    async def __aenter__(self) -> SocketProxy:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="keeper-ipc-")))
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession())
        app = web.Application()
        app.router.add_get("/{path:.*}", self._on_websocket)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._port = runner.addresses[0][1]
        server = await asyncio.start_unix_server(self._on_ipc, self.ipc_path)
        self._stack.callback(server.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        await self.hang_up()
        await self._stack.aclose()

    async def hang_up(self) -> None:
        """Break every connection in the middle of a message."""
        for client in list(self._clients):
            await client.cut_off('{"jsonrpc":"2.0","method":"eth_subscription"}')

    async def announce(self, head: dict[str, Any]) -> None:
        """Announce a head of the test's own making to everybody."""
        for client in list(self._clients):
            for number, subscription_id in [key for key, to in self._subscriptions.items() if to == "newHeads"]:
                if number == id(client):
                    await client.send(_announcement(subscription_id, head))

    # -- connections -------------------------------------------------------------------------------------------------
    async def _on_websocket(self, request: web.Request) -> web.StreamResponse:
        if self.manners.refuses:
            return web.Response(status=503, text=f"no {request.path_qs} for you")
        response = web.WebSocketResponse(autoping=not self.manners.half_open)
        await response.prepare(request)
        assert request.transport is not None
        await self._serve(_WebSocketClient(response, request.transport))
        return response

    async def _on_ipc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self.manners.refuses:
                await self._serve(_IpcClient(reader, writer))
        finally:
            writer.close()

    async def _serve(self, client: _Client) -> None:
        self.connections += 1
        self._clients.add(client)
        try:
            if self.manners.half_open:
                await self._over.wait()
                return
            async with (
                self._session.ws_connect(self._upstream, max_msg_size=_LONGEST) as upstream,
                asyncio.TaskGroup() as group,
            ):
                down = group.create_task(self._pass_down(upstream, client))
                try:
                    await self._pass_up(client, upstream)
                finally:
                    down.cancel()
        except* (ConnectionError, aiohttp.ClientError):
            pass  # it has gone
        finally:
            self._clients.discard(client)

    async def _pass_up(self, client: _Client, upstream: aiohttp.ClientWebSocketResponse) -> None:
        while (text := await client.receive()) is not None:
            request = json.loads(text)
            method, params = request["method"], request.get("params", [])
            self.counts[method] += 1
            answer = self._own_answer(method, params)
            if answer is not None:
                await client.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}))
                continue
            if method == "eth_subscribe":
                self._asked[id(client), request["id"]] = params[0]
            await upstream.send_str(text)

    def _own_answer(self, method: str, params: list[Any]) -> dict[str, Any] | None:
        manners = self.manners
        if method == "eth_chainId" and manners.chain_id is not None:
            return {"result": hex(manners.chain_id)}
        if method == "eth_subscribe" and not manners.offers_subscriptions:
            return {"error": {"code": -32601, "message": "the method eth_subscribe is not available"}}
        if method == "eth_subscribe" and len(params) > 1 and manners.refuses_whole_transactions:
            return {"error": {"code": -32602, "message": "too many arguments, want at most 1"}}
        return None

    async def _pass_down(self, upstream: aiohttp.ClientWebSocketResponse, client: _Client) -> None:
        async for message in upstream:
            answer = json.loads(message.data)
            if answer.get("method") == "eth_subscription":
                await self._pass_announcement(answer["params"], client)
                continue
            subscribed_to = self._asked.pop((id(client), answer.get("id")), None)
            if subscribed_to is not None and "result" in answer:
                self._subscriptions[id(client), answer["result"]] = subscribed_to
            await client.send(message.data)

    # -- announcements -----------------------------------------------------------------------------------------------
    async def _pass_announcement(self, params: dict[str, Any], client: _Client) -> None:
        self.announced += 1
        manners, subscription_id = self.manners, params["subscription"]
        if manners.silent or (manners.drop_every is not None and self.announced % manners.drop_every == 0):
            return
        if manners.garbage:
            await client.send("<html>Bad Gateway</html>")
            return
        if manners.cut_off:
            self.manners = SocketManners()
            await client.cut_off(_announcement(subscription_id, params["result"]))
            return
        for result in self._results(params["result"]):
            for _ in range(manners.times):
                await client.send(_announcement(subscription_id, result))

    def _results(self, result: Any) -> list[Any]:
        """What is announced in the place of one announcement."""
        manners = self.manners
        if isinstance(result, dict) and "parentHash" not in result:
            return [result["hash"]] if manners.hashes_only else [result]
        if not isinstance(result, dict):
            return [result]
        self._heads.append(result)
        if manners.late_blocks:
            return self._heads[-1 - manners.late_blocks :][:1] if len(self._heads) > manners.late_blocks else []
        if manners.half_headers:
            return [{key: field for key, field in result.items() if key != "gasLimit"}]
        found = [result]
        if manners.backwards:
            found += self._heads[-2:-1]
        if manners.removed:
            found.append(result | {"removed": True})
        return found


class _WebSocketClient:
    def __init__(self, response: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._response = response
        self._transport = transport

    async def send(self, text: str) -> None:
        await self._response.send_str(text)

    async def receive(self) -> str | None:
        message = await self._response.receive()
        return str(message.data) if message.type is aiohttp.WSMsgType.TEXT else None

    async def cut_off(self, text: str) -> None:
        """A frame that is said to be twice as long as what comes of it."""
        length = 2 * len(text)
        self._transport.write(b"\x81\x7e" + length.to_bytes(2) + text.encode())
        await asyncio.sleep(0.02)
        self._transport.close()


class _IpcClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._stream = JsonStream(_LONGEST)
        self._waiting: list[str] = []

    async def send(self, text: str) -> None:
        self._writer.write(text.encode())
        await self._writer.drain()

    async def receive(self) -> str | None:
        while not self._waiting:
            piece = await self._reader.read(4096)
            if not piece:
                return None
            self._waiting += self._stream.feed(piece)
        return self._waiting.pop(0)

    async def cut_off(self, text: str) -> None:
        self._writer.write(text[: len(text) // 2].encode())
        await asyncio.sleep(0.02)
        self._writer.transport.abort()


def _announcement(subscription_id: str, result: Any) -> str:
    params = {"subscription": subscription_id, "result": result}
    return json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})
