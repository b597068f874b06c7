"""The proxy itself: what other tests rely on."""

from __future__ import annotations

import pytest

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import ChainError
from keeper.core.units import to_hex
from tests.chain.bench import SENDER, Bench
from tests.faults import FaultProxy, Manners


async def test_it_passes_everything_on_by_default(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(3)
    async with JsonRpc(proxy.url) as rpc:
        for method, params in (
            ("eth_blockNumber", []),
            ("eth_getBlockByNumber", ["0x2", False]),
            ("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "0x3"}]),
        ):
            assert await rpc.request(method, params) == await bench.node.request(method, params)
        with pytest.raises(ChainError, match="Method not found"):
            await rpc.request("eth_foo")


async def test_it_remembers_every_write(proxy: FaultProxy) -> None:
    proxy.assert_none("eth_send")
    async with JsonRpc(proxy.url) as rpc:
        body = {"from": to_hex(SENDER), "to": to_hex(SENDER)}
        await rpc.batch([("eth_blockNumber", []), ("eth_sendTransaction", [body])])
        with pytest.raises(ChainError):
            await rpc.request("eth_sendRawTransaction", ["0x"])
    assert proxy.seen("eth_send") == {"eth_sendTransaction": 1, "eth_sendRawTransaction": 1}
    with pytest.raises(AssertionError, match="eth_sendTransaction"):
        proxy.assert_none("eth_send")


async def test_a_stale_head_is_consistent(bench: Bench, proxy: FaultProxy) -> None:
    await bench.mine(9)
    proxy.manners = Manners(head_number=6)
    async with JsonRpc(proxy.url) as rpc:
        assert await rpc.request("eth_blockNumber") == "0x6"
        assert (await rpc.request("eth_getBlockByNumber", ["latest", False]))["number"] == "0x6"
        assert await rpc.request("eth_getBlockByNumber", ["0x7", False]) is None
        newest = await bench.head()
        assert await rpc.request("eth_getBlockByHash", [to_hex(newest.hash), False]) is None


async def test_manners_may_hold_for_some_requests_only(proxy: FaultProxy) -> None:
    proxy.manners = Manners(status=500, only_next=2)
    async with JsonRpc(proxy.url) as rpc:
        for _ in range(2):
            with pytest.raises(ChainError):
                await rpc.request("eth_chainId")
        assert await rpc.request("eth_chainId") == "0x7a69"


def test_it_stands_in_front_of_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        FaultProxy("https://node.example/v3/key")
