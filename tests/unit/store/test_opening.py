"""Files that are no store, or not ours to open: one clear line each, and nothing is changed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keeper.core import event_build
from keeper.core.errors import StoreError
from keeper.core.events import Event
from keeper.store import Store, StoreReader
from keeper.store.tables import SCHEMA_VERSION
from tests.unit.store.facts import BORROWER, CHAIN, MARKET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keeper.db"


def seen(block_number: int) -> Event:
    return event_build.seen(CHAIN, MARKET, block_number, BORROWER, 10**17)


async def opened(path: Path, events: int = 0) -> None:
    async with Store.open(path) as store:
        await store.record([seen(number) for number in range(events)])


def alter(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def refusal(path: Path) -> str:
    """The one line with which a writer refuses the file."""
    with pytest.raises(StoreError) as caught:
        asyncio.run(opened(path, 1))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def reading_refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught, StoreReader.open(path):
        pytest.fail("it opened")
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_second_keeper_is_told_who_holds_the_store(path: Path) -> None:
    async with Store.open(path) as store:
        with pytest.raises(StoreError, match=f"another keeper \\(pid {os.getpid()}\\)"):
            await opened(path)
        await store.record([seen(1)])
    await opened(path, 1)
    with StoreReader.open(path) as reader:
        assert len(list(reader.events())) == 2


async def test_two_names_of_one_file_are_one_store(path: Path, tmp_path: Path) -> None:
    async with Store.open(path):
        (tmp_path / "link.db").symlink_to(path)
        with pytest.raises(StoreError, match="another keeper"):
            await opened(tmp_path / "link.db")


def test_a_store_of_a_newer_keeper_is_refused_and_left_alone(path: Path) -> None:
    asyncio.run(opened(path))
    alter(path, "UPDATE keeper_schema SET version = 99")
    before = path.read_bytes()
    assert f"newer keeper (version 99, this one knows {SCHEMA_VERSION}): upgrade" in refusal(path)
    assert "newer keeper" in reading_refusal(path)
    assert path.read_bytes() == before


def test_a_store_of_an_older_keeper_or_without_version_is_refused(path: Path) -> None:
    asyncio.run(opened(path))
    alter(path, "UPDATE keeper_schema SET version = 0")
    assert "too old" in refusal(path)
    alter(path, "DELETE FROM keeper_schema")
    assert "does not say its version" in refusal(path)


def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    alter(path, "CREATE TABLE addresses (name TEXT)")
    before = path.read_bytes()
    assert "belongs to something else" in refusal(path)
    assert "belongs to something else" in reading_refusal(path)
    assert path.read_bytes() == before


def test_a_store_that_is_just_being_made_is_not_read_yet(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert "only just begun" in reading_refusal(path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mode = 'dry'\n" * 500)
    assert "no SQLite file" in refusal(path)
    assert "no SQLite file" in reading_refusal(path)
    assert path.read_text().startswith("mode")


def test_a_torn_file_is_refused(path: Path) -> None:
    asyncio.run(opened(path, 2000))
    os.truncate(path, path.stat().st_size // 3)
    assert "damaged" in refusal(path)


def test_a_folder_and_an_unusable_place_are_refused(tmp_path: Path) -> None:
    assert "it is a folder" in refusal(tmp_path)
    (tmp_path / "file").write_text("")
    assert "cannot create its folder" in refusal(tmp_path / "file" / "keeper.db")
    assert "there is none" in reading_refusal(tmp_path / "nowhere.db")
