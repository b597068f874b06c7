"""Several borrowers in one transaction of the executor, on the real contracts: left out on chain, taken apart."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from keeper.core.executor import ExecutorPlan
from keeper.core.units import WAD, Address, to_hex
from keeper.devnet.chain import Tx
from keeper.devnet.spec import USD
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.execution.executor_calls import decode_execute
from keeper.store import JournalRow
from tests.contracts.world import STRANGER, World
from tests.devnet.chain_facts import below_one, coins_wei, mined_by, nonce
from tests.devnet.commands import comes_true
from tests.devnet.executor_stage import Stage, staged
from tests.devnet.keeping import Keeping

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("owner")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(built: Stage) -> AsyncIterator[Stage]:
    snapshot = await fresh_snapshot(built.world.bed)
    yield built
    await revert_to(built.world.bed, snapshot)


async def test_who_is_left_out_on_chain_is_told_so_and_served_the_next_time(stage: Stage, tmp_path: Path) -> None:
    """Three transactions wait; in front of them somebody repays a dollar of one who shares the second."""
    world, me, kept = stage.world, stage.account.address, await stage.kept(tmp_path)
    kept.chain["inclusion_blocks"] = 50
    rpc, repaid_raw = world.bed.chain.rpc, 10**6
    await world.give(world.usdc, repaid_raw, STRANGER)
    await world.bed.chain.transact(
        world.bed.call_tx(STRANGER, world.usdc, "Token", "approve", world.market, repaid_raw)
    )
    before_raw, before_wei = (await stage.holds_raw(stage.executor))[world.usdc], await coins_wei(world.bed, me)
    first_block = await world.bed.chain.block_number() + 1
    await rpc.request("evm_setAutomine", [False])
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(kept.run_once("--live", fresh=True))
            await comes_true(partial(waiting, world, 3))
            second = (await pending_plans(world, me))[1]
            assert len(second.liquidations) == 4
            unlucky = second.liquidations[2].borrower
            repay = world.bed.pool_tx(STRANGER, "repay", world.usdc, repaid_raw, 2, unlucky)
            used = hex(await nonce(world.bed, STRANGER))
            await rpc.request("eth_sendTransaction", [in_front(repay) | {"nonce": used}])
            await comes_true(partial(waiting, world, 4))
            await mine_in_time(world)
            await rpc.request("evm_setAutomine", [True])
            while not running.done():
                await rpc.request("evm_mine", [])
                await asyncio.sleep(0.2)
    finally:
        await rpc.request("evm_setAutomine", [True])

    [left_out] = kept.events("not_restored")
    assert left_out.borrower == to_hex(unlucky) and "left out" in str(left_out.fields["detail"])
    assert left_out.fields["model_error_wad"] == "0" and left_out.fields["liquidations"] == []
    assert (left_out.fields["gas_base"], left_out.fields["premium_base"]) == ("0", "0")
    assert kept.events("reverted") == []
    restored = kept.events("restored")
    assert {row.borrower for row in restored} == {to_hex(each) for each in world.borrowers}
    assert all(row.fields["model_error_wad"] == "0" for row in restored)
    assert all(row.fields["amounts_match"] for row in restored if row.attempt != left_out.attempt)
    assert not await below_one(world.bed, world.borrowers)

    mined = await mined_by(world.bed, me, first_block)
    assert len(mined) == 4 and all(each.succeeded for each in mined)
    report = json.loads((await kept.run("report", "--format", "json", "--store", str(kept.store))).out)
    [account] = report["accounts"]
    gained_raw = (await stage.holds_raw(stage.executor))[world.usdc] - before_raw
    assert {token.lower(): int(raw) for token, raw in account["tokens"].items()} == {to_hex(world.usdc): gained_raw}
    assert int(account["native_change_wei"]) == await coins_wei(world.bed, me) - before_wei
    lines = {line["attempt"]: line for line in report["attempts"]}
    assert len(lines) == 7 and sum(line["transactions"] for line in lines.values()) == len(mined)
    assert sum(int(line["cost_wei"]) for line in lines.values()) == sum(each.cost_wei for each in mined)
    assert sum(int(raw) for line in lines.values() for raw in line["tokens"].values()) == gained_raw
    assert (lines[left_out.attempt]["cost_wei"], lines[left_out.attempt]["tokens"]) == ("0", {})


@pytest.mark.long
async def test_after_a_kill_the_outcome_of_each_who_shared_is_told_once(stage: Stage, tmp_path: Path) -> None:
    world, me, kept = stage.world, stage.account.address, await stage.kept(tmp_path)
    kept.chain["inclusion_blocks"] = 50
    rpc = world.bed.chain.rpc
    before_raw, before_wei = (await stage.holds_raw(stage.executor))[world.usdc], await coins_wei(world.bed, me)
    await rpc.request("evm_setAutomine", [False])
    try:
        async with kept.daemon("--live", fresh=True) as running:
            await comes_true(partial(waiting, world, 3))
            await running.stopped(signal.SIGKILL)
        await mine_in_time(world)
    finally:
        await rpc.request("evm_setAutomine", [True])
    assert kept.events("restored", "not_restored") == [] and not await below_one(world.bed, world.borrowers)

    async with kept.daemon("--live", fresh=True) as running:
        await comes_true(partial(mined_one_more, world, kept, len(world.borrowers)))
        await running.stopped()
    restored = kept.events("restored")
    assert sorted(row.borrower or "" for row in restored) == sorted(to_hex(each) for each in world.borrowers)
    assert kept.events("not_restored", "alert") == []
    assert sorted(row.fields["shared_by"] for row in kept.events("mined")) == [1, 1, 4, 4, 4, 4]

    report = json.loads((await kept.run("report", "--format", "json", "--store", str(kept.store))).out)
    [account] = report["accounts"]
    gained_raw = (await stage.holds_raw(stage.executor))[world.usdc] - before_raw
    assert {token.lower(): int(raw) for token, raw in account["tokens"].items()} == {to_hex(world.usdc): gained_raw}
    assert int(account["native_change_wei"]) == await coins_wei(world.bed, me) - before_wei
    assert sum(int(raw) for line in report["attempts"] for raw in line["tokens"].values()) == gained_raw
    gas_base = {row.attempt: int(row.fields["gas_base"]) for row in restored}
    price_base = await world.bed.price_base("WETH")
    for line in report["attempts"]:
        assert gas_base[line["attempt"]] == -(-int(line["cost_wei"]) * price_base // WAD), "journal and report agree"


async def mined_one_more(world: World, kept: Keeping, count: int) -> bool:
    await world.bed.chain.rpc.request("evm_mine", [])
    return len(kept.events("restored", "not_restored")) >= count


async def mine_in_time(world: World) -> None:
    """However long a busy machine took: a block right behind the last lies in every plan's window."""
    latest = await world.bed.chain.rpc.request("eth_getBlockByNumber", ["latest", False])
    await world.bed.chain.rpc.request("evm_setNextBlockTimestamp", [int(latest["timestamp"], 16) + 1])
    await world.bed.chain.rpc.request("evm_mine", [])


