"""Two signers on one chain: both at work, each with its own nonces and money, and nobody served twice between them."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from keeper.core.pauses import Pause, Scope
from keeper.core.units import Address, to_hex
from keeper.devnet.market import Bed
from keeper.devnet.state import Recipe, started_bed
from keeper.store.pauses import PauseSwitch
from tests.devnet.accounts import Money, assert_adds_up, money_of
from tests.devnet.chain_facts import Mined, emptied, mined_by
from tests.devnet.commands import happens
from tests.devnet.daemons import CLOSED, LIQUIDATION_CALL, fall, nothing_waits, worked_off
from tests.devnet.keeping import Keeping, keeping

BORROWERS = 100
RESTS = 3
MOST_IN_FLIGHT = 4
"""Of each: one alone could not serve a crash in the blocks that it takes."""


async def two_signers(bed: Bed, folder: Path) -> tuple[Keeping, Mapping[Address, Money]]:
    """With their allowances set, on a chain that from now on mines a block a second; and the money that they had before."""
    kept = await keeping(bed, folder, funded=True, signers=2)
    before = await money_of(bed, kept)
    kept.signing["most_in_flight"] = MOST_IN_FLIGHT
    assert (await kept.run_once("--live")).code == 0
    await bed.chain.rpc.request("evm_setIntervalMining", [1])
    return kept, before


def signers_of(kept: Keeping) -> Sequence[Address]:
    return [account.address for account in kept.accounts]


async def mined_liquidations(bed: Bed, kept: Keeping, first_block: int) -> dict[Address, list[Mined]]:
    """By signer, as the chain tells it; no nonce of either is left out."""
    found = {}
    for signer in signers_of(kept):
        every = await mined_by(bed, signer, first_block)
        assert not every or [each.nonce for each in every] == list(range(every[0].nonce, every[0].nonce + len(every)))
        found[signer] = [each for each in every if each.selector == LIQUIDATION_CALL]
        assert {each.hash for each in found[signer]} <= set(kept.intents())
        assert all(each.succeeded for each in found[signer]), "a second call for a restored one reverts"
    return found


async def rested(bed: Bed, kept: Keeping, sick: Sequence[Address]) -> None:
    """A daemon works off what is left; what it sends as it is stopped is the next one's to follow."""
    for _ in range(RESTS):
        async with kept.daemon("--live") as daemon:
            await worked_off(bed, kept, sick)
            await nothing_waits(bed, kept)
            assert (await daemon.stopped()).code == 0
        if set(kept.intents().values()) <= CLOSED:
            return
    raise AssertionError("it does not come to rest")


def borrowers_of(kept: Keeping, signer: Address) -> set[str]:
    """For whom it has transactions in the store."""
    with closing(sqlite3.connect(f"file:{kept.store}?mode=ro", uri=True)) as connection:
        query = "SELECT borrower FROM intents WHERE borrower IS NOT NULL AND signer = ?"
        return {borrower for (borrower,) in connection.execute(query, [to_hex(signer)])}


