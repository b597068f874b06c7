"""Saved books in the store: what is kept, what is refused and kept aside, and a disk that takes nothing more."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.core import event_build
from keeper.core.checkpoint import Stage
from keeper.core.errors import StoreError
from keeper.core.events import Event
from keeper.store import Store, StoreReader
from keeper.store import checkpoints as checkpoints_module
from keeper.store.checkpoints import OUTLASTS_REORG_BLOCKS
from keeper.store.tables import SCHEMA_VERSION
from tests.devnet.commands import comes_true
from tests.unit.store.facts import BORROWER, CHAIN, MARKET, OTHER_MARKET, block, checkpoint
from tests.unit.store.older import as_version_2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper.db"


def rows_of(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def alter(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def seen(number: int) -> Event:
    return event_build.seen(CHAIN, MARKET, number, BORROWER, 10**17)


async def test_a_checkpoint_comes_back_whole(path: Path) -> None:
    saved = checkpoint(9, rows=bytes(range(256)) * 1000, borrowers=BORROWER * 3)
    saved = replace(saved, block=replace(block(9), base_fee_wei=None))
    async with Store.open(path) as store:
        assert await store.load(CHAIN, MARKET) == []
        assert await store.save(saved)
        assert await store.save(checkpoint(2, market=OTHER_MARKET))
    async with Store.open(path) as store:
        assert await store.load(CHAIN, MARKET) == [saved]
        assert await store.load("elsewhere", MARKET) == []


async def test_the_checksum_of_a_large_book_leaves_the_event_loop_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed, threads = checkpoints_module._checksum, list[int]()

    def watched(row: Mapping[str, Any]) -> str:
        threads.append(threading.get_ident())
        return summed(row)

    monkeypatch.setattr(checkpoints_module, "_checksum", watched)
    async with Store.open(path) as store:
        await store.save(checkpoint(9))
        assert await store.load(CHAIN, MARKET) == [checkpoint(9)]
    assert len(threads) == 2 and threading.get_ident() not in threads


async def test_the_newest_is_kept_and_one_that_outlasts_a_reorg(path: Path) -> None:
    async with Store.open(path) as store:
        kept: list[int] = []
        for number in (10, 1_000, 1_010, 1_000 + OUTLASTS_REORG_BLOCKS, 1_900, 1_901):
            assert await store.save(checkpoint(number))
            kept = [each.block.number for each in await store.load(CHAIN, MARKET)]
            assert kept[0] == number
            assert len(kept) <= 2
    assert kept == [1_901, 1_000 + OUTLASTS_REORG_BLOCKS]


async def test_a_saved_book_ends_the_back_fill_of_its_market_alone(path: Path) -> None:
    async with Store.open(path) as store:
        await store.save(checkpoint(5, Stage.SEARCH))
        await store.save(checkpoint(6, Stage.REPLAY))
        await store.save(checkpoint(7, Stage.SEARCH, market=OTHER_MARKET))
        stages = [each.stage for each in await store.load(CHAIN, MARKET)]
        assert stages == [Stage.REPLAY, Stage.SEARCH]
        await store.save(checkpoint(8))
        assert [each.stage for each in await store.load(CHAIN, MARKET)] == [Stage.BOOK]
        assert [each.stage for each in await store.load(CHAIN, OTHER_MARKET)] == [Stage.SEARCH]


@pytest.mark.parametrize(
    "damage, cause",
    [
        ("rows = x'00'", "it does not match its checksum"),
        ("chain_id = 1", "it does not match its checksum"),
        ("block_hash = '0x" + "77" * 32 + "'", "it does not match its checksum"),
        ("format = 1", "its format is 1, this keeper reads 2"),
    ],
)
async def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_serves(
    path: Path, damage: str, cause: str
) -> None:
    async with Store.open(path) as store:
        await store.save(checkpoint(5))
        await store.save(checkpoint(500))
    alter(path, f"UPDATE saved_books SET {damage} WHERE block_number = 500")
    async with Store.open(path) as store:
        assert await store.load(CHAIN, MARKET) == [checkpoint(5)]
        assert await store.load(CHAIN, MARKET) == [checkpoint(5)]
    with StoreReader.open(path) as reader:
        (event,) = reader.events()
    assert (event.kind, event.severity, event.fields["error"]) == ("trouble", "warning", "RefusedCheckpoint")
    assert cause in event.fields["detail"]
    assert rows_of(path, "SELECT block_number, cause FROM saved_books WHERE aside_at IS NOT NULL") == [(500, cause)]


async def test_what_is_set_aside_is_never_deleted_and_never_used(path: Path) -> None:
    async with Store.open(path) as store:
        await store.save(checkpoint(5))
        (found,) = await store.load(CHAIN, MARKET)
        await store.set_aside(found, "a row differs")
        assert await store.load(CHAIN, MARKET) == []
        for number in (6, 700, 1_400):
            await store.save(checkpoint(number))
    kept = rows_of(path, "SELECT block_number, rows, cause, aside_at FROM saved_books WHERE aside_at IS NOT NULL")
    assert [row[:3] for row in kept] == [(5, b"rows", "a row differs")]
    assert kept[0][3].startswith("20")


# -- a store of the version before ---------------------------------------------------------------------------------
OLD_TABLE = (
    "CREATE TABLE checkpoints (chain TEXT, market TEXT, saved_at TEXT, block_number BIGINT, block_hash TEXT,"
    " parent_hash TEXT, timestamp_s BIGINT, base_fee_wei TEXT, gas_limit BIGINT, rows BLOB, checksum TEXT)"
)


def as_version_1(path: Path) -> None:
    as_version_2(path)
    alter(path, "DROP TABLE saved_books")
    alter(path, OLD_TABLE)
    alter(path, "UPDATE keeper_schema SET version = 1")
    market, some_hash = "0x" + MARKET.hex(), "0x" + "11" * 32
    alter(
        path,
        f"INSERT INTO checkpoints VALUES ('{CHAIN}', '{market}', '2026-01-01', 5, '{some_hash}', '{some_hash}',"
        " 1800000000, '7', 30000000, x'0102', 'x')",
    )


async def test_a_store_of_the_version_before_is_brought_up_to_date(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record([seen(1)])
    as_version_1(path)
    with pytest.raises(StoreError, match="start the keeper once to bring it up to date"), StoreReader.open(path):
        pytest.fail("a reader changes nothing")
    async with Store.open(path) as store:
        assert await store.load(CHAIN, MARKET) == []
        assert await store.save(checkpoint(9))
        assert await store.load(CHAIN, MARKET) == [checkpoint(9)]
    with StoreReader.open(path) as reader:
        kinds = [event.kind for event in reader.events()]
    assert kinds == ["seen", "trouble"]
    assert rows_of(path, "SELECT max(version) FROM keeper_schema") == [(SCHEMA_VERSION,)]
    assert rows_of(path, "SELECT hex(rows), cause FROM saved_books WHERE aside_at IS NOT NULL") == [
        ("0102", "its format is 1, this keeper reads 2")
    ]


# -- a full disk ---------------------------------------------------------------------------------------------------
async def bound_pages(store: Store, most: int | None) -> None:
    """No page more than it has now (SQLITE_FULL, as on a full disk), or room again."""
    connection = store._writer._connection
    if most is None:
        used = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        most = int(used)
    await connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")


async def test_a_full_disk_loses_neither_the_saved_book_nor_the_journal(path: Path) -> None:
    async with Store.open(path) as store:
        assert await store.save(checkpoint(5))
        await bound_pages(store, None)
        assert not await store.save(checkpoint(500, rows=bytes(10**6)))
        assert await store.load(CHAIN, MARKET) == [checkpoint(5)]
        await store.record([replace(seen(number), fields={"detail": "x" * 4_000}) for number in range(20)])
        await asyncio.sleep(0.05)
        assert "free some disk space" in str(store.trouble)
        assert not await store.save(checkpoint(501)), "asked at once, answered at once"
        await bound_pages(store, 10**6)
        await comes_true(lambda: store.save(checkpoint(502)))
        assert str(store.trouble) == "None"
        assert [each.block.number for each in await store.load(CHAIN, MARKET)] == [502, 5]
    with StoreReader.open(path) as reader:
        assert [event.block_number for event in reader.events()] == list(range(20))
