"""A live daemon that is paused, killed, started again and resumed: nothing leaves while a pause stands, and what its
transactions cost and moved is what its balances say, to the wei."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from tests.devnet.accounts import assert_adds_up, money_of
from tests.devnet.chain_facts import below_one
from tests.devnet.commands import Running, comes_true, happens
from tests.devnet.daemons import fall, nothing_waits
from tests.devnet.keeping import Keeping, health_page, keeping
from tests.ports import free_port

HEADS = 2
"""So many judged heads without a transaction are taken for a pause that holds."""


def written_down(kept: Keeping) -> int:
    """How many transactions were ever put on record; nothing is sent before it is."""
    with closing(sqlite3.connect(f"file:{kept.store}?mode=ro", uri=True)) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM intents").fetchall()
        return int(count)


async def some_heads(kept: Keeping) -> None:
    goal = kept.judged_block() + HEADS
    await happens(lambda: kept.judged_block() >= goal)


async def test_nothing_is_sent_between_a_pause_and_resume_and_the_report_adds_up(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    before = await money_of(bed36, kept)
    await bed36.chain.rpc.request("evm_setIntervalMining", [1])
    port = free_port()
    async with kept.daemon("--live", health_port=port) as daemon:
        await kept.until("caught_up")
        await assert_pause_holds_in_the_midst_of_a_crash(bed36, kept, daemon, port)
        daemon.send(signal.SIGKILL)
        assert (await daemon.ended()).code == -signal.SIGKILL
    assert await below_one(bed36, [opening.borrower for opening in bed36.openings]), "else nothing was left to do"
    taken = written_down(kept)
    async with kept.daemon("--live", health_port=port) as daemon:
        await kept.until("caught_up", count=2)
        await some_heads(kept)
        assert written_down(kept) == taken, "still paused"
        explained = await kept.run("explain", "--store", str(kept.store))
        assert "nothing is sent: operator: a look first" in explained.out
        resumed = await kept.run("resume", "--store", str(kept.store))
        assert "Lifted: operator: a look first" in resumed.out
        lifted = await kept.until("resumed")
        await answered(bed36, kept, lifted.seq)
        await nothing_waits(bed36, kept)
        await comes_true(lambda: is_shown_paused(port, None))
        assert written_down(kept) > taken
        assert (await daemon.stopped()).code == 0
    told = await assert_adds_up(bed36, kept, before)
    liquidations = [line for line in told["attempts"] if line["purpose"] == "liquidation"]
    assert liquidations
    assert all(line["unvalued"] == 0 for line in liquidations if line["reverted"] == 0)
    assert kept.events("not_restored") == []


async def assert_pause_holds_in_the_midst_of_a_crash(bed: Bed, kept: Keeping, daemon: Running, port: int) -> None:
    await fall(bed, 93)
    await kept.until("decided")
    paused = await kept.run("pause", "a look first", "--store", str(kept.store))
    taken = written_down(kept)
    assert paused.code == 0
    assert paused.out.startswith("Paused: from now on no keeper on this store sends anything.")
    await kept.until("paused")
    fallen = await fall(bed, 88)
    await some_heads(kept)
    assert fallen.sick
    assert written_down(kept) == taken
    assert daemon.alive
    assert "paused" in {row.fields["reason"] for row in kept.events("refused")}, "whoever is below 1 is told why"
    await comes_true(lambda: is_shown_paused(port, "operator: a look first"))
    status, page = await health_page(port)
    assert (status, page["status"]) == (200, "degraded")


async def is_shown_paused(port: int, why: str | None) -> bool:
    _, page = await health_page(port)
    return bool(page) and page["chains"]["devnet"]["paused"] == why


async def answered(bed: Bed, kept: Keeping, after_seq: int) -> None:
    """Returns once everybody is back at 1, or has a reason since that is not the pause."""

    async def everybody() -> bool:
        told = {
            row.borrower for row in kept.events("refused") if row.seq > after_seq and row.fields["reason"] != "paused"
        }
        return all(to_hex(who) in told for who in await below_one(bed, [each.borrower for each in bed.openings]))

    await comes_true(everybody)


@pytest.mark.long
async def test_signals_do_the_same(bed: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed, tmp_path, funded=True)
    before = await money_of(bed, kept)
    await bed.chain.rpc.request("evm_setIntervalMining", [1])
    async with kept.daemon("--live") as daemon:
        await kept.until("caught_up")
        daemon.send(signal.SIGUSR1)
        await kept.until("paused")
        taken = written_down(kept)
        fallen = await fall(bed, 90)
        await some_heads(kept)
        assert fallen.sick
        assert written_down(kept) == taken
        daemon.send(signal.SIGUSR2)
        lifted = await kept.until("resumed")
        await answered(bed, kept, lifted.seq)
        await nothing_waits(bed, kept)
        assert (await daemon.stopped()).code == 0
    await assert_adds_up(bed, kept, before)


async def mined_once_it_waits(bed: Bed) -> None:
    async def waits() -> bool:
        return int((await bed.chain.rpc.request("txpool_status", []))["pending"], 16) > 0

    await comes_true(waits)
    await bed.chain.rpc.request("evm_mine", [])


@pytest.mark.long
async def test_a_kill_cancels_what_waits(bed: Bed, tmp_path: Path) -> None:
    """With nobody mining, what was sent waits; the cancellations take its nonces, and only they are mined."""
    kept = await keeping(bed, tmp_path, funded=True)
    before = await money_of(bed, kept)
    assert (await kept.run_once("--live")).code == 0
    allowances = written_down(kept)
    await bed.chain.rpc.request("evm_setAutomine", [False])
    async with kept.daemon("--live") as daemon:
        await kept.until("caught_up", count=2)
        await asyncio.gather(
            admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 88 // 100), mined_once_it_waits(bed)
        )
        await kept.until("sent")
        waiting = written_down(kept)
        assert waiting > allowances
        killed = await kept.run("kill", "--store", str(kept.store))
        assert "may still be mined" in killed.out
        # A block that is too dear for what waits, so that the keeper sees a head and the pool stays as it is.
        await bed.chain.rpc.request("anvil_setNextBlockBaseFeePerGas", [hex(40 * 10**9)])
        await bed.chain.rpc.request("evm_mine", [])
        await kept.until("paused")
        await happens(lambda: written_down(kept) > waiting)
        await bed.chain.rpc.request("evm_setIntervalMining", [1])
        await nothing_waits(bed, kept)
        assert (await daemon.stopped()).code == 0
    told = await assert_adds_up(bed, kept, before)
    assert {line["purpose"] for line in told["attempts"]} == {"allowance", "cancel"}
    assert kept.events("mined", "restored") == []
