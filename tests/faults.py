"""A proxy with the manners of public RPC endpoints, in front of any JSON-RPC node on loopback.

It passes requests on and answers as its `manners` say; change those at any time. It keeps count of every method it
saw, so a test can state that nothing was ever sent through it.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

Override = Callable[[str, list[Any]], dict[str, Any] | None]
"""Sees (method, params); returns ``{"result": …}`` or ``{"error": …}`` to answer itself, None to pass it on."""
Rewrite = Callable[[str, list[Any], dict[str, Any]], dict[str, Any]]
"""Sees (method, params, the node's answer) and returns what is answered instead: a node that lies."""

_BLOCK_PARAM = {
    "eth_call": 1,
    "eth_getBalance": 1,
    "eth_getCode": 1,
    "eth_getStorageAt": 2,
    "eth_getTransactionCount": 1,
}
_RECENT = 1_000
_JSON = {"Content-Type": "application/json"}


@dataclass
class Manners:
    """How the proxy behaves. The defaults are those of a perfect node."""

    delay_s: float = 0.0
    delays_s: dict[str, float] = field(default_factory=dict)
    """Further delay by method; of a batch, the longest."""
    longer_by_bytes: int = 0
    """So many blanks after the answer."""
    status: int | None = None
    """Answer with this HTTP status and no JSON."""
    retry_after: str | None = None
    """Sent with every refusal by status or rate."""
    calls_per_s: int | None = None
    """HTTP 429 above so many calls within a second; a batch counts its members."""
    wrong_id: bool = False
    truncated: bool = False
    """Half of the body, as if it were the whole."""
    deep: bool = False
    """All of it, and a further member with lists within lists."""
    html: bool = False
    """An HTML page that repeats the request's path, as web servers like to."""
    empty: bool = False
    dropped: bool = False
    """The connection breaks within the body."""
    hung_up: bool = False
    """The connection breaks before a status line."""
    hung_up_every: int | None = None
    """The same, for every so many-th HTTP request."""
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """JSON-RPC errors by method."""
    batches: bool = True
    max_batch: int | None = None
    max_log_range: int | None = None
    state_depth: int | None = None
    """No archive: state more than so many blocks below the head is refused."""
    head_number: int | None = None
    """A stale head: the node knows no block above this one."""
    block_objects: bool = True
    """Takes blocks by hash in the place of a number (EIP-1898)."""
    only_next: int | None = None
    """All this holds for so many HTTP requests; then the defaults return."""


class FaultProxy:
    """``async with FaultProxy(upstream) as proxy`` listens on a loopback port until the block ends."""

    def __init__(self, upstream: str, manners: Manners | None = None, on_request: Override | None = None) -> None:
        if urlsplit(upstream).hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("the fault proxy stands in front of loopback nodes only")
        self.manners = manners or Manners()
        self.on_request = on_request
        self.on_answer: Rewrite | None = None
        self.counts: Counter[str] = Counter()
        self.recent: deque[tuple[str, list[Any]]] = deque(maxlen=_RECENT)
        self.http_requests = 0
        self.body_bytes: deque[int] = deque(maxlen=_RECENT)
        """How long its latest answers were."""
        self.limited = 0
        """How many requests were above `calls_per_s`."""
        self._upstream = upstream
        self._recent_calls_s: deque[float] = deque()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> FaultProxy:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def seen(self, prefix: str) -> dict[str, int]:
        """How often each method that begins with `prefix` was asked for, through this proxy."""
        return {method: count for method, count in self.counts.items() if method.startswith(prefix)}

    def assert_none(self, prefix: str) -> None:
        """Fails when any method that begins with `prefix` was asked for."""
        assert not self.seen(prefix), f"the proxy saw {self.seen(prefix)}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        entries: list[dict[str, Any]] = body if isinstance(body, list) else [body]
        self.http_requests += 1
        for entry in entries:
            self.counts[entry["method"]] += 1
            self.recent.append((entry["method"], entry.get("params", [])))
        manners = self._current()
        await asyncio.sleep(manners.delay_s + max(manners.delays_s.get(entry["method"], 0.0) for entry in entries))
        refusal = self._refusal(manners, request, isinstance(body, list), len(entries))
        if refusal is not None:
            return refusal
        answers = [await self._answer(entry, manners) for entry in entries]
        text = json.dumps(answers if isinstance(body, list) else answers[0]) + " " * manners.longer_by_bytes
        self.body_bytes.append(len(text))
        return await self._deliver(request, text, manners)

    def _current(self) -> Manners:
        manners = self.manners
        if manners.only_next is not None:
            manners.only_next -= 1
            if manners.only_next <= 0:
                self.manners = Manners()
        return manners

    def _refusal(self, manners: Manners, request: web.Request, is_batch: bool, calls: int) -> web.Response | None:
        headers = {} if manners.retry_after is None else {"Retry-After": manners.retry_after}
        if manners.status is not None and 300 <= manners.status < 400:
            headers["Location"] = "/elsewhere"
        unlucky = manners.hung_up_every is not None and self.http_requests % manners.hung_up_every == 0
        if (manners.hung_up or unlucky) and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if manners.status is not None:
            return web.Response(status=manners.status, headers=headers, text=f"no {request.path_qs} for you")
        if manners.html:
            return web.Response(text=f"<html>Cannot POST {request.path_qs}</html>", content_type="text/html")
        if manners.empty:
            return web.Response()
        if manners.calls_per_s is not None and self._over(manners.calls_per_s, calls):
            self.limited += 1
            return web.Response(status=429, headers=headers, text="Too Many Requests")
        if is_batch and not manners.batches:
            return web.json_response(_failure(None, -32600, "batch requests are not supported"))
        if is_batch and manners.max_batch is not None and calls > manners.max_batch:
            return web.json_response(_failure(None, -32600, f"batch too long, at most {manners.max_batch} entries"))
        return None

    def _over(self, limit: int, calls: int) -> bool:
        now_s = time.monotonic()
        while self._recent_calls_s and now_s - self._recent_calls_s[0] >= 1.0:
            self._recent_calls_s.popleft()
        if len(self._recent_calls_s) + calls > limit:
            return True
        self._recent_calls_s.extend([now_s] * calls)
        return False

    async def _answer(self, entry: dict[str, Any], manners: Manners) -> dict[str, Any]:
        method, params = entry["method"], entry.get("params", [])
        answer = self.on_request(method, params) if self.on_request is not None else None
        if answer is None and method in manners.errors:
            answer = {"error": manners.errors[method]}
        if answer is None:
            answer = await self._refuse_call(method, params, manners) or await self._pass_on(method, params, manners)
            if self.on_answer is not None:
                answer = self.on_answer(method, params, answer)
        return {"jsonrpc": "2.0", "id": entry["id"] + 7 if manners.wrong_id else entry["id"], **answer}

    async def _refuse_call(self, method: str, params: list[Any], manners: Manners) -> dict[str, Any] | None:
        if method == "eth_getLogs" and manners.max_log_range is not None and "fromBlock" in params[0]:
            span = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if span > manners.max_log_range:
                limit = manners.max_log_range
                return _error(-32600, f"exceed maximum block range: {limit}, please narrow your query")
        place = _BLOCK_PARAM.get(method)
        tag = params[place] if place is not None and len(params) > place else None
        if isinstance(tag, dict) and not manners.block_objects:
            return _error(-32602, "invalid argument 1: json: cannot unmarshal object into Go value of type string")
        if tag is not None and manners.state_depth is not None:
            number = await self._number_of(tag)
            if number is not None and number < await self._head() - manners.state_depth:
                return _error(-32000, "missing trie node 5f1c (path ) state 0x5f1c is not available")
        if tag is not None and manners.head_number is not None:
            number = await self._number_of(tag)
            if number is not None and number > manners.head_number:
                return _error(-32000, "header not found")
        if method == "eth_getLogs" and "blockHash" in params[0] and manners.head_number is not None:
            number = await self._number_of(params[0])
            if number is not None and number > manners.head_number:
                return _error(-32000, "unknown block")
        return None

    async def _pass_on(self, method: str, params: list[Any], manners: Manners) -> dict[str, Any]:
        if manners.head_number is None:
            return await self._ask(method, params)
        known = hex(manners.head_number)
        if method == "eth_blockNumber":
            return {"result": known}
        answer = await self._ask(method, [known if each in ("latest", "pending") else each for each in params])
        block = answer.get("result")
        if method.startswith("eth_getBlockBy") and block and int(block["number"], 16) > manners.head_number:
            return {"result": None}
        if method == "eth_getLogs" and isinstance(block, list):
            # As real nodes do: a range beyond their head is answered in part, without a word.
            return {"result": [log for log in block if int(log["blockNumber"], 16) <= manners.head_number]}
        return answer

    async def _ask(self, method: str, params: list[Any]) -> dict[str, Any]:
        assert self._session is not None
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        # As a stream: a large body in one piece would hold the event loop, and aiohttp says so.
        raw = io.BytesIO(json.dumps(body).encode())
        async with self._session.post(self._upstream, data=raw, headers=_JSON) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
        return {key: answer[key] for key in ("result", "error") if key in answer}

    async def _head(self) -> int:
        return int((await self._ask("eth_blockNumber", []))["result"], 16)

    async def _number_of(self, tag: Any) -> int | None:
        """The number behind a block parameter; None for tags and unknown hashes."""
        if isinstance(tag, dict):
            block = (await self._ask("eth_getBlockByHash", [tag["blockHash"], False])).get("result")
            return None if block is None else int(block["number"], 16)
        return int(tag, 16) if tag[:2] == "0x" else None

    async def _deliver(self, request: web.Request, text: str, manners: Manners) -> web.StreamResponse:
        if manners.truncated:
            text = text[: len(text) // 2]
        if manners.deep:
            text = f'{text[:-1]},"further":{"[" * 100}{"]" * 100}}}'
        if not manners.dropped:
            return web.Response(text=text, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        if request.transport is not None:
            request.transport.close()
        return response


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _failure(entry_id: int | None, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": entry_id, **_error(code, message)}
