"""The ledger against the chain's own balances: approvals, liquidations, a reverted one, a cancellation, and a reorg."""

from __future__ import annotations

from pathlib import Path

from keeper.core.block import Call
from keeper.core.ledger import Purpose
from keeper.core.report import Booked, moved_raw
from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.execution.allowance import Allowances
from keeper.execution.funding import LiveFunding
from keeper.execution.live import LiveSubmitter
from keeper.execution.sender import Sending
from keeper.store import StoreReader
from tests.devnet.chain_facts import balances_raw, coins_wei
from tests.execution.rig import KEEPER, Rig, live, rigged
from tests.execution.test_live_on_chain import settled, simulated

Money = tuple[dict[Address, int], int]


async def money(bed: Bed) -> Money:
    return await balances_raw(bed, KEEPER), await coins_wei(bed, KEEPER)


def booked(folder: Path) -> list[Booked]:
    with StoreReader.open(folder / "keeper.db") as reader:
        return list(reader.accounts())


async def assert_equal(bed: Bed, folder: Path, before: Money) -> list[Booked]:
    accounts = booked(folder)
    tokens, coins = before
    moved = moved_raw(accounts)
    expected = {token: raw + moved.get(token, 0) for token, raw in tokens.items()}
    assert (expected, coins - sum(each.entry.cost_wei for each in accounts)) == await money(bed)
    assert set(moved) <= set(tokens)
    return accounts


async def all_settled(rig: Rig, submitter: LiveSubmitter) -> None:
    await rig.bed.chain.mine(1)
    head = await rig.head()
    await submitter.follow_up(head)
    assert submitter._sender.following.open_intents == []


async def test_every_token_and_the_native_coin_add_up_to_the_wei(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, store):
        await rig.fund(KEEPER)
        before, sender = await money(bed36), submitter._sender
        ether_base = await bed36.price_base("WETH")
        await rig.crash()
        orders = await rig.orders(KEEPER, most=2)
        [(first, simulation)] = await simulated(rig, orders[:1])
        outcome = await settled(rig, submitter, first, simulation)
        await store.value(outcome.valuations)
        [(second, simulation)] = await simulated(rig, (await rig.orders(KEEPER, most=1)))
        await admin.set_answer(bed36, "WETH", ether_base * 2)
        outcome = await settled(rig, submitter, second, simulation)
        await store.value(outcome.valuations)
        fees = first.offer.fees
        await sender.send(Sending(Call(KEEPER, b""), 21_000, fees, "cancel", None, 0, Purpose.CANCEL), await rig.head())
        await all_settled(rig, submitter)
        accounts = await assert_equal(bed36, tmp_path, before)
        succeeded = {each.entry.purpose: each.entry.succeeded for each in accounts}
        assert succeeded == {Purpose.LIQUIDATION: False, Purpose.CANCEL: True}, "the last of each"
        for each in accounts:
            value = each.value
            if each.entry.purpose is Purpose.CANCEL:
                assert value is None
            elif each.entry.succeeded:
                assert value is not None
                assert value.net_base(each.entry.cost_wei) > 0
                assert value.loss_wad(each.entry.cost_wei) == 0
            else:
                assert value is not None
                assert (value.received_base, value.repaid_base) == (0, 0)
                assert value.loss_wad(each.entry.cost_wei) > 0


async def test_approvals_count_and_a_reorg_takes_back_what_it_took(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, _):
        await rig.fund(KEEPER)
        before, sender = await money(bed36), submitter._sender
        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)

        async def told(refused: Exception) -> None:
            raise refused

        debts = [(asset.token, rig.pool) for asset in bed36.deployment.assets.values()]
        head = await rig.head()
        bounds = {asset: 10**30 for asset, _ in debts}
        sent = await Allowances(rig.rpc, sender, funding, told).replenish(debts, bounds, await rig.client.fees(), head)
        assert sent
        await all_settled(rig, submitter)
        accounts = await assert_equal(bed36, tmp_path, before)
        assert {each.entry.purpose for each in accounts} == {Purpose.ALLOWANCE}
        depth = (await rig.head()).number - head.number
        await bed36.chain.rpc.request("anvil_reorg", [depth, []])
        await submitter.follow_up(await rig.head())
        await assert_equal(bed36, tmp_path, before)
        await bed36.chain.mine(1)
        await submitter.follow_up(await rig.head())
        await assert_equal(bed36, tmp_path, before)
