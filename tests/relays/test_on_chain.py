"""Through relays on the real contracts: a builder mines what is offered, or does not; what came of it is read back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from keeper.chain.jsonrpc import JsonRpc
from keeper.core import attempt_build
from keeper.core.block import BlockRef
from keeper.core.errors import Refused, RpcFailure
from keeper.core.intent import IntentStatus
from keeper.core.order import Answer, Order, Outcome, Simulation, Submission
from keeper.core.units import Address, Hash32, address_from_hex, to_hex
from keeper.devnet import admin
from keeper.devnet.market import ADMIN, Bed
from keeper.execution.earlier import Earlier
from keeper.execution.live import LiveSubmitter, may_go_live
from keeper.execution.readback import ReadBack
from keeper.execution.relays.relay import Relay, RelayMethod
from keeper.execution.relays.route import PrivateRoute, RelayTerms
from keeper.execution.sender import Sender
from keeper.execution.signing.reputation import ReputationKey
from keeper.execution.simulate import NodeSimulator
from keeper.execution.strangers import Strangers
from keeper.store import StoreReader
from keeper.store.store import Store
from tests.devnet.chain_facts import nonce
from tests.execution.rig import GWEI, KEEPER, WINDOW_S, Rig, rigged
from tests.relays.local_relay import LocalRelay
from tests.submitting import submit

REPUTATION = ReputationKey(Account.from_key(b"\x33" * 32))
UPDATER = Account.from_key(b"\x44" * 32)
BLOCK_S = 2
CHAIN = "devnet"


@dataclass
class Scene:
    """A live submitter whose orders go to relays, and a chain that stands still until a builder builds."""

    rig: Rig
    relay: LocalRelay
    route: PrivateRoute
    sender: Sender
    submitter: LiveSubmitter
    store: Store

    async def head(self) -> BlockRef:
        """The newest block, with all that the route does about it."""
        head = await self.rig.head()
        await self.submitter.prepare(head)
        await self.calm()
        return head

    async def calm(self) -> None:
        while tasks := list(self.route._tasks):
            await asyncio.wait(tasks)

    async def build(self) -> list[Hash32]:
        await self.rig.bed.chain.rpc.request("evm_increaseTime", [BLOCK_S])
        return await self.relay.build(self.rig.bed.chain.rpc)

    async def next_head(self) -> BlockRef:
        await self.build()
        head = await self.head()
        await self.submitter.follow_up(head)
        return head

    async def order(self) -> tuple[Order, Simulation]:
        head = await self.rig.head()
        [order] = await self.rig.orders(KEEPER, most=1)
        [result] = await NodeSimulator(self.rig.rpc, self.rig.markets).simulate(
            [order], head, head.timestamp_s + WINDOW_S
        )
        assert isinstance(result, Simulation)
        return order, result

    async def settled(self, submission: Submission) -> Outcome | None:
        return await self.submitter.settle(submission, await self.head())

    async def seen_in_public(self, hashes: Sequence[Hash32]) -> bool:
        found = await self.rig.bed.chain.rpc.batch([("eth_getTransactionByHash", [to_hex(each)]) for each in hashes])
        return any(each is not None for each in found)


@asynccontextmanager
async def scene(
    bed: Bed, folder: Path, *, method: RelayMethod = RelayMethod.BUNDLE, then_public: bool = False
) -> AsyncIterator[Scene]:
    relay = LocalRelay()

    async def untold(text: str) -> None: ...

    async def never() -> bool:
        return False

    async with (
        rigged(bed) as rig,
        Store.open(folder / "keeper.db") as store,
        relay.serving() as url,
        JsonRpc(url, headers_for=REPUTATION.headers) as rpc,
    ):
        await rig.fund(KEEPER)
        head = await rig.head()
        relays = [Relay(rpc, rpc.label, method, REPUTATION.address)]
        async with PrivateRoute(rig.rpc, relays, RelayTerms(2, then_public), untold, head.number, never) as route:
            sender = Sender(route, rig.signer(folder), store, bed.deployment.chain_id)
            permit = may_go_live(bed.deployment.chain_id, is_testnet_preset=False, node_is_anvil_devnet=True)
            chain_id, read_back = bed.deployment.chain_id, ReadBack(rig.rpc, rig.client, rig.markets)
            submitter = LiveSubmitter(
                permit,
                sender,
                rig.reconciler,
                on_head=route.on_head,
                strangers=Strangers(sender.following, store, store, chain_id, KEEPER),
                earlier=Earlier(rig.rpc, store, read_back, CHAIN, chain_id, KEEPER),
            )
            await submitter.start(head)
            await rig.crash()
            await bed.chain.rpc.request("evm_setAutomine", [False])
            yield Scene(rig, relay, route, sender, submitter, store)


def hashes_of(submission: Submission) -> list[Hash32]:
    return [sent.transaction_hash for sent in submission.transactions if sent.transaction_hash is not None]


@pytest.mark.parametrize("method", [RelayMethod.BUNDLE, pytest.param(RelayMethod.PRIVATE, marks=pytest.mark.long)])
async def test_a_borrower_is_restored_by_what_nobody_saw(bed36: Bed, tmp_path: Path, method: RelayMethod) -> None:
    async with scene(bed36, tmp_path, method=method) as here:
        head = await here.head()
        order, simulation = await here.order()
        submission = await submit(here.submitter, order, simulation, head)
        assert [sent.answer for sent in submission.transactions] == [Answer.ACCEPTED] * len(order.calls)
        assert not await here.seen_in_public(hashes_of(submission))
        assert here.submitter.open_borrowers() == {order.borrower}
        assert set(await here.build()) == set(hashes_of(submission))
        outcome = await here.settled(submission)
        assert outcome is not None
        assert outcome.restored
        assert (outcome.model_error_wad, outcome.amounts_match) == (0, True)


async def test_a_relay_that_says_it_took_it_and_did_not_loses_nothing(bed36: Bed, tmp_path: Path) -> None:
    """Given up after its blocks, the borrower's next order takes the very nonce; of the two, one is mined."""
    async with scene(bed36, tmp_path) as here:
        head = await here.head()
        here.relay.does = "drops"
        first = await submit(here.submitter, *await here.order(), head)
        while (outcome := await here.settled(first)) is None:
            head = await here.next_head()
            assert head.number < first.submitted_block + 10
        assert "lost" in outcome.detail
        here.relay.does = ""
        head = await here.head()
        second = await submit(here.submitter, *await here.order(), head)
        assert [sent.nonce for sent in second.transactions] == [sent.nonce for sent in first.transactions]
        assert set(await here.build()) == set(hashes_of(second))
        outcome = await here.settled(second)
        assert outcome is not None
        assert outcome.restored
        # The liar has the first one's bytes all the same, and they are worth nothing any more.
        with pytest.raises(RpcFailure, match="nonce too low"):
            await here.rig.bed.chain.rpc.request("eth_sendRawTransaction", [to_hex(_raw_of(here, first))])


