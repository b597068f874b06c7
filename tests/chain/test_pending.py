"""Pending transactions of a real node: whole, by hash, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from keeper.chain.notice import Notice, NoticeKind
from keeper.chain.pending import PendingFeed, decode_pending
from keeper.chain.sockets import IpcAddress, SocketAddress, WebSocketAddress
from keeper.chain.subscription import Patience
from keeper.core.block import PendingTransaction
from keeper.core.errors import ChainError, MalformedResponse
from keeper.core.hexdata import decode_hash
from keeper.core.units import Address, Hash32, to_hex
from tests.chain.bench import CHAIN_ID, LOGGER, NOBODY, OTHER_LOGGER, SENDER, Bench
from tests.chain.watching import WAYS, address, comes_true
from tests.faults import FaultProxy, Manners
from tests.socket_faults import SocketManners, SocketProxy


@dataclass
class Heard:
    """What came, all the time."""

    transactions: list[PendingTransaction] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    errors: list[ChainError] = field(default_factory=list)
    ended: bool = False

    def hashes(self) -> list[Hash32]:
        return [each.hash for each in self.transactions]

    async def has(self, *hashes: Hash32) -> None:
        await comes_true(lambda: set(hashes) <= set(self.hashes()))


@asynccontextmanager
async def hearing(
    url: str, bench: Bench, *addresses: SocketAddress, to: tuple[Address, ...] = (LOGGER,)
) -> AsyncIterator[Heard]:
    heard = Heard()
    async with AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(bench.endpoints(url))
        feed = PendingFeed(
            rpc,
            addresses,
            CHAIN_ID,
            tell=heard.notices.append,
            on_error=heard.errors.append,
            patience=Patience(answer_s=0.5),
            first_pause_s=0.02,
        )

        async def listen() -> None:
            async for transaction in feed.pending(to):
                heard.transactions.append(transaction)
            heard.ended = True

        group = await stack.enter_async_context(asyncio.TaskGroup())
        listening = group.create_task(listen())
        stack.callback(listening.cancel)
        await bench.node.request("evm_setAutomine", [False])
        yield heard


async def send(bench: Bench, word: int, to: Address = LOGGER, **changes: str) -> Hash32:
    body = {"from": to_hex(SENDER), "to": to_hex(to), "data": to_hex(word.to_bytes(64)), "gas": hex(100_000), **changes}
    return decode_hash(await bench.node.request("eth_sendTransaction", [body]), "hash")


async def subscribed(sockets: SocketProxy, count: int = 1) -> None:
    await comes_true(lambda: len(sockets._subscriptions) >= count)


@pytest.mark.parametrize("way", WAYS)
async def test_whole_transactions_to_the_wanted_addresses(bench: Bench, sockets: SocketProxy, way: str) -> None:
    async with hearing(bench.url, bench, address(sockets, way), to=(LOGGER, OTHER_LOGGER)) as heard:
        await subscribed(sockets)
        first = await send(bench, 7, maxFeePerGas=hex(3 * 10**9), maxPriorityFeePerGas=hex(10**9))
        await send(bench, 8, NOBODY)
        legacy = await send(bench, 9, OTHER_LOGGER, gasPrice=hex(4 * 10**9))
        await heard.has(first, legacy)
        assert heard.hashes() == [first, legacy]
    assert heard.transactions == [
        PendingTransaction(first, SENDER, LOGGER, (7).to_bytes(64), 0, 100_000, 3 * 10**9, 10**9, 0),
        PendingTransaction(legacy, SENDER, OTHER_LOGGER, (9).to_bytes(64), 0, 100_000, 4 * 10**9, 4 * 10**9, 2),
    ]
    assert (heard.notices, heard.errors) == ([], [])


@pytest.mark.parametrize("manners", [SocketManners(hashes_only=True), SocketManners(refuses_whole_transactions=True)])
async def test_hashes_are_looked_up(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy, manners: SocketManners
) -> None:
    sockets.manners = manners
    async with hearing(proxy.url, bench, WebSocketAddress(sockets.url)) as heard:
        await subscribed(sockets)
        sent = [await send(bench, word) for word in range(3)]
        await send(bench, 3, NOBODY)
        await heard.has(*sent)
        assert sorted(heard.hashes()) == sorted(sent)
        assert proxy.counts["eth_getTransactionByHash"] == 4
        await bench.node.request("evm_mine")
    assert heard.notices == []


async def test_more_hashes_than_can_be_looked_up_are_dropped_and_that_is_said_once(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy
) -> None:
    sockets.manners = SocketManners(hashes_only=True, times=40)
    async with hearing(proxy.url, bench, WebSocketAddress(sockets.url)) as heard:
        await subscribed(sockets)
        for word in range(3):
            sent = await send(bench, word)
            await heard.has(sent)
        await comes_true(lambda: bool(heard.notices))
        assert len(heard.notices) == 1
        assert heard.notices[0].kind is NoticeKind.NO_PENDING
        assert len(set(heard.hashes())) == len(heard.hashes())


async def test_a_look_up_that_fails_costs_only_what_it_looked_for(
    bench: Bench, proxy: FaultProxy, sockets: SocketProxy
) -> None:
    sockets.manners = SocketManners(hashes_only=True)
    async with hearing(proxy.url, bench, WebSocketAddress(sockets.url)) as heard:
        await subscribed(sockets)
        await heard.has(await send(bench, 1))
        proxy.manners = Manners(errors={"eth_getTransactionByHash": {"code": -32000, "message": "no"}})
        await send(bench, 2)
        await comes_true(lambda: bool(heard.errors))
        proxy.manners = Manners()
        await heard.has(await send(bench, 3))
    assert len(heard.transactions) == 2


async def test_each_transaction_comes_once_through_duplicates_and_broken_connections(
    bench: Bench, sockets: SocketProxy
) -> None:
    sockets.manners = SocketManners(times=3)
    async with hearing(bench.url, bench, WebSocketAddress(sockets.url), IpcAddress(sockets.ipc_path)) as heard:
        for round_number in range(3):
            await subscribed(sockets, round_number + 1)
            await heard.has(await send(bench, round_number))
            await sockets.hang_up()
        await subscribed(sockets, 4)
    assert len(heard.hashes()) == 3
    assert heard.errors


async def test_no_node_that_tells_is_said_once_and_ends(bench: Bench, sockets: SocketProxy) -> None:
    sockets.manners = SocketManners(offers_subscriptions=False)
    for addresses in ((), (WebSocketAddress(sockets.url), IpcAddress(sockets.ipc_path))):
        async with hearing(bench.url, bench, *addresses) as heard:
            await comes_true(lambda: heard.ended)
        assert [notice.kind for notice in heard.notices] == [NoticeKind.NO_PENDING]
        assert heard.transactions == []


async def test_closing_it_closes_its_connection(bench: Bench, sockets: SocketProxy) -> None:
    async with bench.endpoints() as rpc:
        pending = PendingFeed(rpc, [WebSocketAddress(sockets.url)], CHAIN_ID).pending([LOGGER])
        asked = asyncio.get_running_loop().create_task(anext(pending))
        await subscribed(sockets)
        sent = await send(bench, 1)
        assert (await asked).hash == sent
        assert len(sockets._clients) == 1
        await pending.aclose()
        await comes_true(lambda: not sockets._clients)


def test_an_odd_transaction_is_malformed() -> None:
    good = {
        "hash": "0x" + "11" * 32,
        "from": to_hex(SENDER),
        "to": None,
        "input": "0x",
        "value": "0x0",
        "gas": "0x1",
        "gasPrice": "0x2",
        "nonce": "0x0",
    }
    assert decode_pending(good).to is None
    for key in good:
        if key != "to":
            with pytest.raises(MalformedResponse):
                decode_pending({name: held for name, held in good.items() if name != key})
            with pytest.raises(MalformedResponse):
                decode_pending(good | {key: 7})
