"""The writer in trouble: nothing handed over is lost, and nobody is told that something is on the disk when it is not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, text

from keeper.core import event_build
from keeper.core.errors import Defect, StoreError
from keeper.core.events import Event
from keeper.core.intent import Intent
from keeper.core.units import Hash32
from keeper.store import Store, StoreReader
from keeper.store.writer import MAX_WAITING_ROWS
from tests.unit.store.facts import ATTEMPT, BORROWER, CHAIN, LIQUIDATOR, MARKET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper.db"


def seen(block_number: int) -> Event:
    return event_build.seen(CHAIN, MARKET, block_number, BORROWER, 10**17)


def intent(nonce: int) -> Intent:
    return Intent(1, LIQUIDATOR, nonce, Hash32(nonce.to_bytes(32, "big")), b"\x02", ATTEMPT, BORROWER, 0, 100)


def blocks(path: Path) -> list[int | None]:
    with StoreReader.open(path) as reader:
        return [row.block_number for row in reader.events()]


@asynccontextmanager
async def impatient_store(path: Path) -> AsyncIterator[Store]:
    """Its writer gives up on another program's lock at once instead of after seconds."""
    async with Store.open(path) as store:
        await store._writer.write_through((text("PRAGMA busy_timeout"), [{}]))
        await store._writer._connection.exec_driver_sql("PRAGMA busy_timeout = 20")
        yield store


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock of the database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def until_trouble(store: Store, *, over: bool = False) -> str | None:
    """Waits until the writer is in trouble, or out of it."""
    async with asyncio.timeout(10):
        while (store.trouble is None) is not over:  # noqa: ASYNC110 - the store has no event for this
            await asyncio.sleep(0.01)
    return store.trouble


async def test_while_the_disk_refuses_journal_rows_wait_and_intents_fail(path: Path) -> None:
    async with impatient_store(path) as store:
        with locked(path):
            await store.record([seen(1)])
            with pytest.raises(StoreError, match="locked"):
                await store.record_intents([intent(1)])
            await store.record([seen(2)])
            with pytest.raises(StoreError, match="close that program"):
                await store.record_intents([intent(2)])
            assert "\n" not in str(await until_trouble(store))
        await store.record([seen(3)])
        assert await until_trouble(store, over=True) is None
        await store.record_intents([intent(3)])
        assert [each.nonce for each in await store.open_intents(1, LIQUIDATOR)] == [3]
    assert blocks(path) == [1, 2, 3]


async def test_a_full_disk_is_named_and_survived(path: Path) -> None:
    async with impatient_store(path) as store:
        connection = store._writer._connection
        used = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {used}")
        many = [replace(seen(number), fields={"detail": "x" * 500}) for number in range(100)]
        await store.record(many)
        assert "free some disk space" in str(await until_trouble(store))
        await connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        await store.record([seen(100)])
    assert blocks(path) == list(range(101))


async def end_in_trouble(path: Path, blocker: sqlite3.Connection) -> None:
    async with impatient_store(path) as store:
        blocker.execute("BEGIN IMMEDIATE")
        await store.record([seen(1), seen(2), seen(3)])
        await until_trouble(store)


async def test_an_end_in_trouble_says_how_much_was_lost(path: Path) -> None:
    async with Store.open(path):
        pass
    lost = pytest.raises(StoreError, match="3 journal rows could not be written")
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker, lost:
        await end_in_trouble(path, blocker)
    assert blocks(path) == []


async def test_when_too_much_waits_the_caller_waits(path: Path) -> None:
    async with impatient_store(path) as store:
        with locked(path):
            await store.record([seen(1)] * MAX_WAITING_ROWS)
            await until_trouble(store)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await store.record([seen(2)])
        await store.record([seen(3)])
    assert blocks(path) == [1] * MAX_WAITING_ROWS + [3]


async def test_many_intents_share_their_commits(path: Path) -> None:
    async with Store.open(path) as store:
        statements: list[str] = []
        engine = store._writer._connection.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        await asyncio.gather(*(store.record_intents([intent(nonce)]) for nonce in range(500)))
        assert statements.count("COMMIT") < 50
        assert len(await store.open_intents(1, LIQUIDATOR)) == 500


async def test_each_commit_is_synced_to_the_disk(path: Path) -> None:
    async with Store.open(path) as store:
        connection = store._writer._connection
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one() == 2, "FULL"
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 1


async def break_the_writer(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record([seen(1)])
        with pytest.raises(Defect, match="append-only"):
            await store._writer.write_through((text("DELETE FROM events"), [{}]))
        with pytest.raises(Defect, match="append-only"):
            await store.record([seen(2)])


async def test_a_statement_that_can_never_work_is_a_defect_for_everybody_after_it(path: Path) -> None:
    with pytest.raises(Defect, match="append-only"):
        await break_the_writer(path)
    assert blocks(path) == [], "the transaction was undone as a whole"


async def test_a_caller_that_gives_up_waiting_breaks_nothing(path: Path) -> None:
    async with impatient_store(path) as store:
        waiting = [asyncio.ensure_future(store.record_intents([intent(nonce)])) for nonce in range(5)]  # noqa: TID251
        await asyncio.sleep(0)
        for each in waiting[::2]:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await store.record_intents([intent(9)])
        nonces = {each.nonce for each in await store.open_intents(1, LIQUIDATOR)}
    assert nonces >= {1, 3, 9}


async def record_and_fail(path: Path) -> None:
    async with Store.open(path) as store:
        await store.record([seen(number) for number in range(5000)])
        raise KeyError("ours")


async def test_an_error_of_the_caller_passes_through_and_everything_is_written(path: Path) -> None:
    with pytest.raises(KeyError, match="ours"):
        await record_and_fail(path)
    assert len(blocks(path)) == 5000


async def test_a_cancelled_caller_leaves_everything_written(path: Path) -> None:
    async def forever() -> None:
        async with Store.open(path) as store:
            await store.record([seen(number) for number in range(5000)])
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await forever()
    assert len(blocks(path)) == 5000


async def test_a_closed_store_takes_nothing(path: Path) -> None:
    async with Store.open(path) as store:
        pass
    with pytest.raises(StoreError, match="closed"):
        await store.record([seen(1)])
    with pytest.raises(StoreError, match="closed"):
        await store.record_intents([intent(1)])
