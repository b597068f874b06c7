"""One JSON-RPC endpoint over HTTP: requests, batches, and the translation of its troubles into our error tree."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from keeper.core.errors import (
    BlockUnavailable,
    ChainError,
    MalformedResponse,
    MethodUnavailable,
    RangeRefused,
    RateLimited,
    RpcFailure,
    RpcTimeout,
    RpcUnreachable,
)

Params = Sequence[Any]


class JsonRpc:
    """A thin client. It never retries: whoever asks decides that. Errors are `ChainError` subclasses."""

    def __init__(self, url: str, *, timeout_s: float = 20.0) -> None:
        self._url = url
        self.label = endpoint_label(url)
        """Scheme and host only: a path or query may hold an API key."""
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> JsonRpc:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(self, method: str, params: Params = ()) -> Any:
        """The `result` of one call. Raises a `ChainError`."""
        entry = self._entry(method, params)
        answer = await self._post(entry, method)
        if not isinstance(answer, dict):
            raise MalformedResponse(f"{self.label}: {method} was answered by no JSON-RPC object")
        return self._result(answer, entry["id"], method)

    async def batch(self, entries: Sequence[tuple[str, Params]]) -> list[Any | ChainError]:
        """One HTTP request; results in the order asked, a failed member as its error in its place."""
        if not entries:
            return []
        bodies = [self._entry(method, params) for method, params in entries]
        answer = await self._post(bodies, f"batch of {len(bodies)}")
        if isinstance(answer, dict):
            # A whole-batch refusal comes as one object.
            self._result(answer, answer.get("id"), f"batch of {len(bodies)}")
            raise MalformedResponse(f"{self.label}: a batch was answered by a single object")
        by_id = {item.get("id"): item for item in answer if isinstance(item, dict)}
        results: list[Any | ChainError] = []
        for body in bodies:
            item = by_id.get(body["id"])
            if item is None:
                results.append(MalformedResponse(f"{self.label}: {body['method']} is missing from the batch's answer"))
                continue
            try:
                results.append(self._result(item, body["id"], body["method"]))
            except ChainError as error:
                results.append(error)
        return results

    def _entry(self, method: str, params: Params) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    async def _post(self, body: object, what: str) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.post(self._url, json=body) as response:
                text = await response.read()
                if response.status == 429:
                    raise RateLimited(f"{self.label}: HTTP 429", _retry_after_s(response.headers.get("Retry-After")))
                status = response.status
        except asyncio.TimeoutError:
            raise RpcTimeout(f"{self.label}: no answer to {what} within {self._timeout.total:g} s") from None
        except aiohttp.ClientError as error:
            raise RpcUnreachable(f"{self.label}: {what}: {type(error).__name__}") from None
        try:
            return json.loads(text)
        except ValueError:
            start = text[:40].decode("utf-8", "replace")
            raise MalformedResponse(
                f"{self.label}: {what} was answered with HTTP {status} and no JSON ({start!r}…)"
            ) from None

    def _result(self, answer: dict[str, Any], expected_id: object, method: str) -> Any:
        if answer.get("error") is not None:
            raise self._translate(answer["error"], method)
        if answer.get("id") != expected_id:
            raise MalformedResponse(f"{self.label}: {method} was answered with a wrong id")
        if "result" not in answer:
            raise MalformedResponse(f"{self.label}: {method} was answered without result or error")
        return answer["result"]

    def _translate(self, error: object, method: str) -> ChainError:
        if not isinstance(error, dict):
            return MalformedResponse(f"{self.label}: {method} failed with {error!r}")
        code = error.get("code")
        message = str(error.get("message", ""))
        lowered = message.lower()
        text = f"{self.label}: {method}: {message}"
        if code == -32601 or "method not found" in lowered or "not supported" in lowered:
            return MethodUnavailable(text)
        if code in (-32005, 429) and method == "eth_getLogs" and "rate" not in lowered:
            return RangeRefused(text)
        if code in (-32005, 429) or "rate limit" in lowered or "too many requests" in lowered:
            return RateLimited(text)
        if method == "eth_getLogs" and any(word in lowered for word in ("range", "limit", "too many", "size")):
            return RangeRefused(text)
        if any(word in lowered for word in ("header not found", "unknown block", "missing trie node", "block not found")):
            return BlockUnavailable(text)
        return RpcFailure(code if isinstance(code, int) else 0, text, _revert_data(error.get("data")))


def endpoint_label(url: str) -> str:
    """Scheme, host and port: what may be shown of an RPC URL."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or '?'}{port}"


def _retry_after_s(header: str | None) -> float | None:
    try:
        return float(header) if header is not None else None
    except ValueError:
        return None


def _revert_data(data: object) -> bytes | None:
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return None
    return None
