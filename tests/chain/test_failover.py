"""Reads that are repeated, and those that are not, in front of a real node."""

from __future__ import annotations

import asyncio
import time

import pytest

from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
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
from tests.chain.bench import CHAIN_ID, LOGGER, REVERTER, SICK, Bench
from tests.faults import FaultProxy, Manners


@pytest.mark.parametrize("manners", SICK)
async def test_a_sick_endpoint_is_passed_over(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, manners: Manners
) -> None:
    proxy.manners = manners
    async with bench.endpoints(proxy.url, second.url, timeout_s=0.3) as rpc:
        assert await rpc.request("eth_blockNumber") == "0x0"
        # It rests: the next reads go straight to the second.
        begun_s = time.monotonic()
        if manners.retry_after:
            assert await rpc.batch([("eth_blockNumber", []), ("eth_chainId", [])]) == ["0x0", "0x7a69"]
            assert time.monotonic() - begun_s < 30
            assert proxy.http_requests == 1


@pytest.mark.parametrize("manners", SICK)
async def test_a_passing_sickness_of_the_only_endpoint_is_waited_out(
    bench: Bench, proxy: FaultProxy, manners: Manners
) -> None:
    manners = Manners(**{**vars(manners), "only_next": 2, "retry_after": None})
    async with bench.endpoints(proxy.url, timeout_s=0.3) as rpc:
        proxy.manners = manners
        assert await rpc.request("eth_blockNumber") == "0x0"


@pytest.mark.parametrize(
    "manners, kind",
    [
        (Manners(html=True), MalformedResponse),
        (Manners(hung_up=True), RpcUnreachable),
        (Manners(status=429), RateLimited),
        (Manners(delay_s=5.0), RpcTimeout),
    ],
)
async def test_attempts_are_bounded(proxy: FaultProxy, manners: Manners, kind: type[ChainError]) -> None:
    proxy.manners = manners
    endpoint = Endpoint(proxy.url, timeout_s=0.1)
    async with Endpoints([endpoint], None, attempts=3, deadline_s=5.0) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.request("eth_blockNumber")
    assert type(caught.value) is kind
    assert proxy.http_requests == 3


async def test_the_deadline_binds_and_names_the_trouble(proxy: FaultProxy) -> None:
    proxy.manners = Manners(delay_s=30)
    begun_s = time.monotonic()
    async with Endpoints([Endpoint(proxy.url, timeout_s=20)], CHAIN_ID, deadline_s=0.3) as rpc:
        with pytest.raises(RpcTimeout, match=r"no answer within 0\.3 s"):
            await rpc.request("eth_blockNumber")
    assert time.monotonic() - begun_s < 8


async def test_a_rest_longer_than_the_deadline_is_not_waited_for(proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=429, retry_after="3600")
    begun_s = time.monotonic()
    async with Endpoints([Endpoint(proxy.url)], CHAIN_ID, deadline_s=10) as rpc:
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await rpc.request("eth_blockNumber")
            assert caught.value.retry_after_s is not None
            assert caught.value.retry_after_s > 3000
    assert time.monotonic() - begun_s < 8
    assert proxy.http_requests == 1


async def test_retry_after_is_respected(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.manners = Manners(status=429, retry_after="1", only_next=1)
        begun_s = time.monotonic()
        assert await rpc.request("eth_blockNumber") == "0x0"
    assert 1.0 <= time.monotonic() - begun_s < 15


async def test_the_first_endpoint_is_used_again_once_it_is_well(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    proxy.manners = Manners(status=500, only_next=1)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.request("eth_blockNumber")
        assert second.counts["eth_blockNumber"] == 1
        await asyncio.sleep(0.15)
        await rpc.request("eth_blockNumber")
    assert second.counts["eth_blockNumber"] == 1
    assert proxy.counts["eth_blockNumber"] == 1


async def test_final_answers_are_not_asked_again(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, second.url) as rpc:
        with pytest.raises(RpcFailure) as caught:
            await rpc.request("eth_call", [{"to": to_hex(REVERTER), "data": "0x1234"}, "latest"])
        assert reverted(caught.value) == b"\x12\x34"
        proxy.manners = Manners(max_log_range=10)
        with pytest.raises(RangeRefused):
            await rpc.request("eth_getLogs", [{"address": to_hex(LOGGER), "fromBlock": "0x0", "toBlock": "0xff"}])
    assert proxy.seen("eth_call") == {"eth_call": 1}
    assert proxy.counts["eth_getLogs"] == 1
    assert second.http_requests == 0


async def test_a_slow_log_query_comes_back_to_be_narrowed(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url, timeout_s=0.1) as rpc:
        await rpc.check()
        proxy.manners = Manners(delay_s=5)
        with pytest.raises(RpcTimeout):
            await rpc.request("eth_getLogs", [{"address": to_hex(LOGGER), "fromBlock": "0x0", "toBlock": "0x9"}])
    assert proxy.counts["eth_getLogs"] == 1


async def test_the_logs_of_one_block_are_asked_of_the_next(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine()
    proxy.manners = Manners(delay_s=5)
    async with bench.endpoints(proxy.url, bench.url, timeout_s=0.2) as rpc:
        by_hash = {"address": to_hex(LOGGER), "blockHash": to_hex(head.hash)}
        assert await rpc.request("eth_getLogs", [by_hash]) == []


async def test_a_block_that_one_lacks_another_may_have(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    head = await bench.mine(5)
    proxy.manners = Manners(head_number=3)
    call = [{"to": to_hex(LOGGER)}, {"blockHash": to_hex(head.hash), "requireCanonical": True}]
    async with bench.endpoints(proxy.url, second.url) as rpc:
        assert await rpc.request("eth_call", call) == "0x"
        assert (proxy.counts["eth_call"], second.counts["eth_call"]) == (1, 1)
        # The first is well otherwise, and stays the first.
        await rpc.request("eth_blockNumber")
    assert proxy.counts["eth_blockNumber"] == 1


async def test_a_block_that_comes_a_moment_later(bench: Bench, proxy: FaultProxy) -> None:
    head = await bench.mine(5)
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.manners = Manners(head_number=3, only_next=2)
        call = [{"to": to_hex(LOGGER)}, {"blockHash": to_hex(head.hash), "requireCanonical": True}]
        assert await rpc.request("eth_call", call) == "0x"
        with pytest.raises(BlockUnavailable):
            await rpc.request("eth_call", [{"to": to_hex(LOGGER)}, {"blockHash": "0x" + "11" * 32}])


async def test_a_well_endpoint_that_lags_is_asked_again_before_one_that_rests(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    head = await bench.mine(5)
    proxy.manners = Manners(status=429, retry_after="60")
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.request("eth_blockNumber")
        second.manners = Manners(head_number=3, only_next=1)
        call = [{"to": to_hex(LOGGER)}, {"blockHash": to_hex(head.hash), "requireCanonical": True}]
        assert await rpc.request("eth_call", call) == "0x"
    proxy.assert_none("eth_call")


async def test_a_method_that_one_lacks_another_may_have(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    proxy.manners = Manners(errors={"eth_feeHistory": {"code": -32601, "message": "Method not found"}})
    async with bench.endpoints(proxy.url, second.url) as rpc:
        assert await rpc.request("eth_feeHistory", ["0x1", "latest", []])
        with pytest.raises(MethodUnavailable):
            await rpc.request("eth_foo")
    assert proxy.counts["eth_foo"] == second.counts["eth_foo"] == 1
