"""The follower over a real store: a full disk, and a file that was tampered with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.core.lending import Side
from keeper.pipeline import market as market_module
from keeper.store import Store, StoreReader
from tests.devnet.commands import happens
from tests.scenario.scene import USDC, WETH, borrower, moves, opens
from tests.unit.pipeline.following import Following
from tests.unit.store.test_checkpoints import bound_pages, seen

FIRST, SECOND = borrower(1), borrower(2)


def over(store: Store, following: Following | None = None) -> Following:
    """A follower that saves into the store; a restarted one when it is given."""
    following = following or Following()
    following.checkpoints = store  # type: ignore[assignment]  # the port, not the list
    following.restart()
    return following


async def test_on_a_full_disk_the_keeper_watches_on_says_so_and_saves_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_module, "CHECKPOINT_EVERY_BLOCKS", 1)
    monkeypatch.setattr(market_module, "SAVE_AGAIN_BLOCKS", 1)
    async with Store.open(tmp_path / "keeper.db") as store:
        following = over(store)
        await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
        await bound_pages(store, None)
        for number in range(3, 40):
            await following.head(opens(borrower(number), {WETH: 10}, {USDC: 1}))
            await store.record([replace(seen(number), fields={"detail": "x" * 1_000})])
            following.assert_book_is_true()
        assert "free some disk space" in str(store.trouble)
        await bound_pages(store, 10**6)
        await happens(lambda: store.trouble is None)
        await following.head(moves(FIRST, Side.DEBT, USDC, 1))
        restarted = over(store, following)
        result = await restarted.head()
        assert result.origin.startswith(f"saved at block {restarted.world.tip.ref.number - 1}, proven")
        restarted.assert_book_is_true()
    with StoreReader.open(tmp_path / "keeper.db") as reader:
        assert [event.block_number for event in reader.events()] == list(range(3, 40)), "nothing is lost"


@pytest.mark.parametrize("damage", ["rows = x'00'", "block_number = 1", "chain_id = 1", "facts = 'nonsense'"])
async def test_a_tampered_book_is_refused_in_the_journal_kept_and_built_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "keeper.db"
    async with Store.open(path) as store:
        following = over(store)
        following.world.mine_empty(3)
        await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE saved_books SET {damage}")
    async with Store.open(path) as store:
        over(store, following)
        result = await following.head(opens(SECOND, {WETH: 10}, {USDC: 1}))
        assert result.origin.startswith("snapshot, proven at block ")
        following.assert_book_is_true()
    with StoreReader.open(path) as reader:
        (event,) = reader.events()
    assert event.fields["error"] == "RefusedCheckpoint"
    assert "kept aside and built anew" in event.fields["detail"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM saved_books WHERE aside_at IS NOT NULL").fetchall() == [(1,)]
