"""The block of a number on the chain that ends in a given one."""

from __future__ import annotations

import pytest

from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.core.errors import BlockUnavailable
from tests.chain.bench import Bench


async def test_an_ancestor_is_found_as_long_as_the_chain_ends_in_that_block(bench: Bench) -> None:
    client = ChainClient(bench.node, poll_s=1, fee_cap_wei=1, priority_percentile=50)
    head = await bench.mine(5)
    assert await client.ancestor(head.number - 3, head) == await read_header(bench.node, head.number - 3)
    assert await client.ancestor(head.number, head) == head
    later = await bench.mine(2)
    assert (await client.ancestor(head.number, later)).hash == head.hash
    await bench.reorg(4)
    with pytest.raises(BlockUnavailable, match="no longer on the chain"):
        await client.ancestor(head.number - 3, later)
