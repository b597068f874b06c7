from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.blocks import read_header
from keeper.chain.fees import HISTORY_BLOCKS, FeeReader
from keeper.chain.rpc import Rpc
from keeper.core.bidding import Asked
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, MethodUnavailable
from tests.chain.bench import Bench
from tests.faults import FaultProxy, Manners


async def read_fees(rpc: Rpc, head: BlockRef | None = None) -> Asked:
    return await FeeReader(rpc, blocks=HISTORY_BLOCKS, percentile=50).read(head or await read_header(rpc, "latest"))


async def test_fees_of_the_real_node(bench: Bench, proxy: FaultProxy) -> None:
    for word in range(5):
        await bench.log(word)
    head = await bench.head()
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests = 0
        quote = await read_fees(rpc, head=head)
        assert proxy.http_requests == 1
        assert await read_fees(rpc) == quote
    assert head.base_fee_wei is not None
    # EIP-1559: down by an eighth at most, from a nearly empty block.
    assert head.base_fee_wei * 7 // 8 <= quote.base_fee_wei <= head.base_fee_wei
    assert quote.priority_fee_wei > 0


async def test_on_empty_blocks_the_node_suggests(bench: Bench) -> None:
    await bench.mine(20)
    quote = await read_fees(bench.node)
    assert quote.priority_fee_wei == int(await bench.node.request("eth_maxPriorityFeePerGas"), 16)


async def test_a_chain_without_a_base_fee_is_refused(bench: Bench, proxy: FaultProxy) -> None:
    block = await bench.node.request("eth_getBlockByNumber", ["latest", False])
    del block["baseFeePerGas"]

    def legacy(method: str, _: Any) -> dict[str, Any] | None:
        if method == "eth_feeHistory":
            return {"error": {"code": -32601, "message": "Method not found"}}
        return {"result": block} if method == "eth_getBlockByNumber" else None

    proxy.on_request = legacy
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(ChainError, match="without EIP-1559 fees is not supported"):
            await read_fees(rpc)


async def test_a_node_without_the_method_says_so(bench: Bench, proxy: FaultProxy) -> None:
    proxy.manners = Manners(errors={"eth_feeHistory": {"code": -32601, "message": "Method not found"}})
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(MethodUnavailable):
            await read_fees(rpc)
