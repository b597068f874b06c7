"""Live, end to end: signed, sent, mined, read back; and what survives a kill at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.core.block import BlockRef
from keeper.core.errors import Refused
from keeper.core.intent import Intent, IntentStatus, Mark
from keeper.core.order import Answer, Order, Outcome, Simulation, Submission
from keeper.core.outcome import Verdict
from keeper.core.units import Address, to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.execution.allowance import Allowances
from keeper.execution.funding import LiveFunding
from keeper.execution.live import LiveSubmitter, may_go_live
from keeper.execution.sender import Sender
from keeper.execution.simulate import NodeSimulator
from keeper.store.store import Store
from tests.execution.rig import GAS_LIMIT, KEEPER, WINDOW_S, Rig, live, rigged
from tests.faults import FaultProxy, Override
from tests.submitting import submit


async def simulated(rig: Rig, orders: list[Order]) -> list[tuple[Order, Simulation]]:
    head = await rig.head()
    results = await NodeSimulator(rig.rpc, rig.markets).simulate(orders, head, head.timestamp_s + WINDOW_S)
    passed = [(order, result) for order, result in zip(orders, results, strict=True) if isinstance(result, Simulation)]
    assert len(passed) == len(orders)
    return passed


async def settled(rig: Rig, submitter: LiveSubmitter, order: Order, simulation: Simulation) -> Outcome:
    """Submitted at the head and settled once it is mined; the transactions land inside the plan's window."""
    await rig.bed.chain.rpc.request("anvil_setBlockTimestampInterval", [1])
    return await outcome_of(rig, submitter, await submit(submitter, order, simulation, await rig.head()))


async def outcome_of(rig: Rig, submitter: LiveSubmitter, submission: Submission) -> Outcome:
    """anvil mines a moment after it has answered."""
    async with asyncio.timeout(20):
        while True:
            outcome = await submitter.settle(submission, await rig.head())
            if outcome is not None:
                return outcome
            await asyncio.sleep(0.02)


async def test_a_borrower_is_restored_and_the_model_is_exact(bed: Bed, tmp_path: Path) -> None:
    async with rigged(bed) as rig, live(rig, tmp_path) as (submitter, store):
        await rig.fund(KEEPER)
        await rig.crash()
        for target in (await rig.orders(KEEPER))[:3]:
            [order] = [each for each in await rig.orders(KEEPER) if each.borrower == target.borrower]
            [(order, simulation)] = await simulated(rig, [order])
            outcome = await settled(rig, submitter, order, simulation)
            assert (outcome.model_error_wad, outcome.amounts_match, outcome.disturbed) == (0, True, False)
            assert outcome.restored
            assert outcome.health_after_wad == await rig.health_wad(order.borrower, await rig.head())
            assert outcome.detail == ""
            assert len(outcome.mined) == len(order.calls)
            assert outcome.profit is not None
            assert outcome.profit.received_base > outcome.profit.repaid_base > 0
            assert outcome.profit.gas_base > 0
        assert await store.open_intents(bed.deployment.chain_id, KEEPER) == []
        assert submitter.open_borrowers() == frozenset()


async def test_two_calls_in_one_block_are_replayed_together(bed: Bed, tmp_path: Path) -> None:
    """A sequence that only improves, mined in one block."""
    async with rigged(bed) as rig, live(rig, tmp_path) as (submitter, _):
        await rig.fund(KEEPER)
        await rig.crash(percent=62)
        improving = [order for order in await rig.orders(KEEPER) if order.plan.verdict is Verdict.IMPROVES]
        sequences = [order for order in await rig.orders(KEEPER) if len(order.calls) > 1]
        assert improving or sequences
        order = (sequences or improving)[0]
        [(order, simulation)] = await simulated(rig, [order])
        await bed.chain.rpc.request("evm_setAutomine", [False])
        head = await rig.head()
        submission = await submit(submitter, order, simulation, head)
        assert await submitter.settle(submission, head) is None
        await bed.chain.mine(1, seconds=12)
        outcome = await submitter.settle(submission, await rig.head())
        assert outcome is not None
        assert {call.block.number for call in outcome.mined} == {head.number + 1}
        assert (outcome.model_error_wad, outcome.amounts_match) == (0, True)
        assert outcome.restored