async def waiting(world: World, count: int) -> bool:
    return int((await world.bed.chain.rpc.request("txpool_status", []))["pending"], 16) >= count


async def pending_plans(world: World, sender: Address) -> list[ExecutorPlan]:
    """By nonce."""
    content = await world.bed.chain.rpc.request("txpool_content", [])
    [own] = [by_nonce for owner, by_nonce in content["pending"].items() if owner.lower() == to_hex(sender)]
    return [decode_execute(bytes.fromhex(own[nonce]["input"][2:])) for nonce in sorted(own, key=int)]


def in_front(tx: Tx) -> dict[str, str]:
    """As an unlocked account sends it, with a tip that comes before all others."""
    tip = hex(1_000 * 10**9)
    return {
        "from": to_hex(tx.sender),
        "to": to_hex(tx.to),
        "data": to_hex(tx.calldata),
        "gas": hex(1_000_000),
        "maxFeePerGas": tip,
        "maxPriorityFeePerGas": tip,
    }


async def test_what_is_too_much_together_goes_one_by_one(stage: Stage, tmp_path: Path) -> None:
    async def sent_by(folder: Path, **rails: object) -> list[JournalRow]:
        kept = await stage.kept(folder)
        kept.account, kept.unlimited = None, ("loss",)
        kept.tables["rails.notional"] = dict(rails)
        await kept.run_once()
        return kept.events("sent")

    first, second = tmp_path / "together", tmp_path / "one by one"
    first.mkdir()
    second.mkdir()
    together = await sent_by(first)
    most = max(int(row.fields["expected_repaid_base"]) for row in together) * 3 // 2 // USD
    apart = await sent_by(second, per_transaction=str(most))
    for sent, shared_by in ((together, [1, 4, 4, 4, 4, 1]), (apart, [1] * 6)):
        assert {row.borrower for row in sent} == {to_hex(each) for each in stage.world.borrowers}
        assert [row.fields["calls"][0]["shared_by"] for row in sent] == shared_by
    gas = [sum(int(row.fields["expected_gas_base"]) for row in sent) for sent in (together, apart)]
    assert gas[0] < gas[1]
    assert [row.borrower for row in together] == [row.borrower for row in apart], "the urgent come first either way"
