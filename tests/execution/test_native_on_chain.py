"""The wrapped native coin, found by what it does."""

from __future__ import annotations

import pytest

from keeper.chain.blocks import read_header
from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import MalformedResponse
from keeper.devnet.market import Bed
from keeper.execution.native import find_wrapped_native
from keeper.execution.pinned import PinnedReads
from keeper.execution.tokens import read_decimals
from tests.faults import FaultProxy, Override


async def test_it_is_the_token_that_credits_deposits(bed36: Bed) -> None:
    head = await read_header(bed36.chain.rpc, "latest")
    tokens = [bed36.asset(symbol).token for symbol in reversed(bed36.deployment.symbols)]
    assert await find_wrapped_native(bed36.chain.rpc, tokens, head) == bed36.deployment.wrapped_native
    others = [token for token in tokens if token != bed36.deployment.wrapped_native]
    assert await find_wrapped_native(bed36.chain.rpc, others, head) is None


def answering(result: object) -> Override:
    return lambda method, params: {"result": result}


async def test_without_simulation_it_is_found_in_a_call(bed36: Bed) -> None:
    tokens = [bed36.asset(symbol).token for symbol in reversed(bed36.deployment.symbols)]
    others = [token for token in tokens if token != bed36.deployment.wrapped_native]
    async with FaultProxy(bed36.url) as proxy, JsonRpc(proxy.url) as rpc:
        head = await read_header(rpc, "latest")
        proxy.manners.errors["eth_simulateV1"] = {"code": -32601, "message": "method not found"}
        assert await find_wrapped_native(rpc, tokens, head) == bed36.deployment.wrapped_native
        assert await find_wrapped_native(rpc, others, head) is None
        # Not by a node that takes no overrides, or pays no heed to them.
        proxy.manners.errors["eth_call"] = {"code": -32602, "message": "too many arguments, want at most 2"}
        assert await find_wrapped_native(rpc, tokens, head) is None
        del proxy.manners.errors["eth_call"]
        proxy.on_request = lambda method, params: {"result": "0x"} if method == "eth_call" else None
        assert await find_wrapped_native(rpc, tokens, head) is None


async def test_odd_answers_raise(bed36: Bed) -> None:
    async with FaultProxy(bed36.url) as proxy, JsonRpc(proxy.url) as rpc:
        head = await read_header(rpc, "latest")
        odd_answers: list[object] = [[], [{}], [{"calls": []}], "0x", None]
        for odd in odd_answers:
            proxy.on_request = answering(odd)
            with pytest.raises(MalformedResponse):
                await find_wrapped_native(rpc, [bed36.deployment.wrapped_native], head)


async def test_tokens_say_their_decimals_or_are_left_out(bed36: Bed) -> None:
    head = await read_header(bed36.chain.rpc, "latest")
    read = PinnedReads(bed36.chain.rpc).read
    assets = bed36.deployment.assets.values()
    found = await read_decimals(read, [asset.token for asset in assets], head)
    assert found == {asset.token: asset.decimals for asset in assets}
    assert await read_decimals(read, [bed36.deployment.oracle], head) == {}