async def test_a_relay_that_refuses_it_and_has_it_mined_is_found_out(bed36: Bed, tmp_path: Path) -> None:
    """Its gas is in the ledger, its outcome is told, and nobody takes it for a stranger's."""
    async with scene(bed36, tmp_path) as here:
        head = await here.head()
        here.relay.does = "refuses_and_keeps"
        order, simulation = await here.order()
        await here.store.record([attempt_build.decided(CHAIN, order.attempt, order.plan, {})])
        with pytest.raises(Refused, match="no relay takes it"):
            await submit(here.submitter, order, simulation, head)
        [mined] = await here.build()
        head = await here.head()
        [told] = await here.submitter.follow_up(head)
        assert isinstance(told, Outcome)
        assert (told.attempt, told.restored) == (order.attempt, True)
        for _ in range(3):
            head = await here.next_head()
        assert await here.store.standing_pauses() == []
        with StoreReader.open(here.store.path) as reader:
            assert [account.entry.transaction_hash for account in reader.accounts()] == [mined]


@pytest.mark.long
async def test_a_relay_that_reveals_it_is_as_if_it_had_been_public(bed36: Bed, tmp_path: Path) -> None:
    async with scene(bed36, tmp_path) as here:
        head = await here.head()
        here.relay.does, here.relay.node = "reveals", here.rig.bed.chain.rpc
        submission = await submit(here.submitter, *await here.order(), head)
        assert await here.seen_in_public(hashes_of(submission))
        await here.rig.bed.chain.mine(1, seconds=BLOCK_S)
        outcome = await here.settled(submission)
        assert outcome is not None
        assert outcome.restored


@pytest.mark.long
async def test_what_would_revert_is_not_mined_and_costs_nothing(bed36: Bed, tmp_path: Path) -> None:
    async with scene(bed36, tmp_path) as here:
        before_base = await bed36.price_base("WETH")
        head = await here.head()
        submission = await submit(here.submitter, *await here.order(), head)
        await bed36.chain.rpc.request("evm_setAutomine", [True])
        await admin.set_answer(bed36, "WETH", before_base * 2)
        await bed36.chain.rpc.request("evm_setAutomine", [False])
        while (outcome := await here.settled(submission)) is None:
            assert (await here.next_head()).number < submission.submitted_block + 10
        assert outcome.mined == ()
        assert len({target for target, _ in here.relay.bundles}) == 2, "it was offered, and the builder tried it"
        assert await nonce(bed36, KEEPER) == submission.transactions[0].nonce