def served_twice_at_a_time(kept: Keeping) -> list[str]:
    """Attempts that were decided before another one for the same borrower, of any signer, was mined."""
    with closing(sqlite3.connect(f"file:{kept.store}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT borrower, attempt, submitted_block, block_number FROM intents"
            " WHERE borrower IS NOT NULL AND block_number IS NOT NULL ORDER BY block_number, submitted_block"
        ).fetchall()
    found = []
    mined: dict[str, tuple[str, int]] = {}
    for borrower, attempt, submitted_block, block_number in rows:
        before, until_block = mined.get(borrower, (attempt, 0))
        if before != attempt and submitted_block < until_block:
            found.append(f"{attempt}, while {before} was not mined yet")
        mined[borrower] = attempt, block_number
    return found


async def test_both_work_off_a_crash_through_a_kill_and_nobody_is_served_twice(tmp_path: Path) -> None:
    async with started_bed(Recipe("3.6", BORROWERS)) as bed:
        kept, before = await two_signers(bed, tmp_path)
        first_block = await bed.chain.block_number() + 1
        async with kept.daemon("--live") as daemon:
            await kept.until("caught_up", count=2)
            fallen = await fall(bed, 75)
            assert len(fallen.sick) >= 30
            await kept.until("sent", count=6)
            daemon.send(signal.SIGKILL)
            await daemon.ended()
        await rested(bed, kept, fallen.sick)

        await emptied(bed)
        mined = await mined_liquidations(bed, kept, first_block)
        assert all(len(own) >= 5 for own in mined.values()), "both were at work"
        assert served_twice_at_a_time(kept) == []
        assert set(kept.intents().values()) <= CLOSED
        told = await assert_adds_up(bed, kept, before)
        assert {account["signer"].lower() for account in told["accounts"]} == set(map(to_hex, signers_of(kept)))
        sent = {(row.fields["signer"], row.attempt) for row in kept.events("sent")}
        assert {signer for signer, _ in sent} == set(map(to_hex, signers_of(kept)))
        assert len({attempt for _, attempt in sent}) == len(sent), "one signer for each attempt"


@pytest.mark.long
async def test_one_without_gas_or_paused_leaves_the_work_to_the_other(tmp_path: Path) -> None:
    async with started_bed(Recipe("3.6", BORROWERS)) as bed:
        kept, _ = await two_signers(bed, tmp_path)
        first, second = signers_of(kept)
        await bed.chain.rpc.request("anvil_setBalance", [to_hex(first), "0x0"])
        async with kept.daemon("--live") as daemon:
            await kept.until("caught_up", count=2)
            poor_from = await bed.chain.block_number() + 1
            fallen = await fall(bed, 90)
            await worked_off(bed, kept, fallen.sick)
            await nothing_waits(bed, kept)
            mined = await mined_liquidations(bed, kept, poor_from)
            assert mined[first] == [] and len(mined[second]) >= 3

            await bed.chain.fund([first])
            with PauseSwitch.open(kept.store) as switch:
                switch.pause(Pause(Scope(bed.deployment.chain_id, second), "operator", "only this one"))
            await kept.until("paused")
            paused_from = await bed.chain.block_number() + 1
            fallen = await fall(bed, 90)
            await worked_off(bed, kept, fallen.sick)
            await nothing_waits(bed, kept)
            mined = await mined_liquidations(bed, kept, paused_from)
            assert mined[second] == [] and len(mined[first]) >= 3
            assert (await daemon.stopped()).code == 0
        [paused] = kept.events("paused")
        assert paused.fields["signer"] == to_hex(second)


@pytest.mark.long
async def test_a_signer_that_left_the_configuration_keeps_its_borrowers_until_it_is_settled(tmp_path: Path) -> None:
    """Killed with transactions of both on their way, and started again without the second."""
    async with started_bed(Recipe("3.6", BORROWERS)) as bed:
        kept, before = await two_signers(bed, tmp_path)
        kept.chain["inclusion_blocks"] = 50  # no block comes until both have sent
        await bed.chain.rpc.request("evm_setAutomine", [True])
        fallen = await fall(bed, 90)
        await bed.chain.rpc.request("evm_setAutomine", [False])
        _, second = signers_of(kept)
        async with kept.daemon("--live") as daemon:
            # Not sooner: what was written down and did not leave could be mined for ever, and only its own key could end that.
            await happens(lambda: kept.judged_block() >= fallen.block, every_s=0.05)
            daemon.send(signal.SIGKILL)
            await daemon.ended()
        left = borrowers_of(kept, second)
        assert left
        last, (one, gone) = max(row.seq for row in kept.events()), kept.accounts
        kept.account, kept.others = one, []
        async with kept.daemon("--live") as daemon:
            await kept.until("caught_up", after_seq=last)
            await bed.chain.rpc.request("evm_mine", [])
            told = [row.fields["detail"] for row in kept.events("alert") if row.seq > last]
            assert sum("is none of the signers any more" in detail for detail in told) >= len(left)
            await bed.chain.rpc.request("evm_setIntervalMining", [1])
            await nothing_waits(bed, kept)
            assert (await daemon.stopped()).code == 0
        told_of = {row.borrower for row in kept.events("restored", "not_restored")}
        assert left <= told_of
        assert served_twice_at_a_time(kept) == []
        kept.others = [gone]
        await emptied(bed)
        if set(kept.intents().values()) <= CLOSED:
            await assert_adds_up(bed, kept, before)
