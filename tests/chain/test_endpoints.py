"""The chain that an endpoint answers for, and writes, which go out once."""

from __future__ import annotations

import pytest

from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
from keeper.core.errors import (
    ChainError,
    ConfigError,
    Defect,
    RpcFailure,
    RpcUnreachable,
    WrongChain,
)
from keeper.core.units import to_hex
from tests.chain.bench import CHAIN_ID, SENDER, SICK, Bench
from tests.faults import FaultProxy, Manners


async def test_the_wrong_chain_names_both(bench: Bench) -> None:
    async with Endpoints([Endpoint(bench.url)], 1) as rpc:
        for ask in (rpc.check(), rpc.request("eth_blockNumber"), rpc.request("eth_sendRawTransaction", ["0x"])):
            with pytest.raises(WrongChain, match="answers for chain 31337; configured is chain 1"):
                await ask


async def test_one_endpoint_of_another_chain_fails_the_start_but_not_a_running_keeper(
    bench: Bench, proxy: FaultProxy
) -> None:
    proxy.on_request = lambda method, _: {"result": "0x1"} if method == "eth_chainId" else None
    async with bench.endpoints(proxy.url, bench.url) as rpc:
        assert await rpc.request("eth_blockNumber") == "0x0"
        assert await rpc.request("eth_blockNumber") == "0x0"
        assert proxy.counts["eth_blockNumber"] == 0
    async with bench.endpoints(bench.url, proxy.url) as rpc:
        with pytest.raises(WrongChain):
            await rpc.check()


async def test_the_chain_is_asked_once_for_each_endpoint(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        for _ in range(3):
            await rpc.request("eth_blockNumber")
        assert await rpc.check() == CHAIN_ID
    assert proxy.counts["eth_chainId"] == 1


async def test_without_a_configured_chain_the_first_word_is_taken(bench: Bench) -> None:
    async with Endpoints([Endpoint(bench.url)], None) as rpc:
        assert await rpc.check() == CHAIN_ID
        assert rpc.chain_id == CHAIN_ID


async def test_the_start_forgives_a_back_up_that_is_down(bench: Bench) -> None:
    async with bench.endpoints("http://127.0.0.1:1", bench.url) as rpc:
        assert await rpc.check() == CHAIN_ID
    async with bench.endpoints("http://127.0.0.1:1") as rpc:
        with pytest.raises(RpcUnreachable):
            await rpc.check()


def test_no_endpoint_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        Endpoints([], 1)


# -- writes -------------------------------------------------------------------------------------------------------------
WRITE = [{"from": to_hex(SENDER), "to": to_hex(SENDER), "value": "0x1"}]


@pytest.mark.parametrize("manners", SICK)
@pytest.mark.parametrize("method", ["eth_sendTransaction", "eth_sendRawTransaction", "evm_mine"])
async def test_a_write_goes_once_to_one_endpoint(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, manners: Manners, method: str
) -> None:
    async with bench.endpoints(proxy.url, second.url, timeout_s=0.3) as rpc:
        await rpc.check()
        proxy.manners = manners
        with pytest.raises(ChainError):
            await rpc.request(method, WRITE if method == "eth_sendTransaction" else [])
    assert proxy.counts[method] == 1
    second.assert_none(method)


async def test_a_write_passes_over_an_endpoint_that_rests(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    proxy.manners = Manners(status=429, retry_after="60")
    async with bench.endpoints(proxy.url, second.url) as rpc:
        await rpc.request("eth_blockNumber")
        await rpc.request("eth_sendTransaction", WRITE)
    proxy.assert_none("eth_send")
    assert second.counts["eth_sendTransaction"] == 1


async def test_a_write_in_a_batch_is_our_own_mistake(bench: Bench, proxy: FaultProxy) -> None:
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(Defect):
            await rpc.batch([("eth_blockNumber", []), ("eth_sendTransaction", WRITE)])
    proxy.assert_none("eth_send")


async def test_a_refusal_by_the_node_is_raised_as_it_is(bench: Bench) -> None:
    async with bench.endpoints() as rpc:
        with pytest.raises(RpcFailure):
            await rpc.request("eth_sendRawTransaction", ["0x1234"])


@pytest.mark.parametrize("method", ["eth_blockNumber", "eth_sendTransaction"])
async def test_one_that_does_not_tell_its_chain_is_passed_over(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, method: str
) -> None:
    proxy.manners = Manners(errors={"eth_chainId": {"code": -32000, "message": "project disabled"}})
    async with bench.endpoints(proxy.url, second.url) as rpc:
        assert await rpc.check() == CHAIN_ID
        assert await rpc.request(method, WRITE if method == "eth_sendTransaction" else [])
    assert (proxy.counts[method], second.counts[method]) == (0, 1)