@pytest.mark.long
async def test_unmined_it_is_published_after_its_blocks_where_that_is_wished(bed36: Bed, tmp_path: Path) -> None:
    async with scene(bed36, tmp_path, then_public=True) as here:
        head = await here.head()
        here.relay.does = "drops"
        submission = await submit(here.submitter, *await here.order(), head)
        await here.next_head()
        assert not await here.seen_in_public(hashes_of(submission))
        await here.next_head()
        assert await here.seen_in_public(hashes_of(submission))
        await here.rig.bed.chain.mine(1, seconds=BLOCK_S)
        outcome = await here.settled(submission)
        assert outcome is not None
        assert outcome.restored


async def test_an_order_stands_right_behind_the_update_that_makes_it_right(bed36: Bed, tmp_path: Path) -> None:
    """One bundle: somebody's pending price update and our order. Without the update nobody is below 1."""
    async with scene(bed36, tmp_path) as here:
        rpc = bed36.chain.rpc
        update = await _update_to_come(here, 70)
        snapshot = await rpc.request("evm_snapshot")
        await rpc.request("eth_sendRawTransaction", [to_hex(update)])
        await bed36.chain.mine(1, seconds=BLOCK_S)
        order, simulation = await here.order()
        await rpc.request("evm_revert", [snapshot])
        assert await here.rig.orders(KEEPER) == []

        head = await here.head()
        here.route.stand_behind(order.calls[0], update)
        submission = await submit(here.submitter, order, simulation, head)
        [(target, transactions)] = here.relay.bundles
        assert (target, transactions[0]) == (head.number + 1, to_hex(update))
        mined = await here.build()
        assert mined == [Hash32(keccak(update)), *hashes_of(submission)]
        outcome = await here.settled(submission)
        assert outcome is not None
        assert outcome.restored


@pytest.mark.long
async def test_behind_an_update_that_never_comes_nothing_is_mined_and_the_nonce_comes_back(
    bed36: Bed, tmp_path: Path
) -> None:
    async with scene(bed36, tmp_path, then_public=True) as here:
        head = await here.head()
        order, simulation = await here.order()
        here.route.stand_behind(order.calls[0], b"\x02nothing")
        submission = await submit(here.submitter, order, simulation, head)
        while await here.settled(submission) is None:
            assert (await here.next_head()).number < submission.submitted_block + 10
        assert not await here.seen_in_public(hashes_of(submission))
        statuses = {each.status for each in here.sender.following.open_intents}
        assert statuses == {IntentStatus.LOST}
        head = await here.head()
        again = await submit(here.submitter, *await here.order(), head)
        assert again.transactions[0].nonce == submission.transactions[0].nonce


def _raw_of(here: Scene, submission: Submission) -> bytes:
    """The bytes that the relay was given."""
    wanted = hashes_of(submission)[0]
    [raw] = {raw for _, raws in here.relay.seen for raw in raws if Hash32(keccak(bytes.fromhex(raw[2:]))) == wanted}
    return bytes.fromhex(raw[2:])


async def _update_to_come(here: Scene, percent: int) -> bytes:
    """Ether back at its price, read from an aggregator that one key may update; that key's signed update, not sent."""
    bed, rpc = here.rig.bed, here.rig.bed.chain.rpc
    await rpc.request("evm_setAutomine", [True])
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 100 // 70)
    updater = address_from_hex(UPDATER.address)
    await bed.chain.fund([updater])
    answer = await bed.price_base("WETH")
    aggregator: Address = await bed.chain.deploy(ADMIN, bed.contracts["Aggregator"], (answer, [updater]))
    await admin.set_price_source(bed, "WETH", aggregator)
    await rpc.request("evm_setAutomine", [False])
    assert await here.rig.orders(KEEPER) == []
    signed = UPDATER.sign_transaction(
        {
            "type": 2,
            "chainId": bed.deployment.chain_id,
            "nonce": 0,
            "to": bytes(aggregator),
            "value": 0,
            "data": bed.contracts["Aggregator"].function("transmit").encode((answer * percent // 100,)),
            "gas": 500_000,
            "maxFeePerGas": 100 * GWEI,
            "maxPriorityFeePerGas": GWEI,
        }
    )
    return bytes(signed.raw_transaction)
