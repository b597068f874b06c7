"""Connections that stay open, for what a node tells by itself: WebSocket, or IPC through a socket in the file system."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp

from keeper.chain.json_stream import JsonStream
from keeper.chain.origin import Origin
from keeper.core.errors import ChainError, MalformedResponse, RpcTimeout, RpcUnreachable

LONGEST_MESSAGE_BYTES = 4 * 1024 * 1024
CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 0.5
"""A half-open connection never says goodbye."""
_PIECE_BYTES = 64 * 1024


class Socket(Protocol):
    """One open connection. Both raise a `ChainError` once it is broken; a `receive` may be cancelled and asked again."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str:
        """The next message."""
        ...


class SocketAddress(Protocol):
    """Where a connection is to be had. `origin` names it in messages."""

    @property
    def origin(self) -> Origin: ...

    def opened(self) -> AbstractAsyncContextManager[Socket]:
        """A connection of its own, closed on the way out. Raises `RpcUnreachable` or `RpcTimeout`."""
        ...


class WebSocketAddress:
    """A ws:// or wss:// URL. It is a secret. Raises `ConfigError`, without repeating it, when it is none."""

    def __init__(self, url: str) -> None:
        self.origin = Origin(url, "ws")
        self._url = url

    def __repr__(self) -> str:
        return f"WebSocketAddress({self.origin.label})"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Socket]:
        async with aiohttp.ClientSession() as session:
            connection = await self._connect(session)
            try:
                yield _WebSocket(connection, self.origin.label)
            finally:
                await connection.close()

    async def _connect(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        """Errors are raised outside the handlers: a chained original would carry the URL along."""
        trouble: ChainError
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await session.ws_connect(
                    self._url,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                    max_msg_size=LONGEST_MESSAGE_BYTES,
                )
        except TimeoutError:
            trouble = RpcTimeout(f"{self.origin.label}: no connection within {CONNECT_TIMEOUT_S:g} s")
        except aiohttp.WSServerHandshakeError as error:
            trouble = RpcUnreachable(f"{self.origin.label}: no WebSocket there: HTTP {error.status}")
        except (aiohttp.ClientError, OSError) as error:
            trouble = RpcUnreachable(f"{self.origin.label}: {type(error).__name__}")
        raise trouble


class _WebSocket:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse, label: str) -> None:
        self._connection = connection
        self._label = label

    async def send(self, text: str) -> None:
        trouble: str | None = None
        try:
            await self._connection.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            trouble = type(error).__name__
        if trouble is not None:
            raise RpcUnreachable(f"{self._label}: the connection broke: {trouble}")

    async def receive(self) -> str:
        message = await self._connection.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data).decode("utf-8", "replace")
        raise RpcUnreachable(f"{self._label}: the connection was closed")


class IpcAddress:
    """A node's socket in the file system."""

    def __init__(self, path: Path) -> None:
        self.origin = Origin.of_file(path)
        self._path = path

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Socket]:
        label = self.origin.label
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._path)
        except TimeoutError:
            raise RpcTimeout(f"{label}: no connection within {CONNECT_TIMEOUT_S:g} s") from None
        except OSError as error:
            raise RpcUnreachable(f"{label}: {error.strerror or type(error).__name__}") from None
        try:
            yield _IpcSocket(reader, writer, label)
        finally:
            writer.transport.abort()


class _IpcSocket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, label: str) -> None:
        self._reader = reader
        self._writer = writer
        self._label = label
        self._stream = JsonStream(LONGEST_MESSAGE_BYTES)
        self._waiting: deque[str] = deque()

    async def send(self, text: str) -> None:
        try:
            self._writer.write(text.encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise RpcUnreachable(f"{self._label}: the connection broke: {type(error).__name__}") from None

    async def receive(self) -> str:
        while not self._waiting:
            try:
                piece = await self._reader.read(_PIECE_BYTES)
            except OSError as error:
                raise RpcUnreachable(f"{self._label}: the connection broke: {type(error).__name__}") from None
            if not piece:
                raise RpcUnreachable(f"{self._label}: the connection was closed")
            try:
                self._waiting.extend(self._stream.feed(piece))
            except MalformedResponse as error:
                raise MalformedResponse(f"{self._label}: {error}") from None
        return self._waiting.popleft()
