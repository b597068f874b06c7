"""What an earlier run left on its way: promised until it is settled, then told from the chain."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from keeper.core import attempt_build
from keeper.core.decision import Unread
from keeper.core.intent import Intent, IntentStatus
from keeper.core.order import Order, Outcome, Simulation
from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.execution.earlier import Earlier
from keeper.execution.live import LiveSubmitter
from keeper.execution.readback import ReadBack
from keeper.execution.signing.signer import TransactionFields
from keeper.store.store import Store
from tests.execution import rig as rigs
from tests.execution.rig import CHAIN, GWEI, KEEPER, Rig, rigged
from tests.submitting import submit

live = partial(rigs.live, tells=True)


async def left_behind(rig: Rig, folder: Path, *, journaled: bool = True) -> Order:
    """An order that was decided and sent, and whose keeper is gone before it is mined."""
    await rig.fund(KEEPER)
    await rig.crash()
    await rig.bed.chain.rpc.request("evm_setAutomine", [False])
    async with live(rig, folder) as (submitter, store):
        [order] = await rig.orders(KEEPER, most=1)
        if journaled:
            await store.record([attempt_build.decided(CHAIN, order.attempt, order.plan, {})])
        await submit(submitter, order, Simulation((), 0), await rig.head())
    return order


async def told(rig: Rig, submitter: LiveSubmitter) -> list[Outcome | Unread]:
    head = await rig.head()
    await submitter.prepare(head)
    return list(await submitter.follow_up(head))


async def test_it_is_promised_until_it_is_mined_and_told_once(bed: Bed, tmp_path: Path) -> None:
    async with rigged(bed) as rig:
        order = await left_behind(rig, tmp_path)
        async with live(rig, tmp_path) as (submitter, _):
            promised = submitter.promised(KEEPER)
            assert promised.debts_raw == {(asset, rig.pool): raw for asset, raw in order.plan.debts_raw.items()}
            assert promised.gas_wei == sum(order.gas_limits) * order.offer.fees.max_fee_wei
            assert submitter.open_borrowers() == frozenset({order.borrower})
            full = replace(await rig.head(), gas_limit=200_000 * (len(order.calls) + 1))
            assert submitter.room(KEEPER, full) == 1
            assert await told(rig, submitter) == []
        await bed.chain.mine(1, seconds=12)
        async with live(rig, tmp_path) as (submitter, store):
            [outcome] = await told(rig, submitter)
            assert isinstance(outcome, Outcome)
            assert (outcome.attempt, outcome.borrower, outcome.restored) == (order.attempt, order.borrower, True)
            assert outcome.health_after_wad == await rig.health_wad(order.borrower, await rig.head())
            assert [call.call_index for call in outcome.mined] == list(range(len(order.calls)))
            assert [event.repaid_raw for event in outcome.liquidations] != []
            assert outcome.profit is not None
            assert outcome.profit.received_base > outcome.profit.repaid_base > 0
            assert (outcome.model_error_wad, outcome.amounts_match) == (None, None)
            assert submitter.promised(KEEPER).gas_wei == 0
            assert await told(rig, submitter) == []
            await store.record(attempt_build.outcome_events(CHAIN, outcome))
        async with live(rig, tmp_path) as (submitter, _):
            assert await told(rig, submitter) == [], "the journal has it"


async def test_what_was_mined_while_nobody_looked_is_told_though_the_store_has_its_status(
    bed36: Bed, tmp_path: Path
) -> None:
    """Killed between writing down that it is mined and telling what came of it."""
    async with rigged(bed36) as rig:
        order = await left_behind(rig, tmp_path)
        await bed36.chain.mine(1, seconds=12)
        async with live(rig, tmp_path) as (_, store):
            assert await store.open_intents(bed36.deployment.chain_id, KEEPER) == []
        async with live(rig, tmp_path) as (submitter, _):
            [outcome] = await told(rig, submitter)
            assert isinstance(outcome, Outcome)
            assert (outcome.attempt, outcome.restored) == (order.attempt, True)


async def test_one_that_reverts_says_why(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig:
        before_base = await bed36.price_base("WETH")
        await left_behind(rig, tmp_path)
        await bed36.chain.rpc.request("anvil_dropAllTransactions", [])
        async with live(rig, tmp_path) as (submitter, store):
            [left, *_] = await store.open_intents(bed36.deployment.chain_id, KEEPER)
        await bed36.chain.rpc.request("evm_setAutomine", [True])
        await admin.set_answer(bed36, "WETH", before_base * 2)
        await bed36.chain.rpc.request("eth_sendRawTransaction", ["0x" + left.raw_transaction.hex()])
        await bed36.chain.mine(1, seconds=12)
        async with live(rig, tmp_path) as (submitter, _):
            [outcome] = await told(rig, submitter)
            assert isinstance(outcome, Outcome)
            assert outcome.mined[0].revert == "HealthFactorNotBelowThreshold"
            assert outcome.detail.startswith("call 1 reverted: HealthFactorNotBelowThreshold")
            assert outcome.liquidations == ()


async def test_one_whose_plan_is_not_in_the_journal_is_told_as_unread(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig:
        order = await left_behind(rig, tmp_path, journaled=False)
        async with live(rig, tmp_path) as (submitter, _):
            assert submitter.promised(KEEPER).debts_raw == {}
            assert submitter.promised(KEEPER).gas_wei > 0
            await bed36.chain.mine(1, seconds=12)
            [unread] = await told(rig, submitter)
            assert isinstance(unread, Unread)
            assert (unread.attempt, unread.why) == (order.attempt, "the journal does not hold its plan")


async def test_of_attempts_on_one_nonce_the_largest_is_promised(bed36: Bed, tmp_path: Path) -> None:
    """One of them at most is mined, however often it was tried: the rest of the money is free."""
    async with rigged(bed36) as rig, Store.open(tmp_path / "keeper.db") as store:
        await rig.fund(KEEPER)
        await rig.crash()
        orders = [order for order in await rig.orders(KEEPER) if len(order.calls) == 1][:3]
        await store.record([attempt_build.decided(CHAIN, order.attempt, order.plan, {}) for order in orders])
        chain_id = rig.bed.deployment.chain_id
        earlier = Earlier(rig.rpc, store, ReadBack(rig.rpc, rig.client, rig.markets), CHAIN, chain_id, KEEPER)
        await earlier.load()
        signer = rig.signer(tmp_path)

        async def lost(order: Order, nonce: int) -> Intent:
            fields = TransactionFields(chain_id, nonce, order.calls[0], order.gas_limits[0], 2 * GWEI, GWEI)
            signed = await signer.sign_transaction(fields)
            found = Intent(
                chain_id, KEEPER, nonce, signed.hash, signed.raw, order.attempt, order.borrower, 0, 1, IntentStatus.LOST
            )
            await earlier.expect(found)
            return found

        together = [await lost(order, 7) for order in orders]
        most: dict[Address, int] = {}
        for order in orders:
            most |= {asset: max(raw, most.get(asset, 0)) for asset, raw in order.plan.debts_raw.items()}
        promised = earlier.promised(together, ())
        assert promised.debts_raw == {(asset, rig.pool): raw for asset, raw in most.items()}
        assert promised.gas_wei == max(order.gas_limits[0] for order in orders) * 2 * GWEI
        apart = [await lost(order, nonce) for nonce, order in enumerate(orders)]
        assert sum(earlier.promised(apart, ()).debts_raw.values()) == sum(
            raw for order in orders for raw in order.plan.debts_raw.values()
        )
