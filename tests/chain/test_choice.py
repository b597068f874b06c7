"""Which endpoint is asked: by health first, by the configured order among those alike."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from keeper.chain.deadlines import Deadlines
from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
from keeper.core.errors import MethodUnavailable, RpcFailure, RpcTimeout, RpcUnreachable
from keeper.core.units import to_hex
from tests.chain.bench import CHAIN_ID, LOGGER, REVERTER, SENDER, Bench
from tests.faults import FaultProxy, Manners

CALL = ("eth_call", [{"to": to_hex(LOGGER)}, "latest"])


async def _read(rpc: Endpoints, times: int) -> None:
    for _ in range(times):
        await rpc.request(*CALL)


async def test_the_first_is_asked_while_all_are_alike(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await _read(rpc, 20)
        [first_health, second_health] = rpc.health()
    second.assert_none("eth_call")
    assert first_health.ewma_s is not None
    assert first_health.p95_s is not None
    assert (second_health.ewma_s, second_health.errors) == (None, {})


async def test_a_slow_first_gives_way_once_the_second_is_known_to_be_quicker(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    proxy.manners = Manners(delays_s={"eth_call": 0.5})
    endpoints = [Endpoint(url, deadlines=Deadlines(state_s=0.4)) for url in (proxy.url, second.url)]
    async with Endpoints(endpoints, CHAIN_ID, hedged_share=1.0) as rpc:
        await _read(rpc, 30)
    # Each of the first reads was put to both; then there was no reason any more to ask the slow one.
    assert second.counts["eth_call"] == 30
    assert proxy.counts["eth_call"] < 10


async def test_one_that_lags_behind_is_passed_over(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    await bench.mine(20)
    proxy.manners = Manners(head_number=10)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        heads = await rpc.heads()
        assert [(each.label, each.header.number if each.header else None) for each in heads] == [
            (proxy.url, 10),
            (second.url, 20),
        ]
        # The sweep has asked both; what is said next counts.
        await rpc.heads()
        assert [each.lag_blocks for each in rpc.health()] == [10, 0]
        assert await rpc.request("eth_blockNumber") == hex(20)
        # It catches up, and is the first again.
        proxy.manners = Manners()
        await rpc.heads()
        before = proxy.counts["eth_call"]
        await _read(rpc, 1)
    assert proxy.counts["eth_call"] == before + 1


async def test_a_block_or_two_behind_is_no_lag(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    await bench.mine(20)
    proxy.manners = Manners(head_number=18)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.heads()
        await rpc.heads()
        await rpc.request("eth_blockNumber")
    assert proxy.counts["eth_blockNumber"] == 1


async def test_a_flaky_one_is_passed_over(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.check()
        proxy.manners = Manners(hung_up_every=2)
        for _ in range(12):
            await rpc.request(*CALL)
            await asyncio.sleep(0.11)
        assert rpc.health()[0].flaky
        proxy.http_requests = 0
        await _read(rpc, 5)
    assert proxy.http_requests == 0


async def test_an_endpoint_that_is_distrusted_rests(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.check()
        rpc.distrust(proxy.url, RpcTimeout("its head stands still"))
        await _read(rpc, 1)
        assert rpc.health()[0].errors == {"RpcTimeout": 1}
    proxy.assert_none("eth_call")


async def test_a_method_that_the_first_lacks_is_asked_of_the_second_from_then_on(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    proxy.manners = Manners(errors={"eth_feeHistory": {"code": -32601, "message": "Method not found"}})
    async with bench.endpoints(proxy.url, second.url) as rpc:
        for _ in range(3):
            assert await rpc.request("eth_feeHistory", ["0x1", "latest", []])
        assert (proxy.counts["eth_feeHistory"], second.counts["eth_feeHistory"]) == (1, 3)
        for _ in range(2):
            with pytest.raises(MethodUnavailable):
                await rpc.request("eth_foo")


async def test_the_heads_of_those_that_are_down_are_errors(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(delays_s={"eth_getBlockByNumber": 30.0})
    begun_s = time.monotonic()
    slow = Endpoint(proxy.url, deadlines=Deadlines(head_s=0.3))
    async with Endpoints([slow, Endpoint("http://127.0.0.1:1"), Endpoint(bench.url)], CHAIN_ID) as rpc:
        heads = await rpc.heads()
    assert [type(each.error) for each in heads] == [RpcTimeout, RpcUnreachable, type(None)]
    assert time.monotonic() - begun_s < 15


# -- deadlines ---------------------------------------------------------------------------------------------------------
async def test_a_slow_head_costs_its_own_deadline_only(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    proxy.manners = Manners(delays_s={"eth_getBlockByNumber": 30.0, "eth_call": 0.5})
    deadlines = Deadlines(head_s=0.2, state_s=5.0)
    endpoints = [Endpoint(url, timeout_s=20, deadlines=deadlines) for url in (proxy.url, second.url)]
    async with Endpoints(endpoints, CHAIN_ID, hedged_share=0.0) as rpc:
        begun_s = time.monotonic()
        await rpc.request("eth_getBlockByNumber", ["latest", False])
        assert time.monotonic() - begun_s < 15
        await asyncio.sleep(0.2)
        # What may take longer does.
        await _read(rpc, 1)
    assert (proxy.counts["eth_call"], second.counts["eth_call"]) == (1, 0)


# -- hedged reads ------------------------------------------------------------------------------------------------------
async def _used_to(rpc: Endpoints) -> None:
    """Enough answers to know what is usual."""
    await rpc.check()
    await _read(rpc, 12)


async def test_an_unusually_slow_read_is_answered_by_the_second(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    async with bench.endpoints(proxy.url, second.url, timeout_s=20.0) as rpc:
        await _used_to(rpc)
        already = second.counts["eth_call"]
        proxy.manners = Manners(delays_s={"eth_call": 20.0}, only_next=1)
        begun_s = time.monotonic()
        assert await rpc.request(*CALL) == "0x"
        assert time.monotonic() - begun_s < 15
        assert second.counts["eth_call"] == already + 1
        # To be slow once is no failure.
        assert rpc.health()[0].errors == {}
        assert rpc.health()[0].rest_s == 0


async def test_a_bounded_share_is_hedged_and_nothing_of_a_write(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    endpoints = [Endpoint(url) for url in (proxy.url, second.url)]
    async with Endpoints(endpoints, CHAIN_ID, hedged_share=0.1) as rpc:
        await _used_to(rpc)
        before = second.counts["eth_call"]
        # Slower than it was, but not so slow that it would give way.
        proxy.manners = Manners(delays_s={"eth_call": 0.04, "eth_sendTransaction": 1.0})
        second.manners = Manners(delays_s={"eth_call": 0.06})
        await _read(rpc, 60)
        assert 1 <= second.counts["eth_call"] - before <= 0.1 * 75 + 3
        await rpc.request("eth_sendTransaction", [{"from": to_hex(SENDER), "to": to_hex(SENDER)}])
    second.assert_none("eth_send")


async def test_an_error_of_the_second_does_not_beat_the_first(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    async with bench.endpoints(proxy.url, second.url, timeout_s=20.0) as rpc:
        await _used_to(rpc)
        proxy.manners = Manners(delays_s={"eth_call": 0.5})
        second.manners = Manners(errors={"eth_call": {"code": -32602, "message": "invalid argument"}})
        assert await rpc.request(*CALL) == "0x"
        # A revert is an answer like any other.
        second.manners = Manners()
        with pytest.raises(RpcFailure):
            await rpc.request("eth_call", [{"to": to_hex(REVERTER), "data": "0x1234"}, "latest"])


@pytest.mark.parametrize(
    "method, params",
    [
        ("eth_getLogs", [{"address": to_hex(LOGGER), "fromBlock": "0x0", "toBlock": "0x9"}]),
        ("eth_getTransactionCount", [to_hex(SENDER), "pending"]),
        ("eth_getTransactionReceipt", ["0x" + "11" * 32]),
    ],
)
async def test_ranges_of_logs_and_what_is_known_of_transactions_are_never_hedged(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, method: str, params: list[Any]
) -> None:
    deadlines = Deadlines(logs_s=1.0, state_s=1.0)
    endpoints = [Endpoint(url, deadlines=deadlines) for url in (proxy.url, second.url)]
    async with Endpoints(endpoints, CHAIN_ID, hedged_share=1.0) as rpc:
        await rpc.check()
        proxy.manners = Manners(delays_s={method: 0.5})
        assert await rpc.request(method, params) == await bench.node.request(method, params)
    second.assert_none(method)


async def test_consecutive_writes_stay_with_the_first_while_it_is_well(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await bench.mine(20)
        proxy.manners = Manners(head_number=10)
        await rpc.heads()
        await rpc.heads()
        # It lags: reads go elsewhere, but transactions that follow each other must arrive where those before them did.
        await rpc.request(*CALL)
        for _ in range(3):
            await rpc.request("eth_sendTransaction", [{"from": to_hex(SENDER), "to": to_hex(SENDER)}])
    assert (proxy.counts["eth_call"], second.counts["eth_call"]) == (0, 1)
    assert proxy.counts["eth_sendTransaction"] == 3
    second.assert_none("eth_send")
