"""One JSON-RPC endpoint over HTTP: requests, batches, and the translation of its troubles into our error tree."""

from __future__ import annotations

import io
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import aiohttp

from keeper.chain.origin import Origin
from keeper.chain.rpc import Entry, Params
from keeper.chain.translate import TOO_LARGE_CODE, error_from_status, translate_error
from keeper.core.errors import (
    ChainError,
    MalformedResponse,
    RangeRefused,
    RateLimited,
    RpcFailure,
    RpcTimeout,
    RpcUnreachable,
)
from keeper.core.foreign_json import decode_json

MAX_BODY_BYTES = 32 * 2**20
"""Answers are kept near 2 MB by asking for less; one that grows beyond this is not read to its end."""
CONNECT_TIMEOUT_S = 5.0
LARGE_BODY_BYTES = 2**20
LONGEST_RETRY_AFTER_S = 3600.0
"""A node that asks for more rest than this is asked again anyhow: nobody may send us to sleep for ever."""
_HEADERS = {"Content-Type": "application/json"}


class BatchRefused(RpcFailure):
    """The endpoint takes no batches, or none this long. Ask in smaller ones."""


class Answers(list[Any | ChainError]):
    """Results in the order asked, a failed member as its error in its place; and how long the whole answer was."""

    size_bytes = 0


