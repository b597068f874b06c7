"""A pending price update on the real contracts: who it would bring below 1 is planned before it lands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.core.block import PendingTransaction
from keeper.core.units import HEALTH_ONE_WAD, Address, Hash32, to_hex
from keeper.devnet import admin
from keeper.devnet.chain import Tx, salted_address, tx_body
from keeper.devnet.market import Bed
from keeper.pipeline import backrun
from keeper.pipeline.backrun import LOOK_S
from tests.devnet.chain_facts import below_one, health_wad
from tests.devnet.commands import happens
from tests.devnet.updating import PATIENCE_S, Updating, updating

FALLEN_PERCENT = 86


async def fallen(scene: Updating) -> Tx:
    """The transmitter's update to a lower price."""
    answer = await scene.bed.price_base("WETH") * FALLEN_PERCENT // 100
    return scene.pushed.update(scene.bed, answer)


async def sick(scene: Updating) -> set[Address]:
    return set(await below_one(scene.bed, [opening.borrower for opening in scene.bed.openings]))


async def test_plans_wait_for_the_update_and_go_out_when_it_lands(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await go_out_when_it_lands(bed36, tmp_path, monkeypatch)


@pytest.mark.long
async def test_so_they_do_on_the_older_release(bed302: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await go_out_when_it_lands(bed302, tmp_path, monkeypatch)


async def go_out_when_it_lands(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with updating(bed, tmp_path, monkeypatch) as scene:
        before = await sick(scene)
        pending = await scene.announced(await fallen(scene))
        prepared = await scene.prepare(pending)
        assert prepared >= 4
        assert len(scene.desk.ready) == prepared

        result = await scene.next_head()  # the update lands

        assert await sick(scene) > before
        sent = scene.sent(result)
        assert scene.desk.ready.used >= prepared * 3 // 4
        assert len(sent) >= scene.desk.ready.used
        settled = (await scene.next_head()).settled
        assert {outcome.borrower for outcome in settled} >= sent
        for outcome in settled:
            assert outcome.restored and outcome.model_error_wad == 0
            assert await health_wad(bed, outcome.borrower, outcome.mined[-1].block.number) >= HEALTH_ONE_WAD


async def test_an_update_through_a_forwarder_is_seen_too(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with updating(bed36, tmp_path, monkeypatch, forwarded=True) as scene:
        pending = await scene.announced(await fallen(scene))
        assert pending.to == scene.pushed.forwarder
        assert await scene.prepare(pending) >= 4


async def test_an_update_that_never_lands_changes_nothing(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with updating(bed36, tmp_path, monkeypatch) as scene:
        assert await scene.prepare(await scene.announced(await fallen(scene))) >= 4
        await bed36.chain.rpc.request("anvil_dropAllTransactions", [])
        for _ in range(5):
            result = await scene.next_head()
            assert scene.sent(result) == set()
        assert len(scene.desk.ready) == 0
        assert scene.desk.ready.used == 0


async def test_an_update_to_another_price_than_announced_is_planned_anew(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with updating(bed36, tmp_path, monkeypatch) as scene:
        assert await scene.prepare(await scene.announced(await fallen(scene))) >= 4
        await bed36.chain.rpc.request("anvil_dropAllTransactions", [])
        answer = await bed36.price_base("WETH") * (FALLEN_PERCENT - 1) // 100
        await scene.announced(scene.pushed.update(bed36, answer))
        result = await scene.next_head()
        assert len(scene.sent(result)) >= 4
        assert scene.desk.ready.used == 0
        assert all(outcome.restored for outcome in (await scene.next_head()).settled)


async def test_a_pending_update_that_would_revert_prepares_nothing(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with updating(bed36, tmp_path, monkeypatch) as scene:
        update = await fallen(scene)
        stranger = salted_address("stranger")
        await bed36.chain.fund([stranger])
        pending = await scene.announced(Tx(stranger, update.to, update.calldata))
        assert await scene.prepare(pending) == 0
        assert len(scene.desk.ready) == 0


async def test_the_watch_hears_prepares_and_goes_on_by_itself(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with updating(bed36, tmp_path, monkeypatch) as scene:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(scene.watch.run())
            update = await fallen(scene)
            async with asyncio.timeout(PATIENCE_S):
                while not len(scene.desk.ready):
                    await bed36.chain.rpc.request("eth_sendTransaction", [tx_body(update)])
                    await asyncio.sleep(0.3)
            assert not running.done()
            running.cancel()
        assert len(scene.sent(await scene.next_head())) >= 4
        assert scene.desk.ready.used >= 3
        assert scene.kept.events("trouble", "alert") == []


async def test_a_flood_to_one_feed_drops_no_writers_update_and_is_said_once(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can send to a feed what it will refuse: the writer's own update is looked at all the same."""
    monkeypatch.setattr(backrun, "MOST_WAITING", 4)
    monkeypatch.setattr(backrun, "MOST_SIMULATED", 2)
    async with updating(bed36, tmp_path, monkeypatch) as scene:
        update, stranger = await fallen(scene), salted_address("stranger")
        await bed36.chain.fund([stranger])
        genuine = await scene.announced(update)
        junk = [
            replace(genuine, hash=Hash32(bytes([number]) * 32), sender=stranger, nonce=number) for number in range(9)
        ]
        scene.watch._pending = Told([genuine, *junk])
        async with asyncio.TaskGroup() as group:
            running = group.create_task(scene.watch.run())
            await happens(lambda: len(scene.desk.ready) >= 4)
            running.cancel()
        [row] = [row for row in scene.kept.events("alert") if row.fields["key"] == "updates_dropped"]
        assert row.severity == "warning" and to_hex(scene.pushed.aggregator) in row.fields["detail"]


class Told:
    """`keeper.ports.Pending`: these at once, and the first ever again."""

    def __init__(self, transactions: Sequence[PendingTransaction]) -> None:
        self._transactions = transactions

    async def pending(self, to: Collection[Address]) -> AsyncGenerator[PendingTransaction, None]:
        for transaction in self._transactions:
            assert transaction.to in to
            yield transaction
        while True:  # one whose simulation a busy machine had no time for is told again
            await asyncio.sleep(1)
            yield self._transactions[0]


async def test_of_a_source_of_no_known_kind_it_is_said_once(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with updating(bed36, tmp_path, monkeypatch) as scene:
        await bed36.chain.rpc.request("evm_setAutomine", [True])
        await admin.set_price_source(bed36, "GUSD", bed36.asset("WETH").token)
        await scene.head()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(scene.watch.run())
            await happens(lambda: bool(scene.kept.events("alert")))
            await scene.next_head()
            await asyncio.sleep(3 * LOOK_S)
            running.cancel()
        [row] = [row for row in scene.kept.events("alert") if row.fields["key"] == "feeds_unknown"]
        assert "GUSD" in row.fields["detail"]
