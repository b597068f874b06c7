"""A running daemon and a world that misbehaves: it waits, says so, and goes on; nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keeper.devnet.market import Bed
from keeper.store import schema
from tests.devnet.chain_facts import nonce
from tests.devnet.commands import comes_true
from tests.devnet.daemons import assert_nothing_twice, fall, settled, worked_off
from tests.devnet.inside import inside
from tests.devnet.keeping import health_page, keeping
from tests.devnet.secrets_kept import assert_kept, with_key
from tests.faults import FaultProxy, Manners
from tests.ports import free_port

TROUBLE: dict[str, Manners] = {
    "hangs up": Manners(hung_up=True),
    "falls silent": Manners(delay_s=30),
    "refuses logs": Manners(errors={"eth_getLogs": {"code": -32000, "message": "internal error"}}),
    "fails on reads": Manners(errors={"eth_call": {"code": -32603, "message": "internal error"}}),
    "answers HTML": Manners(html=True),
    "limits the rate": Manners(status=429),
}
IN_SHORT = ("hangs up", "falls silent", "refuses logs")
LONG = [pytest.param(name, marks=pytest.mark.long) for name in TROUBLE if name not in IN_SHORT]


@pytest.mark.parametrize("name", [*IN_SHORT, *LONG])
async def test_a_node_that_falls_ill_is_waited_for_and_nothing_is_lost(bed36: Bed, tmp_path: Path, name: str) -> None:
    """It falls ill, prices fall and blocks go by, it recovers: everybody is restored, from the logs of all the blocks."""
    async with FaultProxy(bed36.url) as proxy:
        kept = await keeping(bed36, tmp_path, with_key(proxy.url), funded=True)
        kept.tables["rpc"] = {"poll_s": 0.05, "timeout_s": 0.5}
        assert (await kept.run_once("--live")).code == 0
        async with kept.daemon("--live") as daemon:
            await kept.until("caught_up", count=2)
            await bed36.chain.mine()
            healthy = proxy.manners
            proxy.manners = TROUBLE[name]
            fallen = await fall(bed36)
            await bed36.chain.mine(3)
            await kept.until("trouble")
            assert kept.events("decided") == []
            assert daemon.alive
            proxy.manners = healthy
            await bed36.chain.mine()
            await worked_off(bed36, kept, fallen.sick)
            await kept.until("restored", count=2)
            await settled(kept)
            ended = await daemon.stopped()
        assert ended.code == 0
        assert_kept(kept, ended)
    await assert_nothing_twice(bed36, kept, fallen.block)
    assert len(kept.events("trouble")) < 20, "trouble that lasts is not told over and over"
    assert kept.events("not_restored", "market_refused") == []


async def test_a_daemon_started_before_its_node_waits_for_it(bed36: Bed, tmp_path: Path) -> None:
    port = free_port()
    async with FaultProxy(bed36.url, Manners(status=503)) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url)
        async with kept.daemon(health_port=port) as daemon:
            trouble = await kept.until("trouble")
            assert trouble.fields["error"] == "RpcUnreachable"
            status, body = await health_page(port)
            assert (status, body["chains"]["devnet"]["status"]) == (503, "stalled")
            assert "503" in body["chains"]["devnet"]["last_error"]
            proxy.manners = Manners()
            await kept.until("caught_up")
            await page_says(port, 200)
            assert (await daemon.stopped()).code == 0


async def page_says(port: int, status: int) -> None:
    async def says() -> bool:
        return (await health_page(port))[0] == status

    await comes_true(says)


async def test_the_next_daemon_goes_on_from_the_saved_book(bed36: Bed, tmp_path: Path) -> None:
    asked_from: list[int] = []

    def watch(method: str, params: list[Any]) -> None:
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            asked_from.append(int(params[0]["fromBlock"], 16))

    async with FaultProxy(bed36.url, on_request=watch) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url)
        async with kept.daemon() as daemon:
            await kept.until("caught_up")
            assert (await daemon.stopped()).code == 0
        saved_block = await bed36.chain.block_number()
        assert min(asked_from) < saved_block // 2, "the first one read from the market's beginning"
        asked_from.clear()
        await fall(bed36)
        await bed36.chain.mine(20)
        async with kept.daemon() as daemon:
            await kept.until("sent", count=2)
            assert (await daemon.stopped()).code == 0
        assert min(asked_from) > saved_block


async def test_nothing_is_sent_that_cannot_be_written_down_first(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the store: the daemon waits, and says so; nothing leaves meanwhile."""
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_MS", 100)
    kept, port = await keeping(bed36, tmp_path, funded=True), free_port()
    assert kept.account is not None
    assert (await kept.run_once("--live")).code == 0
    async with inside(kept, port, live=True):
        await kept.until("caught_up", count=2)
        used = await nonce(bed36, kept.account.address)
        with closing(sqlite3.connect(kept.store, isolation_level=None, check_same_thread=False)) as other:
            # In a thread: the daemon, which runs in this loop, may have to finish its own transaction first.
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
            fallen = await fall(bed36)
            await page_tells_of_the_store(port, "close that program")
            assert await nonce(bed36, kept.account.address) == used
            other.execute("ROLLBACK")
        # A head that comes before the store is tried again finds it closed, and the next one does the work.
        await bed36.chain.rpc.request("evm_setIntervalMining", [1])
        await worked_off(bed36, kept, fallen.sick)
        await kept.until("restored", count=2)
        await settled(kept)
    await assert_nothing_twice(bed36, kept, fallen.block)


async def page_tells_of_the_store(port: int, words: str) -> None:
    async def tells() -> bool:
        _, body = await health_page(port)
        return body["status"] != "ok" and words in (body["store_trouble"] or "")

    await comes_true(tells)


def torn(store: Path) -> None:
    """A disk that lost what it held."""
    for path in (store, store.with_name(store.name + "-wal")):
        with path.open("r+b") as file:
            file.write(b"\x13" * 4096 * 8)


@pytest.mark.parametrize("spoil", [torn])
async def test_a_store_that_breaks_ends_the_daemon(bed36: Bed, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """Without a journal nothing may happen: it ends with one line and exit code 1, and nothing was sent."""
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    assert (await kept.run_once("--live")).code == 0
    async with kept.daemon("--live") as daemon:
        await kept.until("caught_up", count=2)
        used = await nonce(bed36, kept.account.address)
        spoil(kept.store)
        await fall(bed36)
        ended = await daemon.ended()
    assert ended.code == 1
    assert "malformed" in ended.error_line or "no SQLite file" in ended.error_line
    assert await nonce(bed36, kept.account.address) == used
