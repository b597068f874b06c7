"""The checked header chain through reorganisations of a real node."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from keeper.chain.blocks import read_header
from keeper.chain.header_chain import HeaderChain
from keeper.core.errors import BlockUnavailable, ReorgTooDeep, RpcUnreachable
from keeper.core.units import Hash32
from tests.chain.bench import Bench
from tests.faults import FaultProxy, Manners


async def test_a_child_costs_no_request(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine()
    async with bench.endpoints(proxy.url) as rpc:
        chain = HeaderChain(rpc, start)
        child = await bench.mine()
        extension = await chain.extend(child)
    assert (extension.ancestor, extension.added) == (start, (child,))
    assert not extension.reorganised(start)
    assert chain.tip == child
    assert proxy.http_requests == 0


async def test_known_headers_are_not_read(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine()
    async with bench.endpoints(proxy.url) as rpc:
        chain = HeaderChain(rpc, start)
        known = [await bench.mine() for _ in range(6)]
        extension = await chain.extend(known[-1], {header.hash: header for header in known}.get)
        assert (extension.ancestor, list(extension.added)) == (start, known)
        assert proxy.http_requests == 0
        known += [await bench.mine() for _ in range(6)]
        # One is missing: what lies below it is read, above it known.
        del known[8]
        extension = await chain.extend(known[-1], {header.hash: header for header in known}.get)
    assert [each.number for each in extension.added] == list(range(start.number + 7, start.number + 13))
    assert [params[0] for _, params in proxy.recent if params] == [hex(start.number + 7 + each) for each in range(3)]


async def test_known_headers_of_a_reorganisation(bench: Bench, proxy: FaultProxy) -> None:
    chain = HeaderChain(bench.node, await bench.mine(3))
    await chain.extend(await bench.mine(10))
    head = await bench.reorg(4)
    branch = [await read_header(bench.node, head.number - back) for back in range(4)]
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests, chain._rpc = 0, rpc
        extension = await chain.extend(head, {header.hash: header for header in branch}.get)
    assert extension.ancestor.number == head.number - 4
    assert list(extension.added) == branch[::-1]
    assert proxy.http_requests == 0


async def test_the_same_head_again_adds_nothing(bench: Bench) -> None:
    start = await bench.mine()
    chain = HeaderChain(bench.node, start)
    extension = await chain.extend(start)
    assert (extension.ancestor, extension.added, chain.tip) == (start, (), start)


async def test_skipped_blocks_are_read_in_one_exchange(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine()
    async with bench.endpoints(proxy.url) as rpc:
        await rpc.check()
        proxy.http_requests = 0
        chain = HeaderChain(rpc, start)
        head = await bench.mine(20)
        extension = await chain.extend(head)
    assert extension.ancestor == start
    assert [each.number for each in extension.added] == list(range(start.number + 1, head.number + 1))
    assert all(child.parent_hash == parent.hash for parent, child in pairwise(extension.added))
    assert proxy.http_requests == 1


@pytest.mark.parametrize("depth", [1, 2, 7, 10])
@pytest.mark.parametrize("grown", [0, 1, 5])
async def test_a_reorganisation_is_followed_to_the_common_ancestor(bench: Bench, depth: int, grown: int) -> None:
    chain = HeaderChain(bench.node, await bench.mine(3))
    tip = await bench.mine(10)
    await chain.extend(tip)
    ancestor = await read_header(bench.node, tip.number - depth)
    head = await bench.reorg(depth)
    if grown:
        head = await bench.mine(grown)
    extension = await chain.extend(head)
    assert extension.ancestor == ancestor
    assert extension.reorganised(tip)
    assert [each.number for each in extension.added] == list(range(ancestor.number + 1, head.number + 1))
    assert extension.added[-1] == chain.tip == head
    assert not await chain.contains(tip)
    assert await chain.contains(ancestor)


async def test_a_rollback_ends_at_a_block_that_we_have(bench: Bench) -> None:
    chain = HeaderChain(bench.node, await bench.mine(3))
    tip = await bench.mine(5)
    await chain.extend(tip)
    head = await bench.rollback(2)
    extension = await chain.extend(head)
    assert (extension.ancestor, extension.added, chain.tip) == (head, (), head)
    assert extension.reorganised(tip)
    assert not await chain.contains(tip)
    child = await bench.mine()
    assert (await chain.extend(child)).ancestor == head


async def test_too_deep_a_reorganisation_is_refused_and_changes_nothing(bench: Bench) -> None:
    await bench.mine(5)
    start = await bench.mine(5)
    chain = HeaderChain(bench.node, start, depth=4)
    tip = await bench.mine(6)
    await chain.extend(tip)
    tip = await bench.reorg(4)
    assert (await chain.extend(tip)).ancestor.number == tip.number - 4
    head = await bench.reorg(5)
    with pytest.raises(ReorgTooDeep):
        await chain.extend(head)
    assert chain.tip == tip
    with pytest.raises(ReorgTooDeep):
        await chain.extend(await bench.mine(20))


async def test_a_start_that_was_reorganised_away_is_noticed(bench: Bench) -> None:
    start = await bench.mine(5)
    for grown in (0, 3, 300):
        await bench.reorg(2)
        head = await bench.mine(grown) if grown else await bench.head()
        with pytest.raises(ReorgTooDeep):
            await HeaderChain(bench.node, start).extend(head)


async def test_a_long_absence_keeps_the_last_headers_only(bench: Bench) -> None:
    start = await bench.mine(5)
    chain = HeaderChain(bench.node, start, depth=16)
    head = await bench.mine(400)
    extension = await chain.extend(head)
    assert extension.ancestor == start
    assert not extension.reorganised(start)
    assert [each.number for each in extension.added] == list(range(head.number - 16, head.number + 1))
    assert await chain.contains(start)
    assert not await chain.contains(replace(start, hash=Hash32(b"\x11" * 32)))
    assert not await chain.contains(replace(head, hash=Hash32(b"\x11" * 32)))


async def test_a_reorganisation_during_a_long_absence(bench: Bench) -> None:
    chain = HeaderChain(bench.node, await bench.mine(5), depth=16)
    tip = await bench.mine(10)
    await chain.extend(tip)
    ancestor = await read_header(bench.node, tip.number - 3)
    await bench.reorg(3)
    head = await bench.mine(100)
    extension = await chain.extend(head)
    assert extension.ancestor == ancestor
    assert extension.reorganised(tip)


async def test_a_chain_that_moves_while_it_is_read(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine(5)
    chain = HeaderChain(bench.node, start)
    head = await bench.mine(4)
    await bench.reorg(3)
    # The head is gone by now; its neighbours are of another chain.
    with pytest.raises(BlockUnavailable):
        await chain.extend(head)
    assert chain.tip == start


async def test_a_head_that_is_replaced_while_its_ancestor_is_looked_for(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine(5)
    head = await bench.mine(100)
    other = await bench.node.request("eth_getBlockByNumber", [hex(head.number - 1), False])
    proxy.on_request = lambda _, params: (
        {"result": other | {"number": params[0]}} if params[:1] == [hex(head.number)] else None
    )
    async with bench.endpoints(proxy.url) as rpc:
        chain = HeaderChain(rpc, start, depth=16)
        with pytest.raises(BlockUnavailable, match="was replaced"):
            await chain.extend(head)
    assert chain.tip == start


async def test_trouble_while_reading_changes_nothing(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine(5)
    async with bench.endpoints(proxy.url) as rpc:
        chain = HeaderChain(rpc, start)
        head = await bench.mine(4)
        proxy.manners = Manners(status=500)
        with pytest.raises(RpcUnreachable):
            await chain.extend(head)
        assert chain.tip == start
        proxy.manners = Manners()
        assert (await chain.extend(head)).added[-1] == head


async def test_the_window_is_bounded_and_found_in(bench: Bench) -> None:
    chain = HeaderChain(bench.node, await bench.mine(), depth=8)
    for _ in range(20):
        await chain.extend(await bench.mine())
    assert len(chain._window) == 9
    assert chain.find(chain.tip.hash) == chain.tip
    assert chain.find(Hash32(b"\x11" * 32)) is None


async def test_a_random_walk_always_ends_on_the_nodes_chain(bench: Bench) -> None:
    random = Random(7)
    chain = HeaderChain(bench.node, await bench.mine(30), depth=64)
    await chain.extend(await bench.mine(20))
    for _ in range(40):
        before = chain.tip
        step = random.choice(("mine", "mine", "skip", "reorg", "rollback"))
        if step == "mine":
            head = await bench.mine()
        elif step == "skip":
            head = await bench.mine(random.randint(2, 9))
        elif step == "reorg":
            head = await bench.reorg(random.randint(1, 6))
        else:
            head = await bench.rollback(random.randint(1, 4))
        extension = await chain.extend(head)
        assert chain.tip == head
        assert await read_header(bench.node, extension.ancestor.number) == extension.ancestor
        still_there = before.number <= head.number and (await read_header(bench.node, before.number)) == before
        assert extension.reorganised(before) != still_there
        for header in chain._window.values():
            assert await read_header(bench.node, header.number) == header
