"""Batches that fit the endpoint, and our own pace."""

from __future__ import annotations

import asyncio
import time

import pytest

from keeper.chain.endpoints import Endpoints
from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.line import Endpoint, Exchange
from keeper.core.errors import (
    ChainError,
    MethodUnavailable,
    RpcFailure,
    RpcUnreachable,
)
from keeper.core.units import to_hex
from tests.chain.bench import CHAIN_ID, REVERTER, Bench
from tests.faults import FaultProxy, Manners

NUMBERS = [("eth_getBlockByNumber", ["0x0", False]), ("eth_blockNumber", [])] * 10


@pytest.mark.parametrize(
    "manners, requests",
    [(Manners(), 1), (Manners(batches=False), 1 + 20), (Manners(max_batch=6), 2 + 4), (Manners(status=413), None)],
)
async def test_batches_fit_what_the_endpoint_takes(
    bench: Bench, proxy: FaultProxy, manners: Manners, requests: int | None
) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests = 0
        proxy.manners = manners
        if requests is None:
            manners.only_next = 1
        answers = await rpc.batch(NUMBERS)
        assert [isinstance(each, dict) for each in answers] == [True, False] * 10
        assert proxy.http_requests == (requests or 3)
        proxy.http_requests = 0
        await rpc.batch(NUMBERS)
        # What it takes is remembered.
        assert proxy.http_requests == {1: 1, 21: 20, 6: 4, None: 2}[requests]


async def test_a_batch_size_of_one_never_batches(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(batches=False)
    async with bench.endpoints(proxy.url, batch_size=1) as rpc:
        assert len(await rpc.batch(NUMBERS)) == 20
    assert proxy.http_requests == 21


async def test_members_that_fail_stand_in_their_place(bench: Bench, proxy: FaultProxy) -> None:
    for batch_size in (100, 1):
        async with bench.endpoints(proxy.url, batch_size=batch_size) as rpc:
            answers = await rpc.batch(
                [("eth_blockNumber", []), ("eth_call", [{"to": to_hex(REVERTER)}, "latest"]), ("eth_foo", [])]
            )
        assert [type(each) for each in answers] == [str, RpcFailure, MethodUnavailable]


async def test_one_batch_is_answered_by_one_endpoint(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    def fails_late(method: str, _: object) -> dict[str, object] | None:
        return {"error": {"code": 429, "message": "slow down"}} if proxy.counts["eth_blockNumber"] >= 5 else None

    proxy.on_request = fails_late
    async with bench.endpoints(proxy.url, second.url, batch_size=1) as rpc:
        assert len(await rpc.batch(NUMBERS)) == 20
    assert second.counts["eth_blockNumber"] == second.counts["eth_getBlockByNumber"] == 10


async def test_a_limited_batch_goes_on_where_it_stopped(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(calls_per_s=8)
    async with bench.endpoints(proxy.url, batch_size=1) as rpc:
        answers = await rpc.batch(NUMBERS)
    assert len(answers) == 20
    assert not any(isinstance(each, ChainError) for each in answers)
    assert proxy.http_requests < 40


async def test_our_own_pace_keeps_the_nodes_limit_untouched(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(calls_per_s=22)
    seen: list[Exchange] = []
    endpoint = Endpoint(proxy.url, calls_per_s=10, batch_size=4)
    begun_s = time.monotonic()
    async with Endpoints([endpoint], CHAIN_ID, observer=seen.append) as rpc, asyncio.TaskGroup() as group:
        for _ in range(24):
            group.create_task(rpc.request("eth_blockNumber"))
    assert 2.0 < time.monotonic() - begun_s < 20
    assert [each.error for each in seen] == [None] * len(seen)


async def test_the_observer_sees_every_exchange(bench: Bench, proxy: FaultProxy) -> None:
    seen: list[Exchange] = []
    async with Endpoints([Endpoint(proxy.url)], CHAIN_ID, observer=seen.append) as rpc:
        await rpc.batch(NUMBERS)
        proxy.manners = Manners(html=True, only_next=1)
        await rpc.request("eth_blockNumber")
    assert [(each.method, each.calls, each.error) for each in seen] == [
        ("eth_chainId", 1, None),
        ("batch", 20, None),
        ("eth_blockNumber", 1, "MalformedResponse"),
        ("eth_blockNumber", 1, None),
    ]
    assert all(each.label == proxy.url and each.elapsed_s > 0 for each in seen)


async def test_a_read_can_be_cancelled_while_it_waits(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=429, retry_after="20")
    async with bench.endpoints(proxy.url) as rpc:
        begun_s = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await rpc.request("eth_blockNumber")
    assert time.monotonic() - begun_s < 15


async def test_the_plain_client_never_repeats(proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=500)
    async with JsonRpc(proxy.url) as rpc:
        with pytest.raises(RpcUnreachable):
            await rpc.request("eth_blockNumber")
    assert proxy.http_requests == 1