async def test_a_call_that_reverts_is_decoded_and_its_borrower_is_not_restored(bed: Bed, tmp_path: Path) -> None:
    async with rigged(bed) as rig, live(rig, tmp_path) as (submitter, _):
        await rig.fund(KEEPER)
        before_base = await bed.price_base("WETH")
        await rig.crash()
        [(order, simulation)] = await simulated(rig, await rig.orders(KEEPER, most=1))
        await admin.set_answer(bed, "WETH", before_base * 2)
        outcome = await settled(rig, submitter, order, simulation)
        [call, *_] = outcome.mined
        assert (call.succeeded, call.revert) in ((False, "HealthFactorNotBelowThreshold"), (False, "45"))
        assert outcome.detail == f"call 1 reverted: {call.revert}"
        assert (outcome.liquidations, outcome.amounts_match, outcome.model_error_wad) == ((), None, 0)
        assert outcome.profit is not None
        assert outcome.profit.net_base == -outcome.profit.gas_base < 0


async def test_a_reverted_call_is_explained_without_traces_too(bed36: Bed, tmp_path: Path) -> None:
    async with FaultProxy(bed36.url) as proxy, rigged(bed36, proxy.url) as rig, live(rig, tmp_path) as (submitter, _):
        proxy.manners.errors["debug_traceTransaction"] = {"code": -32601, "message": "method not found"}
        await rig.fund(KEEPER)
        before_base = await bed36.price_base("WETH")
        await rig.crash()
        [(order, simulation)] = await simulated(rig, await rig.orders(KEEPER, most=1))
        await admin.set_answer(bed36, "WETH", before_base * 2)
        outcome = await settled(rig, submitter, order, simulation)
        assert outcome.mined[0].revert == "HealthFactorNotBelowThreshold"


async def test_somebody_elses_transaction_in_the_block_is_told_as_a_disturbance(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, _):
        await rig.fund(KEEPER)
        await rig.crash()
        [(order, simulation)] = await simulated(rig, await rig.orders(KEEPER, most=1))
        collateral = order.plan.calls[0].pair.collateral_asset
        benefactor = Address(b"\x42" * 20)
        await rig.fund(benefactor)
        await bed36.chain.rpc.request("evm_setAutomine", [False])
        head = await rig.head()
        submission = await submit(submitter, order, simulation, head)
        gift = bed36.pool_tx(benefactor, "supply", collateral, 10**6, order.borrower, 0)
        body = {"from": to_hex(benefactor), "to": to_hex(gift.to), "data": to_hex(gift.calldata), "gas": hex(10**6)}
        await bed36.chain.rpc.request("eth_sendTransaction", [body])
        await bed36.chain.mine(1, seconds=12)
        outcome = await submitter.settle(submission, await rig.head())
        assert outcome is not None
        assert (outcome.disturbed, outcome.amounts_match, outcome.model_error_wad) == (True, None, 0)


@pytest.mark.parametrize("earlier", [True, False])
async def test_a_price_that_moves_inside_the_block_is_not_taken_for_our_error(
    bed36: Bed, tmp_path: Path, earlier: bool
) -> None:
    """Earlier than our call, the block's closing prices explain it; later, no state that can be read does."""
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, _):
        await rig.fund(KEEPER)
        await rig.crash()
        wsteth = bed36.asset("wstETH").token
        seizing = [each for each in await rig.orders(KEEPER) if each.plan.calls[0].pair.collateral_asset == wsteth]
        [(order, simulation)] = await simulated(rig, seizing[:1])
        await bed36.chain.rpc.request("evm_setAutomine", [False])
        head = await rig.head()
        submission = await submit(submitter, order, simulation, head)
        lower = await bed36.price_base("WETH") * 9 // 10
        answer = bed36.contracts["Feed"].function("setAnswer").encode((lower,))
        ours_wei = order.offer.fees.max_fee_wei
        fee = hex(ours_wei * 2 if earlier else ours_wei - 1)
        update = {
            "from": to_hex(bed36.deployment.admin),
            "to": to_hex(bed36.asset("WETH").feed),
            "data": to_hex(answer),
            "gas": hex(10**6),
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": "0x1",
        }
        await bed36.chain.rpc.request("eth_sendTransaction", [update])
        await bed36.chain.mine(1, seconds=12)
        outcome = await submitter.settle(submission, await rig.head())
        assert outcome is not None
        assert outcome.mined[0].block.number == head.number + 1
        assert (outcome.disturbed, outcome.amounts_match) == ((False, True) if earlier else (True, None))
        assert outcome.model_error_wad == 0
        assert not outcome.restored