class JsonRpc:
    """A thin client. It never retries: whoever asks decides that. Errors are `ChainError` subclasses. `headers_for` is given
    the very bytes of a body, and says what else goes with them.

    `label` is scheme, host and port only; nothing else of the URL ever reaches a message.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 20.0,
        max_body_bytes: int = MAX_BODY_BYTES,
        headers_for: Callable[[bytes], Mapping[str, str]] | None = None,
    ) -> None:
        self._origin = Origin(url)
        self.label = self._origin.label
        self.host = self._origin.host
        self._url = url
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes
        self._headers_for = headers_for
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"JsonRpc({self.label})"

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

    async def request(self, method: str, params: Params = (), timeout_s: float | None = None) -> Any:
        """The `result` of one call. Raises a `ChainError`."""
        entry = self._entry(method, params)
        answer = self._accepted(await self._post(entry, method, timeout_s), method)
        if not isinstance(answer, dict):
            raise MalformedResponse(f"{self.label}: {method} was answered by no JSON-RPC object")
        return self._result(answer, entry["id"], method)

    async def batch(self, entries: Sequence[Entry], timeout_s: float | None = None) -> Answers:
        """One HTTP request. Raises `BatchRefused` when the endpoint turns the batch away as such."""
        if not entries:
            return Answers()
        bodies = [self._entry(method, params) for method, params in entries]
        name = _batch_name(entries)
        reply = await self._post(bodies, name, timeout_s)
        if reply.status == TOO_LARGE_CODE or (reply.status in (400, 405, 422) and not reply.is_json):
            raise BatchRefused(reply.status, f"{self.label}: {name}: HTTP {reply.status} ({reply.said})")
        answer = self._accepted(reply, name)
        if isinstance(answer, dict):
            raise self._whole_batch_error(answer, name)
        if not isinstance(answer, list):
            raise MalformedResponse(f"{self.label}: {name} was answered by no list")
        by_id, stray = self._sort_members(answer, name)
        answers = Answers(self._member(by_id.get(body["id"]), stray, body) for body in bodies)
        answers.size_bytes = reply.size_bytes
        return answers

    def _entry(self, method: str, params: Params) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    async def _post(self, body: object, what: str, timeout_s: float | None) -> _Reply:
        """Send and read. Errors are raised outside the handlers: a chained original would carry the URL along."""
        trouble: ChainError
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=min(CONNECT_TIMEOUT_S, limit_s))
        sent = json.dumps(body, separators=(",", ":")).encode()
        headers = None if self._headers_for is None else self._headers_for(sent)
        try:
            async with self._open().post(
                self._url, data=_stream(sent), headers=headers, allow_redirects=False, timeout=limit
            ) as response:
                raw = await self._read_body(response, what)
                answer, is_json = _decode(raw)
                said = "" if is_json and response.ok else self._origin.shown(raw[:4096].decode("utf-8", "replace"))
                retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
                return _Reply(response.status, retry_after_s, answer, is_json, said, len(raw))
        except TimeoutError:
            trouble = RpcTimeout(f"{self.label}: no answer to {what} in time ({limit_s:g} s)")
        except (aiohttp.ClientError, OSError) as error:
            trouble = RpcUnreachable(f"{self.label}: {what}: {type(error).__name__}")
        raise trouble

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=_HEADERS)
        return self._session

    async def _read_body(self, response: aiohttp.ClientResponse, what: str) -> bytes:
        pieces, length = [], 0
        async for piece in response.content.iter_any():
            pieces.append(piece)
            length += len(piece)
            if length > self._max_body_bytes:
                raise _too_long(what, f"{self.label}: the answer to {what} is longer than {self._max_body_bytes} bytes")
        return b"".join(pieces)

    def _accepted(self, reply: _Reply, what: str) -> Any:
        """The parsed body, unless HTTP status or body say that there is none."""
        if not 200 <= reply.status < 300:
            refusal = error_from_status(reply.status, what, reply.retry_after_s, reply.said, self.label)
            if not self._body_says_more(reply, what):
                raise refusal
        elif not reply.is_json:
            found = f"no JSON but {reply.said[:60]!r}" if reply.said else "an empty body"
            raise MalformedResponse(f"{self.label}: {what} was answered with {found}")
        return reply.answer

    def _body_says_more(self, reply: _Reply, what: str) -> bool:
        """Many nodes send a JSON-RPC error with an HTTP status of failure; the error is then the better word."""
        if reply.status in (429, TOO_LARGE_CODE):
            return False
        if isinstance(reply.answer, list):
            return True
        error = reply.answer.get("error") if isinstance(reply.answer, dict) else None
        if reply.status in (401, 403):
            return error is not None and type(translate_error(error, what, self._origin)) is not RpcFailure
        return isinstance(error, dict)

    def _result(self, answer: dict[str, Any], expected_id: object, method: str) -> Any:
        failed = answer.get("error") is not None
        # A node that could not even read the request answers with an error and the id null.
        if not _same_id(answer.get("id"), expected_id) and not (failed and answer.get("id") is None):
            raise MalformedResponse(f"{self.label}: {method} was answered with a wrong id")
        if failed:
            raise translate_error(answer["error"], method, self._origin)
        if "result" not in answer:
            raise MalformedResponse(f"{self.label}: {method} was answered without result or error")
        return answer["result"]

    def _whole_batch_error(self, answer: dict[str, Any], name: str) -> ChainError:
        error = answer.get("error")
        if error is None:
            return MalformedResponse(f"{self.label}: {name} was answered by a single object")
        translated = translate_error(error, name, self._origin)
        about_batches = isinstance(error, dict) and "batch" in str(error.get("message", "")).lower()
        if not about_batches and isinstance(translated, RateLimited | RpcTimeout | RpcUnreachable | MalformedResponse):
            return translated
        return BatchRefused(translated.code if isinstance(translated, RpcFailure) else 0, str(translated))

    def _sort_members(self, answer: list[Any], name: str) -> tuple[dict[int, dict[str, Any]], ChainError | None]:
        """Members by id, and the error that belongs to none of them (id null), if there is one."""
        by_id: dict[int, dict[str, Any]] = {}
        stray: ChainError | None = None
        for member in answer:
            if not isinstance(member, dict):
                raise MalformedResponse(f"{self.label}: the answer to {name} holds something else than objects")
            if member.get("id") is None and member.get("error") is not None:
                stray = translate_error(member["error"], name, self._origin)
            elif type(member.get("id")) is not int or member["id"] in by_id:
                raise MalformedResponse(f"{self.label}: {name} was answered with a wrong or repeated id")
            else:
                by_id[member["id"]] = member
        return by_id, stray

    def _member(
        self, member: dict[str, Any] | None, stray: ChainError | None, body: dict[str, Any]
    ) -> Any | ChainError:
        method = str(body["method"])
        if member is None:
            return stray or MalformedResponse(f"{self.label}: {method} is missing from the batch's answer")
        try:
            return self._result(member, body["id"], method)
        except ChainError as error:
            return error


@dataclass(frozen=True, slots=True)
class _Reply:
    """One HTTP answer, read to its end."""

    status: int
    retry_after_s: float | None
    answer: Any
    is_json: bool
    said: str
    """The beginning of a body that is no JSON or came with a status of failure, safe to show."""
    size_bytes: int


def _too_long(what: str, text: str) -> ChainError:
    """For an answer that is not read to its end: less may be asked for at once, where the question allows that."""
    if what.startswith("eth_getLogs"):
        return RangeRefused(text)
    if what.startswith("batch"):
        return BatchRefused(TOO_LARGE_CODE, text)
    return RpcFailure(TOO_LARGE_CODE, text) if what == "eth_call" else MalformedResponse(text)


def _stream(raw: bytes) -> bytes | io.BytesIO:
    """A large body as a stream, so that sending it does not hold the event loop."""
    return raw if len(raw) < LARGE_BODY_BYTES else io.BytesIO(raw)


def _decode(raw: bytes) -> tuple[Any, bool]:
    try:
        return decode_json(raw), True
    except ValueError:
        return None, False


def _same_id(given: object, expected: object) -> bool:
    return type(given) is type(expected) and given == expected


def _batch_name(entries: Sequence[Entry]) -> str:
    """Named after log queries when it holds one, since then its size is a matter of their range."""
    name = f"batch of {len(entries)}"
    return f"eth_getLogs in a {name}" if any(method == "eth_getLogs" for method, _ in entries) else name


def _retry_after_s(header: str | None) -> float | None:
    """Seconds to wait, at most `LONGEST_RETRY_AFTER_S`, from a number or an HTTP date; None when absent or odd."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else None
