from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keeper.core import event_build
from keeper.core.errors import Defect
from keeper.core.events import Event, Kind
from keeper.core.intent import OPEN_STATUSES, IntentStatus, Mark
from keeper.core.units import Hash32
from keeper.store import EventFilter, Store, StoreReader
from tests.unit.store.facts import (
    ATTEMPT,
    BORROWER,
    CHAIN,
    LIQUIDATOR,
    MARKET,
    OTHER_BORROWER,
    OTHER_MARKET,
    checkpoint,
    intent,
    seen,
    standing,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keeper.db"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


# -- journal -------------------------------------------------------------------------------------------------------
async def test_events_come_back_in_order_and_go_on_after_a_restart(path: Path) -> None:
    clock = Clock()
    async with Store.open(path, now=clock) as store:
        await store.record([seen(1), seen(2, OTHER_BORROWER)])
        await store.record([])
        await store.record([event_build.stopped(CHAIN, "asked to")])
    async with Store.open(path, now=clock) as store:
        await store.record([seen(3)])
    with StoreReader.open(path) as reader:
        rows = list(reader.events())
    assert [row.seq for row in rows] == [1, 2, 3, 4]
    assert [row.block_number for row in rows] == [1, 2, None, 3]
    first = rows[0]
    assert (first.at, first.chain, first.kind) == ("2026-01-31T12:00:00.000Z", CHAIN, "seen")
    assert (first.market, first.borrower) == ("0x" + "a0" * 20, "0x" + "b0" * 20)
    assert first.fields == {"health_factor_wad": "100000000000000000", "below_one_from_s": None}


async def test_what_was_recorded_cannot_be_changed_or_removed(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record([seen(1)])
    with closing(sqlite3.connect(path)) as connection:
        for statement in ("UPDATE events SET kind = 'restored'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


async def test_a_field_that_cannot_be_written_is_the_callers_defect_and_stops_nobody_else(path: Path) -> None:
    async with Store.open(path) as store:
        with pytest.raises(Defect):
            await store.record([Event(Kind.SEEN, CHAIN, fields={"share": 0.5})])  # type: ignore[dict-item]
        await store.record([seen(1)])
    with StoreReader.open(path) as reader:
        assert [row.block_number for row in reader.events()] == [1]


async def test_the_reader_filters_by_block_borrower_attempt_kind_and_count(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record([event_build.stopped(CHAIN, "before"), seen(5), seen(6, OTHER_BORROWER)])
        await store.record([event_build.stopped(CHAIN, "after"), replace(seen(4), attempt=ATTEMPT)])
    with StoreReader.open(path) as reader:

        def blocks(wanted: EventFilter) -> list[int | None]:
            return [row.block_number for row in reader.events(wanted)]

        assert blocks(EventFilter(since_block=5)) == [5, 6, None]
        assert blocks(EventFilter(since_block=99)) == []
        assert blocks(EventFilter(borrower=BORROWER)) == [5, 4]
        assert blocks(EventFilter(attempt=ATTEMPT)) == [4]
        assert blocks(EventFilter(kinds=(Kind.STOPPED,))) == [None, None]
        assert blocks(EventFilter(after_seq=3)) == [None, 4]
        assert blocks(EventFilter(borrower=BORROWER, last=1)) == [4]
        assert blocks(EventFilter(last=2)) == [None, 4]


# -- standing ------------------------------------------------------------------------------------------------------
async def test_a_reason_is_one_row_however_many_heads_it_lasts(path: Path) -> None:
    clock = Clock()
    async with Store.open(path, now=clock) as store:
        for number in range(100, 200):
            clock.passes(12)
            await store.record_standing(
                CHAIN, MARKET, number, {BORROWER: replace(standing(), health_factor_wad=number)}
            )
        await store.record_standing(CHAIN, MARKET, 200, {})
        await store.record_standing(CHAIN, OTHER_MARKET, 7, {})
    with StoreReader.open(path) as reader:
        (row,) = reader.standing()
        watch, other = reader.watches()
    assert (row.reason, row.first_block, row.last_block) == ("toxic", 100, 199)
    assert (row.first_health_wad, row.last_health_wad) == (100, 199)
    assert (row.ended, row.ended_block) == ("not_below_one", 200)
    assert (watch.first_block, watch.last_block, watch.heads, watch.below_one) == (100, 200, 101, 0)
    assert (other.market, other.heads) == ("0x" + "a1" * 20, 1)


async def test_while_it_lasts_a_standing_holds_up_to_the_last_judged_head(path: Path) -> None:
    clock = Clock()
    async with Store.open(path, now=clock) as store:
        for number in range(100, 110):
            clock.passes(1)
            await store.record_standing(
                CHAIN, MARKET, number, {BORROWER: replace(standing(), health_factor_wad=number)}
            )
        assert await store.save(checkpoint(109)), "everything handed over before it is on the disk"
        with StoreReader.open(path) as reader:
            (row,) = reader.standing(only_open=True)
            assert (row.first_block, row.last_block, row.ended) == (100, 109, None)
    with StoreReader.open(path) as reader:
        assert reader.standing()[0].last_health_wad == 109, "a clean end writes the last health"


async def test_a_restart_is_a_gap(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_standing(CHAIN, MARKET, 100, {BORROWER: standing()})
        await store.record_standing(CHAIN, MARKET, 105, {BORROWER: standing()})
    async with Store.open(path) as store:
        await store.record_standing(CHAIN, MARKET, 900, {BORROWER: standing(), OTHER_BORROWER: standing()})
    with StoreReader.open(path) as reader:
        old, new, other = reader.standing()
        assert [(watch.first_block, watch.last_block) for watch in reader.watches()] == [(100, 105), (900, 900)]
    assert (old.first_block, old.last_block, old.ended, old.ended_block) == (100, 105, "gap", 900)
    assert (new.borrower, new.first_block, new.ended) == (old.borrower, 900, None)
    assert other.first_block == 900


async def test_a_long_silence_is_a_gap_and_a_chain_without_blocks_is_none(path: Path) -> None:
    clock = Clock()
    async with Store.open(path, now=clock) as store:
        await store.record_standing(CHAIN, MARKET, 100, {BORROWER: standing()})
        clock.passes(10_000)
        await store.record_standing(CHAIN, MARKET, 101, {BORROWER: standing()})
        clock.passes(10_000)
        await store.record_standing(CHAIN, MARKET, 950, {BORROWER: standing()})
    with StoreReader.open(path) as reader:
        first, second = reader.standing(borrower=BORROWER)
        assert [watch.heads for watch in reader.watches()] == [2, 1]
    assert (first.first_block, first.last_block, first.ended) == (100, 101, "gap")
    assert (second.first_block, second.ended) == (950, None)


async def test_a_health_that_is_not_known_is_stored_as_such(path: Path) -> None:
    unpriceable = replace(standing("unpriceable"), health_factor_wad=None)
    async with Store.open(path) as store:
        await store.record_standing(CHAIN, MARKET, 100, {BORROWER: unpriceable})
    with StoreReader.open(path) as reader:
        assert [row.last_health_wad for row in reader.standing()] == [None]


# -- intents -------------------------------------------------------------------------------------------------------
async def test_open_intents_come_back_by_nonce_then_in_the_order_recorded(path: Path) -> None:
    async with Store.open(path) as store:
        for nonce, name in [(8, 80), (7, 70), (7, 71)]:
            await store.record_intents([intent(nonce, name)])
        await store.record_intents([replace(intent(1, 90), chain_id=1)])
        await store.record_intents([replace(intent(1, 91), signer=BORROWER)])
    async with Store.open(path) as store:
        found = await store.open_intents(31_337, LIQUIDATOR)
    assert [(each.nonce, each.transaction_hash[-1]) for each in found] == [(7, 70), (7, 71), (8, 80)]
    assert found[0] == intent(7, 70)


@pytest.mark.parametrize("status", list(IntentStatus))
async def test_a_settled_intent_is_no_longer_open(path: Path, status: IntentStatus) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(7)])
        await store.mark_intents([Mark(intent(7).transaction_hash, status, 101)])
        expected = [replace(intent(7), status=status)] if status in OPEN_STATUSES else []
        assert list(await store.open_intents(31_337, LIQUIDATOR)) == expected
    with StoreReader.open(path) as reader:
        assert [each.status for each in reader.intents(ATTEMPT)] == [status]


async def test_the_same_bytes_again_are_the_same_intent_open_again(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(7)])
        await store.mark_intents([Mark(intent(7).transaction_hash, IntentStatus.REFUSED)])
        await store.record_intents([replace(intent(7), attempt="101-b0b0b0b0", submitted_block=101)])
        (found,) = await store.open_intents(31_337, LIQUIDATOR)
    assert (found.attempt, found.submitted_block, found.status) == ("101-b0b0b0b0", 101, IntentStatus.INTENDED)


async def test_marking_what_was_never_recorded_is_a_defect_and_stops_nobody_else(path: Path) -> None:
    async with Store.open(path) as store:
        with pytest.raises(Defect, match="no intent was recorded"):
            await store.mark_intents([Mark(Hash32(b"\x09" * 32), IntentStatus.MINED, 5)])
        await store.record_intents([intent(7)])
        assert len(await store.open_intents(31_337, LIQUIDATOR)) == 1


async def test_only_the_owner_may_read_signed_transactions(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record_intents([intent(1)])
        modes = {each.name: each.stat().st_mode & 0o077 for each in path.parent.iterdir()}
    assert set(modes) == {"keeper.db", "keeper.db-wal", "keeper.db-shm", "keeper.db.lock"}
    assert set(modes.values()) == {0}, modes
