"""One endpoint's faults, each by its own error."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from keeper.chain.jsonrpc import BatchRefused, JsonRpc
from keeper.chain.translate import reverted
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
from keeper.core.units import to_hex
from tests.chain.bench import LOGGER, REVERTER, Bench
from tests.faults import FaultProxy, Manners

LOG_QUERY = [{"address": [to_hex(LOGGER)], "fromBlock": "0x0", "toBlock": "0x0"}]


async def _failure(url: str, method: str = "eth_blockNumber", params: Any = (), **settings: Any) -> ChainError:
    async with JsonRpc(url, **settings) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.request(method, params)
    return caught.value


async def test_requests_and_batches_are_answered(bench: Bench) -> None:
    async with JsonRpc(bench.url) as rpc:
        assert await rpc.request("eth_chainId") == "0x7a69"
        results = await rpc.batch(
            [("eth_chainId", []), ("eth_foo", []), ("eth_getBlockByHash", ["0x" + "11" * 32, False])]
        )
        assert await rpc.batch([]) == []
    assert results[0] == "0x7a69"
    assert isinstance(results[1], MethodUnavailable)
    assert results[2] is None


async def test_members_arrive_in_the_order_asked(bench: Bench) -> None:
    async with JsonRpc(bench.url) as rpc:
        numbers = await rpc.batch([("eth_getBlockByNumber", [hex(0), False]), ("eth_chainId", [])] * 20)
    assert [isinstance(each, dict) for each in numbers] == [True, False] * 20


@pytest.mark.parametrize(
    "manners, kind, words",
    [
        (Manners(html=True), MalformedResponse, "no JSON but '<html>Cannot POST"),
        (Manners(truncated=True), MalformedResponse, "no JSON"),
        (Manners(deep=True), MalformedResponse, "no JSON"),
        (Manners(empty=True), MalformedResponse, "an empty body"),
        (Manners(wrong_id=True), MalformedResponse, "a wrong id"),
        (Manners(dropped=True), RpcUnreachable, "ClientPayloadError"),
        (Manners(hung_up=True), RpcUnreachable, "eth_blockNumber"),
        (Manners(delay_s=1.0), RpcTimeout, "in time"),
        (Manners(status=429), RateLimited, "HTTP 429"),
        (Manners(status=503), RpcUnreachable, "HTTP 503"),
        (Manners(status=503, retry_after="7"), RateLimited, "HTTP 503"),
        (Manners(status=401), RpcUnreachable, "check the key"),
        (Manners(status=403), RpcUnreachable, "check the key"),
        (Manners(status=404), RpcUnreachable, "check the URL"),
        (Manners(status=301), RpcUnreachable, "redirects"),
        (Manners(status=500), RpcUnreachable, "HTTP 500"),
        (Manners(errors={"eth_blockNumber": {"code": -32000, "message": "boom"}}), RpcFailure, "boom"),
    ],
)
async def test_faults_by_their_error(proxy: FaultProxy, manners: Manners, kind: type[ChainError], words: str) -> None:
    proxy.manners = manners
    error = await _failure(proxy.url, timeout_s=0.5)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    "header, seconds",
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("nan", None), ("1e300", 3600.0), ("soon", None), (None, None)],
)
async def test_retry_after_is_carried(proxy: FaultProxy, header: str | None, seconds: float | None) -> None:
    proxy.manners = Manners(status=429, retry_after=header)
    error = await _failure(proxy.url)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == seconds


async def test_retry_after_may_be_a_date(proxy: FaultProxy) -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    proxy.manners = Manners(status=429, retry_after=format_datetime(later, usegmt=True))
    error = await _failure(proxy.url)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s is not None
    assert 90 < error.retry_after_s <= 100


async def test_too_large_a_body_is_cut_off(bench: Bench) -> None:
    assert isinstance(
        await _failure(bench.url, "eth_getBlockByNumber", ["latest", False], max_body_bytes=500), MalformedResponse
    )
    await bench.log(1)
    query = [{"address": [to_hex(LOGGER)], "fromBlock": "0x0", "toBlock": "0x1"}]
    assert isinstance(await _failure(bench.url, "eth_getLogs", query, max_body_bytes=100), RangeRefused)


async def test_a_413_narrows_log_queries(proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=413)
    assert isinstance(await _failure(proxy.url, "eth_getLogs", LOG_QUERY), RangeRefused)


async def test_a_closed_port_is_unreachable() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert type(await _failure(f"http://127.0.0.1:{port}")) is RpcUnreachable


async def test_something_that_does_not_speak_http() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert type(await _failure(f"http://127.0.0.1:{port}")) is RpcUnreachable
    server.close()
    await server.wait_closed()


async def test_reverts_of_the_real_node(bench: Bench) -> None:
    call = {"to": to_hex(REVERTER), "data": "0x4e487b71" + "00" * 31 + "11"}
    assert reverted(await _failure(bench.url, "eth_call", [call, "latest"])) == bytes.fromhex(call["data"][2:])
    bare = {"to": to_hex(REVERTER)}
    assert reverted(await _failure(bench.url, "eth_call", [bare, "latest"])) == b""


async def test_blocks_that_the_real_node_does_not_know(bench: Bench) -> None:
    by_hash = {"blockHash": "0x" + "11" * 32, "requireCanonical": True}
    for method, params in (
        ("eth_call", [{"to": to_hex(LOGGER)}, by_hash]),
        ("eth_call", [{"to": to_hex(LOGGER)}, "0x99"]),
        ("eth_getLogs", [{"blockHash": "0x" + "11" * 32}]),
        ("eth_getLogs", [{"fromBlock": "0x50", "toBlock": "0x60"}]),
    ):
        assert type(await _failure(bench.url, method, params)) is BlockUnavailable, method


@pytest.mark.parametrize("manners", [Manners(batches=False), Manners(max_batch=1), Manners(status=413)])
async def test_a_refused_batch_says_so(proxy: FaultProxy, manners: Manners) -> None:
    proxy.manners = manners
    async with JsonRpc(proxy.url) as rpc:
        with pytest.raises(BatchRefused):
            await rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])])


@pytest.mark.parametrize(
    "manners, kind",
    [
        (Manners(truncated=True), MalformedResponse),
        (Manners(html=True), MalformedResponse),
        (Manners(status=429), RateLimited),
        (Manners(status=500), RpcUnreachable),
        (Manners(dropped=True), RpcUnreachable),
    ],
)
async def test_a_batch_that_fails_as_a_whole(proxy: FaultProxy, manners: Manners, kind: type[ChainError]) -> None:
    proxy.manners = manners
    async with JsonRpc(proxy.url) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])])
    assert type(caught.value) is kind


async def test_wrong_ids_in_a_batch_leave_their_members_unanswered(proxy: FaultProxy) -> None:
    proxy.manners = Manners(wrong_id=True)
    async with JsonRpc(proxy.url) as rpc:
        answers = await rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])])
    assert [type(each) for each in answers] == [MalformedResponse, MalformedResponse]


async def test_a_cancelled_request_leaves_the_client_usable(proxy: FaultProxy) -> None:
    proxy.manners = Manners(delay_s=5, only_next=1)
    async with JsonRpc(proxy.url) as rpc:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await rpc.request("eth_chainId")
        assert await rpc.request("eth_chainId") == "0x7a69"
