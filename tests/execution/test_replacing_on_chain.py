"""What waits too long is replaced, and holes are filled, on a real node's mempool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keeper.core.block import BlockRef
from keeper.core.errors import Refused
from keeper.core.order import FeeQuote, Simulation, Submission
from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from keeper.execution.allowance import Allowances
from keeper.execution.funding import LiveFunding
from keeper.execution.live import LiveSubmitter, may_go_live
from keeper.execution.nonces import Remedy
from keeper.execution.replacing import Replaced, Replacing
from keeper.execution.sender import Sender
from keeper.store import StoreReader
from keeper.store.store import Store
from tests.devnet.chain_facts import mined_by
from tests.execution.rig import GWEI, KEEPER, Rig, rigged

EXPIRY_BLOCKS = 4
CAP_WEI = 1_000 * GWEI


@dataclass
class Live:
    """A submitter that replaces, on a chain that mines when it is told to."""

    rig: Rig
    submitter: LiveSubmitter
    store: Store
    told: list[Replaced] = field(default_factory=list)

    async def send(self, count: int = 1) -> list[Submission]:
        head = await self.rig.head()
        orders = await self.rig.orders(KEEPER, most=count)
        ready = [(order, Simulation((), 0)) for order in orders]
        sent = await self.submitter.submit(ready, head)
        return [each for each in sent if isinstance(each, Submission)]

    async def blocks(self, count: int, base_fee_wei: int | None = None) -> None:
        for _ in range(count):
            if base_fee_wei is not None:
                await self.rig.bed.chain.rpc.request("anvil_setNextBlockBaseFeePerGas", [hex(base_fee_wei)])
            await self.rig.bed.chain.mine(1, seconds=1)
            head = await self.rig.head()
            await self.submitter.prepare(head)
            await self.submitter.follow_up(head)

    @property
    def remedies(self) -> list[Remedy]:
        return [each.case.remedy for each in self.told if not isinstance(each.sent, Refused)]

    async def assert_no_hole(self, first_nonce: int) -> None:
        mined = [each for each in await mined_by(self.rig.bed, KEEPER, 0) if each.nonce >= first_nonce]
        assert [each.nonce for each in mined] == list(range(first_nonce, first_nonce + len(mined)))
        status = await self.rig.bed.chain.rpc.request("txpool_status", [])
        assert (int(status["pending"], 16), int(status["queued"], 16)) == (0, 0)
        assert await self.store.open_intents(self.rig.bed.deployment.chain_id, KEEPER) == []


@asynccontextmanager
async def live(bed: Bed, folder: Path, cap_wei: int = CAP_WEI) -> AsyncIterator[Live]:
    async with rigged(bed) as rig, Store.open(folder / "keeper.db") as store:
        await rig.fund(KEEPER)
        await rig.crash()
        chain_id = bed.deployment.chain_id
        sender = Sender(rig.rpc, rig.signer(folder), store, chain_id)
        told: list[Replaced] = []

        async def quote() -> FeeQuote:
            return await rig.client.fees()

        async def tell(replaced: Replaced, head: BlockRef) -> None:
            told.append(replaced)

        replacing = Replacing(sender, quote, tell, cap_wei=cap_wei, expiry_blocks=EXPIRY_BLOCKS)
        permit = may_go_live(chain_id, is_testnet_preset=False, node_is_anvil_devnet=True)
        submitter = LiveSubmitter(permit, sender, rig.reconciler, replacing=replacing)
        await submitter.start(await rig.head())
        await bed.chain.rpc.request("evm_setAutomine", [False])
        yield Live(rig, submitter, store, told)


async def test_an_order_that_a_fee_spike_keeps_out_is_cancelled_and_never_mined_later(
    bed36: Bed, tmp_path: Path
) -> None:
    async with live(bed36, tmp_path) as keeper:
        [submission] = await keeper.send()
        order, [sent, *_] = submission.order, submission.transactions
        assert sent.nonce is not None
        spike_wei = 3 * order.offer.fees.max_fee_wei
        await keeper.blocks(EXPIRY_BLOCKS - 1, spike_wei)
        assert keeper.told == []
        await keeper.blocks(2, spike_wei)
        assert keeper.remedies == [Remedy.CANCEL] * len(submission.transactions)
        for _ in range(4):
            await keeper.blocks(1, GWEI)
        outcome = await keeper.submitter.settle(submission, await keeper.rig.head())
        assert outcome is not None
        assert (outcome.mined, outcome.restored) == ((), False)
        assert outcome.detail.startswith(f"call 1 dropped at nonce {sent.nonce}")
        await keeper.assert_no_hole(sent.nonce)
        mined = [each for each in await mined_by(bed36, KEEPER, 0) if each.nonce == sent.nonce]
        assert [(each.to, each.selector, each.succeeded) for each in mined] == [(KEEPER, "0x", True)]
        assert keeper.submitter.open_borrowers() == frozenset()
        [again] = await keeper.send()
        assert again.transactions[0].nonce == sent.nonce + len(submission.transactions)


async def test_a_hole_under_waiting_transactions_is_filled(bed36: Bed, tmp_path: Path) -> None:
    async with live(bed36, tmp_path) as keeper:
        first, *others = [sent for each in await keeper.send(3) for sent in each.transactions]
        assert first.transaction_hash is not None
        assert first.nonce is not None
        await bed36.chain.rpc.request("anvil_dropTransaction", [to_hex(first.transaction_hash)])
        await keeper.blocks(6)
        assert keeper.remedies[0] in (Remedy.RESEND, Remedy.CANCEL)
        await keeper.blocks(EXPIRY_BLOCKS + 4)
        await keeper.assert_no_hole(first.nonce)
        assert len(await mined_by(bed36, KEEPER, 0)) >= first.nonce + 1 + len(others)


async def test_a_transaction_that_nobody_has_any_more_is_cancelled_so_that_it_never_comes_back(
    bed36: Bed, tmp_path: Path
) -> None:
    async with live(bed36, tmp_path) as keeper:
        [submission] = await keeper.send()
        for sent in submission.transactions:
            assert sent.transaction_hash is not None
            await bed36.chain.rpc.request("anvil_dropTransaction", [to_hex(sent.transaction_hash)])
        await keeper.blocks(EXPIRY_BLOCKS + 3)
        nonce = submission.transactions[0].nonce
        assert nonce is not None
        await keeper.assert_no_hole(nonce)
        raw = [
            intent.raw_transaction
            for intent in await keeper.store.intents_of(bed36.deployment.chain_id, KEEPER, submission.order.attempt)
        ]
        answers = await bed36.chain.rpc.batch([("eth_sendRawTransaction", [to_hex(each)]) for each in raw])
        assert all("nonce too low" in str(answer) for answer in answers)


async def test_a_hole_that_an_earlier_run_left_does_not_hold_up_the_allowances_of_the_next(
    bed36: Bed, tmp_path: Path
) -> None:
    """They wait for whatever is open; without filling the hole, for ever."""
    async with live(bed36, tmp_path) as keeper:
        first, *_ = [sent for each in await keeper.send(3) for sent in each.transactions]
        assert first.transaction_hash is not None
        await bed36.chain.rpc.request("anvil_dropTransaction", [to_hex(first.transaction_hash)])
        weth = bed36.asset("WETH").token
        rig, sender, replacing = keeper.rig, keeper.submitter._sender, keeper.submitter._replacing
        assert replacing is not None

        async def heads() -> AsyncIterator[BlockRef]:
            for _ in range(20):
                await bed36.chain.mine(1, seconds=1)
                yield await rig.head()

        async def unexpected(refused: Refused) -> None:
            raise AssertionError(str(refused))

        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)
        allowances = Allowances(rig.rpc, sender, funding, unexpected, replacing.tidy)
        head, fees, bound_raw = await rig.head(), await rig.client.fees(), {weth: 10**9 * 10**18 + 1}
        done = await allowances.ensure([(weth, rig.pool)], bound_raw, fees, heads(), head)
        assert [each.asset for each in done] == [weth]


async def test_the_cap_holds_in_a_spike(bed36: Bed, tmp_path: Path) -> None:
    async with live(bed36, tmp_path) as keeper:
        [submission] = await keeper.send()
        order = submission.order
        keeper.submitter._replacing._cap_wei = order.offer.fees.max_fee_wei + 1  # type: ignore[union-attr]
        await keeper.blocks(EXPIRY_BLOCKS + 2, 3 * order.offer.fees.max_fee_wei)
        assert keeper.remedies == []
        assert all("above the cap" in str(each.sent) for each in keeper.told)
        assert len(keeper.told) == len(submission.transactions), "told once for each nonce"


async def test_all_that_is_on_its_way_can_be_cancelled(bed36: Bed, tmp_path: Path) -> None:
    async with live(bed36, tmp_path) as keeper:
        submissions = await keeper.send(3)
        sent = [each for submission in submissions for each in submission.transactions]
        assert await keeper.submitter.cancel_open(await keeper.rig.head()) == len(sent)
        await keeper.blocks(2)
        first = sent[0].nonce
        assert first is not None
        await keeper.assert_no_hole(first)
        mined = [each for each in await mined_by(bed36, KEEPER, 0) if each.nonce >= first]
        assert [each.to for each in mined] == [KEEPER] * len(sent)


async def test_an_order_that_lost_to_its_cancellation_is_found_when_a_reorg_has_it_mined_instead(
    bed36: Bed, tmp_path: Path
) -> None:
    async with live(bed36, tmp_path) as keeper:
        [submission] = await keeper.send()
        sent = submission.transactions[0]
        assert sent.nonce is not None and sent.transaction_hash is not None
        [intent, *_] = await keeper.store.open_intents(bed36.deployment.chain_id, KEEPER)
        head = await keeper.rig.head()
        assert await keeper.submitter.cancel_open(head) == len(submission.transactions)
        await keeper.blocks(1)
        assert [each.to for each in await mined_by(bed36, KEEPER, head.number)] == [KEEPER] * len(
            submission.transactions
        )
        await keeper.submitter.settle(submission, await keeper.rig.head())
        await bed36.chain.rpc.request("anvil_reorg", [1, [[to_hex(intent.raw_transaction), 0]]])
        await keeper.blocks(2)
        with StoreReader.open(keeper.store.path) as reader:
            settled = {account.entry.nonce: account.entry for account in reader.accounts()}
        assert settled[sent.nonce].transaction_hash == sent.transaction_hash
        assert {each.hash for each in await mined_by(bed36, KEEPER, head.number)} == {
            to_hex(entry.transaction_hash) for entry in settled.values()
        }
        await keeper.assert_no_hole(sent.nonce)
