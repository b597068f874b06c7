"""What endpoints can do, found out in front of a real node."""

from __future__ import annotations

import pytest

from keeper.chain.capabilities import Capabilities, probe, slower_ways
from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
from keeper.core.errors import RpcUnreachable, WrongChain
from tests.chain.bench import CHAIN_ID, SICK, Bench
from tests.faults import FaultProxy, Manners

NO_SIMULATION = {"eth_simulateV1": {"code": -32601, "message": "the method eth_simulateV1 does not exist"}}


async def _found(rpc: Endpoints, bench: Bench) -> list[Capabilities]:
    return await probe(rpc, await bench.head())


async def test_a_node_that_can_do_everything(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(50)
    async with bench.endpoints(proxy.url) as rpc:
        [found] = await _found(rpc, bench)
        assert found == Capabilities(proxy.url, archive=True, batches=True, simulates=True)
        assert slower_ways(found, [found]) == []
        assert rpc.offers("eth_simulateV1")
    # A handful of small requests, no more.
    assert proxy.http_requests <= 5


async def test_a_node_without_archive(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(200)
    proxy.manners = Manners(state_depth=150)
    async with bench.endpoints(proxy.url) as rpc:
        [found] = await _found(rpc, bench)
    assert (found.archive, found.state_depth_blocks) == (False, 128)
    assert slower_ways(found, [found])[0].startswith("no archive: it has state down to 128 blocks")


async def test_a_node_with_the_state_of_the_head_alone(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(150)
    proxy.manners = Manners(state_depth=3)
    async with bench.endpoints(proxy.url) as rpc:
        [found] = await _found(rpc, bench)
    assert (found.archive, found.state_depth_blocks) == (False, None)
    assert "of fewer than 128 blocks" in slower_ways(found, [found])[0]


async def test_a_chain_of_one_block_is_kept_whole(bench: Bench) -> None:
    async with bench.endpoints() as rpc:
        [found] = await _found(rpc, bench)
    assert found.archive


@pytest.mark.parametrize("manners", [Manners(batches=False), Manners(max_batch=1)])
async def test_a_node_without_batches(bench: Bench, proxy: FaultProxy, manners: Manners) -> None:
    proxy.manners = manners
    async with bench.endpoints(proxy.url) as rpc:
        [found] = await _found(rpc, bench)
        assert not found.batches
        assert slower_ways(found, [found]) == ["no JSON-RPC batches: calls are sent one by one"]
        # It is not tried again.
        before = proxy.http_requests
        assert await rpc.batch([("eth_chainId", []), ("eth_blockNumber", [])]) == [hex(CHAIN_ID), "0x0"]
    assert proxy.http_requests == before + 2


async def test_simulations_go_to_the_endpoint_that_offers_them(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    proxy.manners = Manners(errors=NO_SIMULATION)
    async with bench.endpoints(proxy.url, second.url) as rpc:
        found = await _found(rpc, bench)
        assert [each.simulates for each in found] == [False, True]
        assert slower_ways(found[0], found) == [f"no eth_simulateV1: simulations go to {second.url}"]
        before = proxy.counts["eth_simulateV1"]
        await rpc.request("eth_simulateV1", [{"blockStateCalls": [{"calls": []}]}, "latest"])
        assert proxy.counts["eth_simulateV1"] == before
        assert rpc.offers("eth_simulateV1")


async def test_when_nobody_simulates_that_is_known(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(errors=NO_SIMULATION)
    async with bench.endpoints(proxy.url) as rpc:
        found = await _found(rpc, bench)
        assert not rpc.offers("eth_simulateV1")
    assert "eth_call with state overrides" in slower_ways(found[0], found)[0]


@pytest.mark.parametrize("manners", SICK)
async def test_a_sick_endpoint_does_not_keep_the_others_from_starting(
    bench: Bench, proxy: FaultProxy, manners: Manners
) -> None:
    proxy.manners = manners
    async with bench.endpoints(proxy.url, bench.url, timeout_s=0.5) as rpc:
        sick, well = await _found(rpc, bench)
    assert sick.trouble is not None
    assert well == Capabilities(bench.url)
    assert slower_ways(sick, [sick, well])[0].startswith("it was not reached (")


async def test_one_of_another_chain_is_said_to_be(bench: Bench, proxy: FaultProxy) -> None:
    proxy.on_request = lambda method, _: {"result": "0x1"} if method == "eth_chainId" else None
    async with Endpoints([Endpoint(bench.url), Endpoint(proxy.url), Endpoint("http://127.0.0.1:1")], CHAIN_ID) as rpc:
        found = await _found(rpc, bench)
    assert [type(each.trouble) for each in found] == [type(None), WrongChain, RpcUnreachable]
