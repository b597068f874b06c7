"""JSON-RPC errors as our error tree. Pure: nodes agree on little, so this is where their dialects end.

The order of the questions matters: a revert reason is text that a contract chose, and it may well say
"rate limit exceeded"; so a revert is recognised first, by method and code or opening words.
"""

from __future__ import annotations

import json
import re
from typing import Any

from keeper.chain.origin import Origin
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

REVERT_CODE = 3
TOO_LARGE_CODE = 413
"""HTTP's "content too large", also the code of the `RpcFailure` that stands for it."""

_RUNS_CODE = ("eth_call", "eth_estimateGas", "eth_simulate", "eth_createAccessList", "eth_send", "debug_traceCall")

_REVERTED = re.compile(r"revert|vm execution error|vm exception")
_NO_METHOD = re.compile(
    r"method\b.*\b(not found|not supported|unsupported|not available|does not exist|not allowed|not whitelisted|disabled)"
    r"|unsupported method|unknown method|unknown rpc method|method is not"
)
_RATE = re.compile(
    r"rate[ -]?limit|request rate|rate exceeded|too many requests|requests? per (second|minute|day)|request limit reached"
    r"|request count exceeded|compute units|credits|throughput|quota|exceeded.*\brps\b|slow down"
)
_NO_BLOCK = re.compile(
    r"header not found|header for hash not found|unknown block|block not found|missing trie node|not canonical"
    r"|not currently canonical|state .*not available|\bno state\b|pruned|archive|historical"
    r"|could not find block|block could not be found|blockoutofrange|does not have the requested block|resource not found"
    r"|resource unavailable|beyond (the )?(current )?head|beyond current head|greater than (the )?latest|in the future"
    r"|after last accepted|\d+ could not be found|block is not available|cannot query unfinalized|block #?\w+ not found"
)
_RANGE = re.compile(
    r"range|limit|size|too (many|large|big|wide|long)|exceed|more than|greater than|at most|max(imum)?\b|narrow|smaller"
    r"|time[d ]?-?out|deadline|distance|cancel"
)
_TIMEOUT = re.compile(r"timed? ?out|deadline exceeded")
_UNWELL = re.compile(r"no backend|service unavailable|temporarily unavailable|bad gateway|no available (node|upstream)")
_TOO_LARGE = re.compile(
    r"out ?of ?gas|\w+oog\b|gas required exceeds|intrinsic gas too high|gas limit|gas cap|exceeds? (block )?gas|too large"
    r"|too big|response size|body size|request size|content length|memory limit|execution aborted|max(imum)? (size|length)"
    r"|(calldata|data) (too|size)"
)
_HALTED = re.compile(
    r"invalid ?opcode|invalidfe|opcodenotfound|stack (under|over)flow|stack(under|over)flow|invalid ?jump|badjump"
)
_NO_BATCH = re.compile(r"not (supported|allowed|enabled|available|permitted)|unsupported|disabled|forbidden|no batch")


def translate_error(error: object, method: str, origin: Origin) -> ChainError:
    """The `ChainError` for the `error` member of a JSON-RPC answer."""
    if not isinstance(error, dict):
        return MalformedResponse(
            f"{origin.label}: {method} failed without an error object: {origin.shown(repr(error))}"
        )
    code = error["code"] if isinstance(error.get("code"), int) else 0
    message = str(error.get("message", ""))
    lowered = f"{message} {_words(error.get('data'))}".lower()
    text = f"{origin.label}: {method}: {origin.shown(message)}"
    if method.startswith(_RUNS_CODE) and (code == REVERT_CODE or _REVERTED.search(lowered)):
        return RpcFailure(code, text, revert_bytes(error.get("data")) or b"")
    return _narrow(code, lowered, method, text) or RpcFailure(code, text)


def _narrow(code: int, lowered: str, method: str, text: str) -> ChainError | None:
    if code == -32601 or _NO_METHOD.search(lowered):
        return MethodUnavailable(text)
    if code in (429, -32029) or _RATE.search(lowered):
        return RateLimited(text)
    if _NO_BLOCK.search(lowered):
        return BlockUnavailable(text)
    if method == "eth_getLogs" and (code == -32005 or _RANGE.search(lowered)):
        return RangeRefused(text)
    if code in (-32001, 4444):
        return BlockUnavailable(text)
    if code == -32005:
        return RateLimited(text)
    if _TOO_LARGE.search(lowered):
        return RpcFailure(code, text)
    if _TIMEOUT.search(lowered):
        return RpcTimeout(text)
    return RpcUnreachable(text) if _UNWELL.search(lowered) else None


def error_from_status(status: int, method: str, retry_after_s: float | None, said: str, label: str) -> ChainError:
    """The `ChainError` for an HTTP status other than 2xx. `said` is the server's word on it, safe to show, or empty."""
    text = f"{label}: {method}: HTTP {status}{f' ({said})' if said else ''}"
    if status == 429 or (status == 503 and retry_after_s is not None):
        return RateLimited(text, retry_after_s)
    if status in (401, 403):
        return RpcUnreachable(f"{text}: the endpoint refuses us; check the key in its URL, and its allow-list")
    if status == TOO_LARGE_CODE:
        return RangeRefused(text) if method.startswith("eth_getLogs") else RpcFailure(TOO_LARGE_CODE, text)
    if status in (408, 504):
        return RpcTimeout(text)
    if status in (404, 405, 410):
        return RpcUnreachable(f"{text}: no JSON-RPC at this path; check the URL")
    if 300 <= status < 400:
        return RpcUnreachable(f"{text}: the endpoint redirects elsewhere; set its final URL")
    return RpcUnreachable(text) if status >= 500 else MalformedResponse(text)


def reverted(error: ChainError) -> bytes | None:
    """The revert bytes (empty for a bare revert) when the node ran the code and it reverted; None otherwise."""
    return error.data if isinstance(error, RpcFailure) else None


def halted(error: ChainError) -> bool:
    """The code ran into an invalid instruction, jump or stack: it fails wherever it runs, like a revert without bytes."""
    return isinstance(error, RpcFailure) and error.data is None and bool(_HALTED.search(str(error).lower()))


def too_large(error: ChainError) -> bool:
    """The node found the call too expensive or too long: two halves may pass."""
    if not isinstance(error, RpcFailure) or error.data is not None:
        return False
    return error.code == TOO_LARGE_CODE or bool(_TOO_LARGE.search(str(error).lower()))


def smaller_batch(size: int, words: str) -> int:
    """How many entries to try after a batch of `size` was refused with `words`: 1 when batches are unwelcome at all."""
    return 1 if _NO_BATCH.search(words.lower()) else max(1, size // 2)


def revert_bytes(payload: Any, depth: int = 0) -> bytes | None:
    """Revert bytes wherever nodes put them: ``"0x…"``, ``"Reverted 0x…"``, or nested in objects."""
    if isinstance(payload, str):
        body = payload.removeprefix("Reverted ").strip()
        try:
            return bytes.fromhex(body[2:]) if body[:2] == "0x" else None
        except ValueError:
            return None
    if isinstance(payload, dict) and depth < 4:
        nested = [payload[key] for key in ("data", "return", "result", "originalError", "error") if key in payload]
        nested += [member for member in payload.values() if isinstance(member, dict)]
        for member in nested:
            found = revert_bytes(member, depth + 1)
            if found is not None:
                return found
    return None


def _words(payload: object) -> str:
    """An error's `data` as text to search; hex is no words."""
    if isinstance(payload, str):
        return "" if payload[:2] == "0x" else payload[:500]
    return json.dumps(payload)[:500] if isinstance(payload, dict | list) else ""