class TestKilled:
    """A process that dies at the worst moment; the next one starts on the same store."""

    async def test_between_writing_down_and_sending_there_is_no_hole(self, bed36: Bed, tmp_path: Path) -> None:
        async with rigged(bed36) as rig:
            await rig.fund(KEEPER)
            await rig.crash()
            [(order, simulation)] = await simulated(rig, await rig.orders(KEEPER, most=1))
            async with Store.open(tmp_path / "keeper.db") as store:
                await self._die_before_sending(rig, store, order, simulation, tmp_path)
                [left] = await store.open_intents(bed36.deployment.chain_id, KEEPER)
                assert left.status is IntentStatus.INTENDED
            nonce = left.nonce
            await bed36.chain.mine(3, seconds=1)
            async with live(rig, tmp_path) as (submitter, store):
                [again] = [each for each in await rig.orders(KEEPER) if each.borrower == order.borrower]
                [(again, simulation)] = await simulated(rig, [again])
                submission = await submit(submitter, again, simulation, await rig.head())
                assert submission.transactions[0].nonce == nonce
                assert (await outcome_of(rig, submitter, submission)).restored
                assert await self._mined_count(rig) == nonce + len(order.calls)

    async def test_between_sending_and_hearing_the_answer_there_is_no_double(self, bed36: Bed, tmp_path: Path) -> None:
        async with FaultProxy(bed36.url) as proxy, rigged(bed36, proxy.url) as rig:
            await rig.fund(KEEPER)
            await rig.crash()
            [(order, simulation)] = await simulated(rig, await rig.orders(KEEPER, most=1))
            await bed36.chain.rpc.request("evm_setAutomine", [False])
            async with live(rig, tmp_path) as (submitter, store):
                submission = await submit(submitter, order, simulation, await rig.head())
                for sent in submission.transactions:
                    assert sent.transaction_hash is not None
                    await store.mark_intents([Mark(sent.transaction_hash, IntentStatus.INTENDED)])
            sends = proxy.counts["eth_sendRawTransaction"]
            async with live(rig, tmp_path) as (submitter, store):
                assert submitter.open_borrowers() == frozenset({order.borrower})
                again = replace(order, attempt="another")
                with pytest.raises(Refused, match="still open"):
                    await submit(submitter, again, simulation, await rig.head())
                assert proxy.counts["eth_sendRawTransaction"] == sends
                await bed36.chain.mine(1, seconds=12)
                await submitter.follow_up(await rig.head())
                assert submitter.open_borrowers() == frozenset()
                assert await store.open_intents(bed36.deployment.chain_id, KEEPER) == []

    async def _die_before_sending(
        self, rig: Rig, store: Store, order: Order, simulation: Simulation, folder: Path
    ) -> None:
        class Dying:
            """The store, in a process that is killed right after its first intent is on disk."""

            open_intents = store.open_intents
            mark_intents = store.mark_intents
            mined_intents = store.mined_intents
            dropped_intents = store.dropped_intents

            async def record_intents(self, intents: Sequence[Intent]) -> None:
                await store.record_intents(intents)
                raise KeyboardInterrupt

        chain_id = rig.bed.deployment.chain_id
        permit = may_go_live(chain_id, is_testnet_preset=False, node_is_anvil_devnet=True)
        submitter = LiveSubmitter(permit, Sender(rig.rpc, rig.signer(folder), Dying(), chain_id), rig.reconciler)
        await submitter.start(await rig.head())
        with pytest.raises(KeyboardInterrupt):
            await submit(submitter, order, simulation, await rig.head())

    async def _mined_count(self, rig: Rig) -> int:
        return int(await rig.rpc.request("eth_getTransactionCount", [to_hex(KEEPER), "latest"]), 16)


async def test_an_answer_that_never_comes_is_looked_up(bed36: Bed, tmp_path: Path) -> None:
    """The node took the bytes, then answered with a broken body."""
    async with FaultProxy(bed36.url) as proxy, rigged(bed36, proxy.url) as rig, live(rig, tmp_path) as (submitter, _):
        await rig.fund(KEEPER)
        await rig.crash()
        [(order, simulation)] = await simulated(rig, await rig.orders(KEEPER, most=1))
        head = await rig.head()
        await submitter.follow_up(head)
        first = replace(order, calls=order.calls[:1], gas_limits=order.gas_limits[:1])
        proxy.on_request = breaking_sends(proxy)
        submission = await submit(submitter, first, simulation, head)
        proxy.on_request = None
        assert [sent.answer for sent in submission.transactions] == [Answer.ACCEPTED]
        assert proxy.counts["eth_sendRawTransaction"] == 1
        assert (await outcome_of(rig, submitter, submission)).mined


