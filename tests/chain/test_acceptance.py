"""When a range of logs is believed."""

from __future__ import annotations

import pytest

from keeper.chain.acceptance import HashAt, RangeCheck
from keeper.chain.header_chain import HeaderChain
from keeper.chain.logs import read_logs
from keeper.core.block import BlockRef, Log
from keeper.core.errors import BlockUnavailable
from keeper.core.units import Hash32
from tests.chain.bench import LOGGER, LOGS, TOPIC, Bench
from tests.faults import FaultProxy

ELSEWHERE = Hash32(b"\x66" * 32)


def head(number: int = 9) -> BlockRef:
    return BlockRef(number, Hash32(bytes([number]) * 32), Hash32(bytes([number - 1]) * 32), 1_000, None, 30_000_000)


def log(number: int, block_hash: bytes | None = None, index: int = 0) -> Log:
    found = Hash32(block_hash or bytes([number]) * 32)
    return Log(LOGGER, (TOPIC,), b"", number, found, Hash32(b"\x01" * 32), index)


def follows(*numbers: int) -> HashAt:
    return lambda number: Hash32(bytes([number]) * 32) if number in numbers else None


def test_logs_of_blocks_that_we_follow_are_accepted() -> None:
    check = RangeCheck(3, head(), follows(5, 6))
    check.accept_logs([log(3, ELSEWHERE), log(5), log(6), log(9)])
    with pytest.raises(BlockUnavailable, match="another block"):
        check.accept_logs([log(5), log(6, ELSEWHERE)])


def test_logs_of_one_block_agree() -> None:
    check = RangeCheck(3, head())
    check.accept_logs([log(4, ELSEWHERE), log(4, ELSEWHERE, 1)])
    with pytest.raises(BlockUnavailable, match="another block"):
        check.accept_logs([log(4, ELSEWHERE), log(4, index=1)])


def test_the_ends_are_those_that_we_follow() -> None:
    with pytest.raises(BlockUnavailable, match="log 0 of block 9"):
        RangeCheck(3, head()).accept_logs([log(9, ELSEWHERE)])


def test_the_lower_end_is_asked_for_until_it_is_known() -> None:
    assert len(RangeCheck(3, head(), follows(3)).entries()) == 1
    check = RangeCheck(3, head())
    assert [params[0] for _, params in check.entries()] == ["0x9", "0x3"]


async def test_both_ends_are_read_again(bench: Bench) -> None:
    await bench.mine(3)
    to = await bench.mine(6)
    check = RangeCheck(to.number - 5, to)
    check.accept_ends(await bench.node.batch(check.entries()))
    assert len(check.entries()) == 1
    await check.confirm(bench.node)
    await bench.reorg(2)
    with pytest.raises(BlockUnavailable, match=f"block {to.number} .* is no longer on the chain"):
        await check.confirm(bench.node)


async def test_a_lower_end_of_another_chain_is_noticed(bench: Bench, proxy: FaultProxy) -> None:
    """As behind a balancer: the upper end is answered by a node of the one chain, the lower end by one of the other."""
    await bench.mine(3)
    to = await bench.mine(6)
    lower = to.number - 5
    old = await bench.node.request("eth_getBlockByNumber", [hex(lower), False])
    other = old | {"hash": "0x" + ELSEWHERE.hex()}
    async with bench.endpoints(proxy.url) as rpc:
        check = RangeCheck(lower, to)
        check.accept_ends(await rpc.batch(check.entries()))
        proxy.on_request = lambda _, params: {"result": other} if params[:1] == [hex(lower)] else None
        with pytest.raises(BlockUnavailable, match=f"block {lower} .* is no longer on the chain"):
            await check.confirm(rpc)


async def test_a_log_of_another_branch_is_refused_where_we_have_the_header(bench: Bench, proxy: FaultProxy) -> None:
    start = await bench.mine(3)
    chain = HeaderChain(bench.node, start)
    for word in range(4):
        await bench.log(word)
    to = await bench.head()
    await chain.extend(to)
    criteria = {"address": ["0x" + LOGGER.hex()], "fromBlock": hex(start.number + 1), "toBlock": hex(to.number)}
    honest = await bench.node.request("eth_getLogs", [criteria])
    forged = [dict(entry) for entry in honest]
    forged[1]["blockHash"] = "0x" + ELSEWHERE.hex()
    proxy.on_request = lambda method, params: {"result": forged} if method == "eth_getLogs" else None
    async with bench.endpoints(proxy.url) as rpc:
        with pytest.raises(BlockUnavailable, match="another block"):
            [_ async for _ in read_logs(rpc, LOGS, start.number + 1, to, hash_at=chain.hash_at)]
        # Nothing else would have told: without headers the same answer passes.
        chunks = [chunk async for chunk in read_logs(rpc, LOGS, start.number + 1, to)]
    assert len(chunks[0].logs) == 4
