"""Error texts as real nodes and providers send them, each with the class that decides what happens next."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.origin import Origin
from keeper.chain.translate import (
    error_from_status,
    halted,
    revert_bytes,
    reverted,
    smaller_batch,
    too_large,
    translate_error,
)
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

ORIGIN = Origin("https://node.example/v3/0123456789abcdef")


def _translate(code: int, message: str, method: str, data: object = None) -> ChainError:
    return translate_error({"code": code, "message": message, "data": data}, method, ORIGIN)


@pytest.mark.parametrize(
    "code, message",
    [
        (-32005, "query returned more than 10000 results"),
        (-32602, "range 1000000 exceeds limit of 10000"),
        (-32600, "block range is too wide"),
        (-32000, "exceed maximum block range: 5000"),
        (-32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range"),
        (-32614, "eth_getLogs is limited to a 10,000 range"),
        (-32000, "requested too many blocks from 1 to 9000, maximum is set to 2048"),
        (-32005, "query timeout exceeded"),
        (-32603, "query exceeds max results 20000, retry with the range 1-2"),
        (-32047, "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800"),
        (-32000, "backend response too large"),
        (-32000, "logs matched by query exceeds limit of 10000"),
        (-32001, "eth_getLogs range is too large, max is 1k blocks"),
        (-32602, "query block range exceeds server limit, narrow your filter: 1000"),
        (-32000, "context deadline exceeded"),
    ],
)
def test_refused_log_ranges(code: int, message: str) -> None:
    assert type(_translate(code, message, "eth_getLogs")) is RangeRefused


def test_a_range_limit_told_only_in_the_data() -> None:
    data = {"error_id": "1", "payload": "range 9009594 is bigger than range limit 2000"}
    assert type(_translate(-32602, "invalid params", "eth_getLogs", data)) is RangeRefused


@pytest.mark.parametrize("method", ["eth_getLogs", "eth_call", "eth_blockNumber"])
@pytest.mark.parametrize(
    "code, message",
    [
        (429, "Your app has exceeded its compute units per second capacity."),
        (-32005, "daily request count exceeded, request rate limited"),
        (-32005, "project ID request rate exceeded"),
        (-32007, "15/second request limit reached - reduce calls per second or upgrade your account"),
        (-32029, "Too Many Requests"),
        (-32000, "rate limit exceeded"),
    ],
)
def test_rate_limits(code: int, message: str, method: str) -> None:
    assert type(_translate(code, message, method)) is RateLimited


@pytest.mark.parametrize("method", ["eth_getLogs", "eth_call", "eth_getBlockByNumber"])
@pytest.mark.parametrize(
    "code, message",
    [
        (-32000, "header not found"),
        (-32000, "header for hash not found"),
        (-32000, "unknown block"),
        (-32001, "Resource not found"),
        (-32602, "BlockOutOfRangeError: block height is 0 but requested was 16"),
        (-32000, "missing trie node 5f (path ) state 0x5f is not available"),
        (-32000, "hash 0x12 is not currently canonical"),
        (-32603, "state at block #2 is pruned"),
        (4444, "pruned history unavailable"),
        (-32000, "4294967295 could not be found"),
        (-32603, "upstream does not have the requested block yet"),
        (-32001, "block not found: 0x3b9aca00"),
        (-32602, "block range extends beyond current head block"),
        (-32000, "requested to block 9 after last accepted block 7"),
    ],
)
def test_missing_blocks(code: int, message: str, method: str) -> None:
    assert type(_translate(code, message, method)) is BlockUnavailable


@pytest.mark.parametrize(
    "code, message",
    [
        (-32601, "Method not found"),
        (-32601, "the method eth_foo does not exist/is not available"),
        (-32000, "method eth_foo not supported"),
        (-32600, "Unsupported method: eth_foo"),
        (-32000, "rpc method is not whitelisted"),
    ],
)
def test_missing_methods(code: int, message: str) -> None:
    assert type(_translate(code, message, "eth_foo")) is MethodUnavailable


@pytest.mark.parametrize(
    "code, message, kind",
    [
        (-32603, "request timed out", RpcTimeout),
        (-32000, "no backend is currently healthy to serve traffic", RpcUnreachable),
        (-32000, "nonce too low", RpcFailure),
        (-32603, "Internal error", RpcFailure),
        (-32000, "insufficient funds for gas * price + value", RpcFailure),
    ],
)
def test_other_troubles(code: int, message: str, kind: type[ChainError]) -> None:
    assert type(_translate(code, message, "eth_sendRawTransaction")) is kind


PANIC = "4e487b71" + "00" * 31 + "11"


@pytest.mark.parametrize(
    "code, message, data",
    [
        (3, "execution reverted: panic", "0x" + PANIC),
        (-32000, "execution reverted", "0x" + PANIC),
        (-32015, "VM execution error.", "Reverted 0x" + PANIC),
        (-32603, "Error: VM Exception while processing transaction: reverted", {"message": "x", "data": "0x" + PANIC}),
        (-32603, "reverted", {"originalError": {"code": 3, "data": "0x" + PANIC}}),
        (
            -32000,
            "VM Exception while processing transaction: revert",
            {"0xabc": {"error": "revert", "return": "0x" + PANIC}},
        ),
    ],
)
def test_reverts_carry_their_bytes(code: int, message: str, data: Any) -> None:
    error = _translate(code, message, "eth_call", data)
    assert reverted(error) == bytes.fromhex(PANIC)
    assert not too_large(error)
    assert not halted(error)


@pytest.mark.parametrize("data", [None, "0x", "Reverted 0x", "no hex", {"stack": "…"}])
def test_a_bare_revert_has_empty_bytes(data: object) -> None:
    assert reverted(_translate(-32000, "execution reverted", "eth_estimateGas", data)) == b""


@pytest.mark.parametrize(
    "reason",
    ["rate limit exceeded", "header not found", "method not supported", "out of gas", "too many requests", "timed out"],
)
def test_a_contract_cannot_pass_its_words_off_as_the_nodes(reason: str) -> None:
    error = _translate(3, f"execution reverted: {reason}", "eth_call", "0x" + PANIC)
    assert reverted(error) == bytes.fromhex(PANIC)


def test_only_methods_that_run_code_revert() -> None:
    assert reverted(_translate(-32000, "filter reverted", "eth_getLogs")) is None


@pytest.mark.parametrize(
    "message",
    [
        "out of gas",
        "EVM error OutOfGas",
        "EVM error MemoryOOG",
        "intrinsic gas too high -- CallGasCostMoreThanGasLimit",
        "gas required exceeds allowance (50000000)",
        "execution aborted (timeout = 5s)",
        "response too large",
        "content length too large (5300000>5242880)",
    ],
)
def test_calls_that_halves_may_pass(message: str) -> None:
    assert too_large(_translate(-32000, message, "eth_call"))


@pytest.mark.parametrize(
    "message", ["EVM error InvalidFEOpcode", "invalid opcode: INVALID", "EVM error StackUnderflow"]
)
def test_halts_are_failures_of_the_code(message: str) -> None:
    error = _translate(-32603, message, "eth_call")
    assert halted(error)
    assert not too_large(error)


@pytest.mark.parametrize(
    "status, retry_after_s, kind",
    [
        (429, 3.0, RateLimited),
        (503, 3.0, RateLimited),
        (503, None, RpcUnreachable),
        (401, None, RpcUnreachable),
        (403, None, RpcUnreachable),
        (404, None, RpcUnreachable),
        (302, None, RpcUnreachable),
        (500, None, RpcUnreachable),
        (502, None, RpcUnreachable),
        (504, None, RpcTimeout),
        (400, None, MalformedResponse),
        (413, None, RpcFailure),
    ],
)
def test_http_statuses(status: int, retry_after_s: float | None, kind: type[ChainError]) -> None:
    error = error_from_status(status, "eth_call", retry_after_s, "words", "http://node")
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)
    if isinstance(error, RateLimited):
        assert error.retry_after_s == 3.0


def test_too_large_an_answer_is_a_matter_of_the_range_for_logs_only() -> None:
    assert type(error_from_status(413, "eth_getLogs", None, "", "x")) is RangeRefused
    assert too_large(error_from_status(413, "eth_call", None, "", "x"))


def test_an_error_that_is_no_object() -> None:
    assert type(translate_error("boom", "eth_call", ORIGIN)) is MalformedResponse


def test_the_message_is_masked() -> None:
    assert "0123456789abcdef" not in str(_translate(-32000, "bad key 0123456789abcdef", "eth_call"))


def test_batches_shrink_to_one_where_they_are_unwelcome_and_by_half_where_they_are_long() -> None:
    assert smaller_batch(100, "batch requests are not supported") == 1
    assert smaller_batch(100, "batch too long, at most 10") == 50
    assert smaller_batch(1, "batch too long") == 1


def test_nesting_without_end_is_not_followed() -> None:
    deep: dict[str, Any] = {"data": "0x12"}
    for _ in range(10):
        deep = {"data": deep}
    assert revert_bytes(deep) is None