def breaking_sends(proxy: FaultProxy) -> Override:
    """Breaks the answer to the next send, and to nothing after it."""

    def on_request(method: str, params: list[object]) -> None:
        if method == "eth_sendRawTransaction":
            proxy.manners.truncated = True
            proxy.manners.only_next = 1

    return on_request


async def unexpected(refused: Refused) -> None:
    raise AssertionError(str(refused))


async def test_allowances_are_raised_to_their_bound_once(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (_, store):
        await rig.fund(KEEPER, approve=False)
        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)
        debts = [(asset.token, rig.pool) for asset in bed36.deployment.assets.values()]
        weth, dai = bed36.asset("WETH").token, bed36.asset("DAI").token
        sender = Sender(rig.rpc, rig.signer(tmp_path), store, bed36.deployment.chain_id)
        await sender.start(await rig.head())
        allowances = Allowances(rig.rpc, sender, funding, unexpected)
        head, fees = await rig.head(), await rig.client.fees()
        done = await allowances.ensure(debts, {weth: 5 * 10**18}, fees, rig.client.heads(), head)
        assert {(each.asset, each.spender) for each in done} == set(debts)
        funds = await funding.spendable(debts, await rig.head())
        assert funds[weth, rig.pool].allowance_raw == 5 * 10**18
        assert funds[dai, rig.pool].allowance_raw == funds[dai, rig.pool].balance_raw
        assert await allowances.ensure(debts, {weth: 5 * 10**18}, fees, rig.client.heads(), await rig.head()) == []
        assert await store.open_intents(bed36.deployment.chain_id, KEEPER) == []
        gas_money_wei = await funding.gas_money_wei(await rig.head())
        assert gas_money_wei is not None
        assert 0 < gas_money_wei < 10**24


async def test_approvals_that_a_reorg_took_back_are_sent_again(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (_, store):
        await rig.fund(KEEPER, approve=False)
        begun = await rig.head()
        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)
        debts = [(bed36.asset(symbol).token, rig.pool) for symbol in ("DAI", "WETH")]
        sender = Sender(rig.rpc, rig.signer(tmp_path), store, bed36.deployment.chain_id)
        await sender.start(await rig.head())

        async def heads() -> AsyncIterator[BlockRef]:
            while (await rig.head()).number < begun.number + len(debts):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            yield begun
            await bed36.chain.rpc.request("anvil_rollback", [len(debts)])
            assert (await rig.head()).hash == begun.hash
            while True:
                await bed36.chain.mine()
                yield await rig.head()

        allowances = Allowances(rig.rpc, sender, funding, unexpected)
        done = await allowances.ensure(debts, {}, await rig.client.fees(), heads(), begun)
        assert {(each.asset, each.spender) for each in done} == set(debts)
        funds = await funding.spendable(debts, await rig.head())
        assert all(fund.allowance_raw == fund.balance_raw for fund in funds.values())


async def test_a_used_up_allowance_is_replenished_without_waiting(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (_, store):
        await rig.fund(KEEPER, approve=False)
        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)
        weth = bed36.asset("WETH").token
        debts, bound = [(weth, rig.pool)], {weth: 10**18}
        sender = Sender(rig.rpc, rig.signer(tmp_path), store, bed36.deployment.chain_id)
        await sender.start(await rig.head())
        allowances = Allowances(rig.rpc, sender, funding, unexpected)
        fees = await rig.client.fees()

        async def left_raw(allowance_raw: int) -> int | None:
            await bed36.chain.send(KEEPER, weth, bed36.contracts["Token"], "approve", rig.pool, allowance_raw)
            await allowances.replenish(debts, bound, fees, await rig.head())
            await bed36.chain.mine()
            await sender.following.follow_open(await rig.head())
            return (await funding.spendable(debts, await rig.head()))[weth, rig.pool].allowance_raw

        assert await left_raw(10**18 // 2) == 10**18 // 2
        assert await left_raw(10**18 // 2 - 1) == 10**18
        assert await left_raw(0) == 10**18


async def test_an_unfunded_signer_is_refused_and_its_nonce_stays_free(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, store):
        await rig.crash()
        [order] = await rig.orders(KEEPER, most=1)
        simulation = Simulation((), 0)
        assert order.gas_limits[0] == GAS_LIMIT
        with pytest.raises(Refused, match=r"(?i)insufficient funds"):
            await submit(submitter, order, simulation, await rig.head())
        assert submitter.open_borrowers() == frozenset()
        assert await store.open_intents(bed36.deployment.chain_id, KEEPER) == []
