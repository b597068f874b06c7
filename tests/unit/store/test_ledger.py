"""The ledger and the pauses in the store: one commit with the status, taken back by a reorg, migrated from older stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.core.errors import Defect, Paused, StoreError
from keeper.core.events import Event, Kind
from keeper.core.intent import Intent, IntentStatus, Mark
from keeper.core.ledger import CallValue, Entry, Movement, Purpose, Stake, Valuation
from keeper.core.pauses import EVERYBODY, KILL, Pause, Scope
from keeper.core.shares import Share
from keeper.core.units import Address, Hash32
from keeper.store import Store, StoreReader
from keeper.store.pauses import PauseSwitch
from tests.unit.store.facts import ATTEMPT, BORROWER, CHAIN, LIQUIDATOR, USDC, WETH
from tests.unit.store.older import WITHOUT_SHARES, as_version_2

CHAIN_ID = 31_337
PAUSE = Pause(EVERYBODY, "operator", "for a while")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper.db"


def rows_of(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def intent(nonce: int, purpose: Purpose = Purpose.LIQUIDATION) -> Intent:
    return Intent(
        CHAIN_ID,
        LIQUIDATOR,
        nonce,
        Hash32(bytes([nonce]) * 32),
        b"\x02",
        ATTEMPT,
        BORROWER,
        0,
        100,
        purpose=purpose,
        stake=Stake(10**15, 3 * 10**20, 2**70),
    )


def mined(of: Intent, block: int, succeeded: bool = True) -> Mark:
    block_hash = Hash32(bytes([block]) * 32)
    entry = Entry(
        chain_id=of.chain_id,
        signer=of.signer,
        transaction_hash=of.transaction_hash,
        nonce=of.nonce,
        attempt=of.attempt,
        purpose=of.purpose,
        borrower=of.borrower,
        call_index=of.call_index,
        block_number=block,
        block_hash=block_hash,
        timestamp_s=1_000 + block,
        succeeded=succeeded,
        gas_used=300_000,
        gas_price_wei=10**15,
        l1_fee_wei=7,
        movements=(Movement(WETH, 5), Movement(USDC, -(2**80))) if succeeded else (),
    )
    status = IntentStatus.MINED if succeeded else IntentStatus.REVERTED
    return Mark(of.transaction_hash, status, block, entry)


async def test_a_mined_transaction_enters_the_ledger_with_its_status(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1), intent(2)])
        before = await store.spending(0)
        changes = store.spending_changes
        await store.mark_intents([mined(intent(1), 50)])
        assert store.spending_changes != changes
        after = await store.spending(0)
        assert await store.spending(1_050) == replace(after, settled=())
    assert [(each.nonce, each.stake) for each in before.on_their_way] == [(1, intent(1).stake), (2, intent(2).stake)]
    assert before.settled == ()
    [settled] = after.settled
    assert (settled.cost_wei, settled.timestamp_s, settled.succeeded) == (300_000 * 10**15 + 7, 1_050, True)
    assert (settled.value, settled.stake) == (None, intent(1).stake)
    assert [each.nonce for each in after.on_their_way] == [2]
    with StoreReader.open(path) as reader:
        [account] = reader.accounts()
    assert account.entry == mined(intent(1), 50).entry


async def test_a_reorg_takes_the_row_back_and_it_may_come_again(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1)])
        await store.mark_intents([mined(intent(1), 50)])
        await store.mark_intents([Mark(intent(1).transaction_hash, IntentStatus.UNKNOWN)])
        assert (await store.spending(0)).settled == ()
        assert len((await store.spending(0)).on_their_way) == 1
        await store.mark_intents([mined(intent(1), 51, succeeded=False)])
        await store.mark_intents([mined(intent(1), 52)])  # straight from one block to another
        await store.mark_intents([mined(intent(1), 52)])  # told twice
        assert [each.timestamp_s for each in (await store.spending(0)).settled] == [1_052]
    with StoreReader.open(path) as reader:
        assert [account.entry for account in reader.accounts()] == [mined(intent(1), 52).entry]
    kept = rows_of(path, "SELECT block_number, taken_back_at IS NULL FROM ledger ORDER BY id")
    assert kept == [(50, 0), (51, 0), (52, 1)]
    assert rows_of(path, "SELECT count(*) FROM ledger_movements") == [(4,)]


async def test_what_lost_its_nonce_is_remembered_as_long_as_what_took_it(path: Path) -> None:
    """And only where the nonce went to one of ours."""
    async with Store.open(path) as store:
        won, late = intent(1), intent(200)
        rival, stranger = (
            replace(intent(nonce), transaction_hash=Hash32(b"\xee" * 31 + bytes([nonce]))) for nonce in (1, 2)
        )
        await store.record_intents([won, rival, stranger, late])
        await store.mark_intents(
            [mined(won, 100), *(Mark(each.transaction_hash, IntentStatus.DROPPED) for each in (rival, stranger))]
        )
        [found] = await store.dropped_intents(CHAIN_ID, LIQUIDATOR, 64)
        assert (found.transaction_hash, found.status) == (rival.transaction_hash, IntentStatus.DROPPED)
        assert await store.dropped_intents(CHAIN_ID + 1, LIQUIDATOR, 64) == []
        await store.mark_intents([mined(late, 170)])
        assert await store.dropped_intents(CHAIN_ID, LIQUIDATOR, 64) == []


async def test_what_was_never_recorded_enters_no_ledger(path: Path) -> None:
    async with Store.open(path) as store:
        with pytest.raises(Defect, match="no intent was recorded"):
            await store.mark_intents([mined(intent(9), 50)])
        assert (await store.spending(0)).settled == ()


async def test_a_value_belongs_to_the_block_that_it_was_read_in(path: Path) -> None:
    value = CallValue(2**80, 2**79, 2_000 * 10**8, 10**8, 2**70, -(2**71))
    async with Store.open(path) as store:
        await store.record_intents([intent(1)])
        await store.mark_intents([mined(intent(1), 50)])
        of_another_block = Valuation(intent(1).transaction_hash, Hash32(b"\x33" * 32), value)
        await store.value([of_another_block])
        assert (await store.spending(0)).settled[0].value is None
        await store.value([replace(of_another_block, block_hash=Hash32(bytes([50]) * 32))])
        assert (await store.spending(0)).settled[0].value == value
        await store.mark_intents([mined(intent(1), 51)])
        assert (await store.spending(0)).settled[0].value is None, "other prices"


# -- pauses --------------------------------------------------------------------------------------------------------
async def test_what_several_attempts_share_is_found_by_each_and_told_of_each(path: Path) -> None:
    shares = tuple(Share(f"100-{number}", Address(bytes([0xB0 + number]) * 20), 10 * number + 1) for number in range(3))
    whole = replace(intent(1), attempt=shares[0].attempt, borrower=shares[0].borrower, shares=shares)
    alone = intent(2)
    async with Store.open(path) as store:
        await store.record_intents([whole, alone])
        assert await store.open_intents(CHAIN_ID, LIQUIDATOR) == [whole, alone]
        for share in shares:
            assert await store.intents_of(CHAIN_ID, LIQUIDATOR, share.attempt) == [whole]
        assert await store.intents_of(CHAIN_ID, LIQUIDATOR, "100-") == []
        untold = await store.untold_intents(CHAIN, CHAIN_ID, LIQUIDATOR)
        assert [(each.attempt, each.borrower) for each in untold[:3]] == [
            (each.attempt, each.borrower) for each in shares
        ]
        assert untold[3] == alone

        told = Event(Kind.RESTORED, CHAIN, attempt=shares[0].attempt)
        await store.record([told, replace(told, attempt=shares[2].attempt)])
        untold = await store.untold_intents(CHAIN, CHAIN_ID, LIQUIDATOR)
        assert [each.attempt for each in untold] == [shares[1].attempt, alone.attempt]

        await store.mark_intents([mined(whole, 50)])
        repaid = tuple(replace(share, repaid_raw=number) for number, share in enumerate(shares))
        value = CallValue(9, 5, 1, 1)
        await store.value([Valuation(whole.transaction_hash, Hash32(bytes([50]) * 32), value, shares=repaid)])
    with StoreReader.open(path) as reader:
        [booked] = reader.accounts()
        assert (booked.value, booked.shares) == (value, repaid)
        assert [each.shares for each in reader.intents(shares[1].attempt)] == [repaid]


async def test_a_store_of_version_5_learns_of_shares(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1)])
    with closing(sqlite3.connect(path)) as connection:
        for statement in (*WITHOUT_SHARES, "UPDATE keeper_schema SET version = 5"):
            connection.execute(statement)
        connection.commit()
    async with Store.open(path) as store:
        assert await store.open_intents(CHAIN_ID, LIQUIDATOR) == [intent(1)]
        assert await store.intents_of(CHAIN_ID, LIQUIDATOR, ATTEMPT) == [intent(1)]


async def test_while_a_pause_stands_nothing_but_a_cancel_is_written_down(path: Path) -> None:
    async with Store.open(path) as store:
        await store.pause(PAUSE)
        with pytest.raises(Paused, match="operator: for a while"):
            await store.record_intents([intent(1), intent(2, Purpose.CANCEL)])
        assert await store.open_intents(CHAIN_ID, LIQUIDATOR) == []
        with pytest.raises(Paused):
            await store.record_intents([intent(3, Purpose.ALLOWANCE)])
        await store.record_intents([intent(4, Purpose.CANCEL)])
        await store.lift(None, "keeper resume")
        await store.record_intents([intent(5)])
        assert [each.nonce for each in await store.open_intents(CHAIN_ID, LIQUIDATOR)] == [4, 5]


@pytest.mark.parametrize(
    "scope, held",
    [
        (EVERYBODY, True),
        (Scope(CHAIN_ID), True),
        (Scope(CHAIN_ID, LIQUIDATOR), True),
        (Scope(1), False),
        (Scope(CHAIN_ID, BORROWER), False),
    ],
)
async def test_a_pause_holds_whom_it_covers(path: Path, scope: Scope, held: bool) -> None:
    assert scope.covers(CHAIN_ID, LIQUIDATOR) is held
    async with Store.open(path) as store:
        await store.pause(replace(PAUSE, scope=scope))
        try:
            await store.record_intents([intent(1)])
        except Paused:
            assert held
        else:
            assert not held


async def test_a_pause_outlasts_the_process_and_is_told_once(path: Path) -> None:
    async with Store.open(path) as store:
        await store.pause(PAUSE)
        await store.pause(replace(PAUSE, detail="again"))
        await store.pause(replace(PAUSE, reason="gas", scope=Scope(CHAIN_ID, LIQUIDATOR), block_number=7))
    async with Store.open(path) as store:
        first, second = await store.standing_pauses()
        assert first.pause == PAUSE
        assert second.pause == Pause(Scope(CHAIN_ID, LIQUIDATOR), "gas", "for a while", 7)
        await store.lift(CHAIN_ID, "keeper resume --chain")
        assert [each.pause for each in await store.standing_pauses()] == [PAUSE], "everybody's is not the chain's"


async def test_somebody_else_pauses_and_lifts_while_the_keeper_runs(path: Path) -> None:
    async with Store.open(path) as store:
        with PauseSwitch.open(path) as switch:
            switch.pause(replace(PAUSE, reason=KILL))
            assert [each.pause.kills for each in await store.standing_pauses()] == [True]
            with pytest.raises(Paused):
                await store.record_intents([intent(1)])
            await store.mark_intents([])
            assert switch.lift(None, "keeper resume") == 1
            assert switch.lift(None, "keeper resume") == 0
        await store.record_intents([intent(1)])
        assert [(each.chain_id, each.ledger_id) for each in (await store.spending(0)).lifts] == [(None, 0)]


async def test_a_lift_remembers_how_far_the_ledger_was(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1), intent(2)])
        await store.pause(replace(PAUSE, scope=Scope(CHAIN_ID, LIQUIDATOR)))
        await store.mark_intents([mined(intent(1), 50, succeeded=False), mined(intent(2), 50)])
        await store.lift(None, "keeper resume")
        [lift] = (await store.spending(0)).lifts
        assert (lift.signer, lift.ledger_id) == (LIQUIDATOR, 2)


async def test_a_pause_stays_on_record(path: Path) -> None:
    async with Store.open(path) as store:
        await store.pause(PAUSE)
        await store.lift(None, "keeper resume")
    for statement in ("DELETE FROM pauses", "UPDATE pauses SET lifted_at = NULL", "UPDATE pauses SET reason = 'x'"):
        with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
    assert rows_of(path, "SELECT reason, lifted_by FROM pauses") == [("operator", "keeper resume")]


def test_a_switch_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is none: start the keeper first"), PauseSwitch.open(tmp_path / "none"):
        pytest.fail("it opened")


# -- older stores --------------------------------------------------------------------------------------------------
async def test_a_store_of_version_2_keeps_its_intents_and_learns_the_rest(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1), replace(intent(2), attempt="allowance", borrower=None)])
    as_version_2(path)
    with pytest.raises(StoreError, match="start the keeper once"), PauseSwitch.open(path):
        pytest.fail("what the file does not know cannot be set")
    async with Store.open(path) as store:
        first, second = await store.open_intents(CHAIN_ID, LIQUIDATOR)
        assert (first.purpose, first.stake) == (Purpose.LIQUIDATION, None), "what it may cost is not known"
        assert second.purpose is Purpose.ALLOWANCE
        await store.mark_intents([mined(first, 50)])
        await store.pause(PAUSE)
        with pytest.raises(Paused):
            await store.record_intents([intent(3)])
    async with Store.open(path) as store:
        assert len((await store.spending(0)).settled) == 1
        assert len(await store.standing_pauses()) == 1


async def test_a_store_of_version_4_goes_on_counting_its_reverts(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1), intent(2)])
        await store.mark_intents([mined(intent(1), 50, succeeded=False)])
    with closing(sqlite3.connect(path)) as connection:
        for statement in (*WITHOUT_SHARES, "ALTER TABLE ledger DROP COLUMN lost_race"):
            connection.execute(statement)
        connection.execute("UPDATE keeper_schema SET version = 4")
        connection.commit()
    async with Store.open(path) as store:
        await store.mark_intents([mined(intent(2), 51, succeeded=False)])
        old, new = (await store.spending(0)).settled
        assert (old.lost_race, new.lost_race) == (False, None), "the new one's reason is still to be read"
        await store.value([Valuation(intent(2).transaction_hash, Hash32(bytes([51]) * 32), None, True)])
        assert [each.lost_race for each in (await store.spending(0)).settled] == [False, True]


async def test_a_store_of_version_3_learns_what_loans_and_swaps_cost(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1)])
        await store.mark_intents([mined(intent(1), 50)])
    with closing(sqlite3.connect(path)) as connection:
        without = (f"ALTER TABLE ledger DROP COLUMN {name}" for name in ("premium_base", "slippage_base", "lost_race"))
        for statement in (*WITHOUT_SHARES, *without):
            connection.execute(statement)
        connection.execute("UPDATE keeper_schema SET version = 3")
        connection.commit()
    async with Store.open(path) as store:
        [settled] = (await store.spending(0)).settled
        assert settled.value is None
        value = CallValue(9, 5, 1, 1, 2, 1)
        await store.value([Valuation(intent(1).transaction_hash, Hash32(bytes([50]) * 32), value)])
        assert (await store.spending(0)).settled[0].value == value
