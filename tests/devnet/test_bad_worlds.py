"""The command in a world that is not as it should be: a saved book of something else, no subscriptions, a clock that is wrong,
a disk that is full. Each is said in one line, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keeper.app.build import POLLED
from keeper.book.book import Book
from keeper.book.snapshot import pack_book
from keeper.core import event_build
from keeper.core.checkpoint import Checkpoint
from keeper.core.lending import Position
from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.store import Store, StoreReader
from tests.devnet.chain_facts import nonce
from tests.devnet.commands import comes_true
from tests.devnet.daemons import assert_nothing_twice, fall, live_daemon, settled, worked_off
from tests.devnet.inside import inside
from tests.devnet.keeping import Keeping, health_page, keeping
from tests.devnet.test_audit import CHAIN, DIFFERENT, unmoved
from tests.devnet.test_health import NO_ANVIL
from tests.faults import FaultProxy, Manners
from tests.ports import free_port
from tests.socket_faults import SocketManners, SocketProxy
from tests.unit.store.test_checkpoints import alter, bound_pages, rows_of

HOUR_S = 3_600


# -- a saved book of something else --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Foreign:
    """What was done to the saved book, and what is said of it."""

    says: str
    statement: str = ""
    """As a disk or another version would leave it."""
    sealed: bool = False
    """Else written by a keeper, with a checksum that fits: `fields` are not ours."""
    rows: bool = False
    """The rows of another market."""
    fields: tuple[tuple[str, Any], ...] = ()


FOREIGN = (
    Foreign("it is of chain id 1, this chain's is 31337", sealed=True, fields=(("chain_id", 1),)),
    Foreign("collateral_scaled of 0x7777", sealed=True, rows=True),
    Foreign("its format is 1, this keeper reads 2", "UPDATE saved_books SET format = 1 WHERE aside_at IS NULL"),
    Foreign(
        "it does not match its checksum",
        "UPDATE saved_books SET rows = substr(rows, 1, length(rows) / 2) WHERE aside_at IS NULL",
    ),
)


async def spoil(kept: Keeping, foreign: Foreign) -> None:
    if foreign.statement:
        alter(kept.store, foreign.statement)
        return
    with StoreReader.open(kept.store) as reader:
        [saved] = reader.saved_books(CHAIN, kept.provider)
    fields = {name: getattr(saved, name) for name in Checkpoint.__slots__} | dict(foreign.fields)
    if foreign.rows:
        book = Book(unmoved)
        book.load([Position(Address(b"\x77" * 20), {0: 10**18}, {1: 10**6}, frozenset({0}), 0)], saved.block.number)
        fields["rows"] = pack_book(book)
    alter(kept.store, "DELETE FROM saved_books WHERE aside_at IS NULL")
    async with Store.open(kept.store) as store:
        assert await store.save(Checkpoint(**fields))


async def test_a_saved_book_of_something_else_is_refused_kept_aside_and_built_anew(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    assert (await kept.run_once()).code in (0, DIFFERENT)
    for count, foreign in enumerate(FOREIGN, start=1):
        await spoil(kept, foreign)
        ended = await kept.run_once()
        assert ended.code in (0, DIFFERENT), ended.err
        assert "Traceback" not in ended.err
        troubles = kept.events("trouble")
        assert len(troubles) == count, [row.fields for row in troubles]
        detail = troubles[-1].fields["detail"]
        assert foreign.says in detail and "kept aside and built anew" in detail and "\n" not in detail
        assert kept.events("caught_up")[-1].fields["origin"].startswith("snapshot, proven at block ")
        asides = "SELECT count(*), count(cause) FROM saved_books WHERE aside_at IS NOT NULL"
        assert rows_of(kept.store, asides) == [(count, count)], "nothing of it is deleted"


# -- a provider without subscriptions --------------------------------------------------------------------------------
async def test_where_nothing_is_announced_heads_are_polled_and_that_is_said_once(bed36: Bed, tmp_path: Path) -> None:
    manners = SocketManners(offers_subscriptions=False)
    async with SocketProxy(bed36.url, manners) as sockets, live_daemon(bed36, tmp_path) as kept:
        kept.chain["ws_url"] = sockets.url
        async with kept.daemon("--live") as daemon:
            alert = await kept.until("alert")
            fallen = await fall(bed36)
            await worked_off(bed36, kept, fallen.sick)
            await kept.until("restored")
            await settled(kept)
            assert (await daemon.stopped()).code == 0
        await assert_nothing_twice(bed36, kept, fallen.block)
    assert alert.fields["key"] == "subscription_lost" and alert.severity == "warning"
    assert "no subscription" in alert.fields["detail"] and "heads are polled from now on" in alert.fields["detail"]
    other = kept.events("alert")[1:]
    assert [row.fields["key"] for row in other] == ["no_pending"]
    assert "price updates show when mined" in other[0].fields["detail"]
    assert sockets.connections == 2, "one for each subscription: none is asked for again and again"


async def test_without_a_socket_it_is_said_once_that_heads_are_polled(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    async with kept.daemon() as daemon:
        await kept.until("caught_up")
        assert (await daemon.stopped()).code == 0
    [told] = kept.events("endpoint")
    assert told.fields["detail"].endswith(f"; {POLLED}")
    assert kept.events("alert") == []


# -- a clock that is wrong -------------------------------------------------------------------------------------------
async def test_a_clock_far_behind_the_chain_is_told_of_once_with_its_size(bed36: Bed, tmp_path: Path) -> None:
    await bed36.chain.rpc.request("evm_increaseTime", [HOUR_S])
    async with FaultProxy(bed36.url, Manners(errors=NO_ANVIL)) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url)
        async with kept.daemon() as daemon:
            await kept.until("caught_up")
            await bed36.chain.rpc.request("evm_setIntervalMining", [1])
            await kept.until("alert")
            fallen = await fall(bed36)
            assert fallen.sick
            await kept.until("sent")
            ended = await daemon.stopped()
    assert ended.code == 0 and "Traceback" not in ended.err
    [alert] = kept.events("alert")
    assert (alert.fields["key"], alert.severity) == ("clock_skew", "alert")
    words = alert.fields["detail"]
    assert words.startswith("this machine's clock is ") and words.endswith("set the clock")
    assert abs(int(words.removeprefix("this machine's clock is ").split(" s behind")[0]) - HOUR_S) < HOUR_S // 2


# -- a disk that is full ---------------------------------------------------------------------------------------------
@asynccontextmanager
async def opened_stores(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Store]]:
    """The stores that are opened meanwhile."""
    found: list[Store] = []
    opening = Store.open

    @asynccontextmanager
    async def watched(*arguments: Any, **options: Any) -> AsyncIterator[Store]:
        async with opening(*arguments, **options) as store:
            found.append(store)
            yield store

    with monkeypatch.context() as patched:
        patched.setattr(Store, "open", watched)
        yield found


async def test_on_a_full_disk_nothing_is_sent_that_is_and_what_waits_is_written_later(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, port = await keeping(bed36, tmp_path, funded=True), free_port()
    assert kept.account is not None
    assert (await kept.run_once("--live")).code == 0
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(opened_stores(monkeypatch))
        await stack.enter_async_context(inside(kept, port, live=True))
        await kept.until("caught_up", count=2)
        [store] = stores
        await bound_pages(store, None)
        filling = [event_build.alert(CHAIN, "filling", "x" * 4_000) for _ in range(20)]
        await store.record(filling)
        await page_says(port, "free some disk space")
        used = await nonce(bed36, kept.account.address)
        fallen = await fall(bed36)
        for _ in range(5):
            await bed36.chain.mine()
            await asyncio.sleep(0.2)
        assert await nonce(bed36, kept.account.address) == used
        await bound_pages(store, 10**6)
        await bed36.chain.rpc.request("evm_setIntervalMining", [1])
        await worked_off(bed36, kept, fallen.sick)
        await kept.until("restored")
        await settled(kept)
        await page_says(port, None)
    await assert_nothing_twice(bed36, kept, fallen.block)
    with closing(sqlite3.connect(kept.store)) as connection:
        [(written,)] = connection.execute("SELECT count(*) FROM events WHERE fields LIKE '%filling%'").fetchall()
    assert written == len(filling)


async def page_says(port: int, words: str | None) -> None:
    """What `/health` says of the store; None: nothing is wrong with it."""

    async def says() -> bool:
        _, body = await health_page(port)
        trouble = body.get("store_trouble")
        return trouble is None if words is None else words in (trouble or "")

    await comes_true(says)
