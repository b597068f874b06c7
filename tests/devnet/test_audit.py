"""`keeper audit` against the real contracts: equal after a run, and one wei too much in one saved row is found by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from keeper.app.auditing import audit_markets
from keeper.app.build import followers_of
from keeper.app.ground import reached
from keeper.app.looking import caught_up
from keeper.book.book import Book
from keeper.book.snapshot import load_packed, pack_book
from keeper.core.checkpoint import Checkpoint
from keeper.core.errors import Defect
from keeper.core.lending import BalanceChange, Position
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet import actions, admin, upgrades
from keeper.devnet.market import Bed
from keeper.pipeline import rows
from keeper.pipeline.progress import unwatched
from keeper.store import Store, StoreReader
from tests.devnet.keeping import Keeping, keeping
from tests.faults import FaultProxy, Manners

CHAIN = "devnet"
DIFFERENT = 3


def unmoved(change: BalanceChange, previous_scaled: int) -> int:
    raise Defect("no log is applied here")


async def audited(kept: Keeping, *options: str, code: int = 0) -> dict[str, Any]:
    ended = await kept.run("audit", "--json", "--config", str(kept.write()), *options)
    assert ended.code == code, ended.err
    (market,) = json.loads(ended.out)
    assert market["equal"] == (code == 0)
    return dict(market)


async def change_saved_row(kept: Keeping, who: Address, change: Any) -> None:
    """The newest saved book with one row changed, sealed again as if it were right."""
    market = kept.provider
    with StoreReader.open(kept.store) as reader:
        saved = next(iter(reader.saved_books(CHAIN, market)))
    book = Book(unmoved)
    load_packed(book, saved.rows, saved.block.number)
    book.load([change(row) if row.borrower == who else row for row in book.every_position()], saved.block.number)
    fields = {name: getattr(saved, name) for name in Checkpoint.__slots__}
    async with Store.open(kept.store) as store:
        assert await store.save(Checkpoint(**{**fields, "rows": pack_book(book)}))


def one_wei_more(row: Position) -> Position:
    reserve_id = min(row.debt_scaled)
    debt = {**row.debt_scaled, reserve_id: row.debt_scaled[reserve_id] + 1}
    return Position(row.borrower, row.collateral_scaled, debt, row.collateral_enabled, row.category)


async def test_a_saved_book_equals_the_chain_and_one_wei_too_much_is_found(bed: Bed, tmp_path: Path) -> None:
    rng = random.Random(6)
    accounts = [opening.borrower for opening in bed.openings]
    kept = await keeping(bed, tmp_path)
    assert (await kept.run_once()).code in (0, DIFFERENT)
    for _ in range(15):
        await actions.random_action(rng, bed, accounts)
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 97 // 100)
    await bed.chain.mine(2, seconds=86_400)

    market = await audited(kept)
    assert market["book"].startswith("saved at block "), "followed from there by its logs"
    assert int(market["block_number"]) == await bed.chain.block_number()
    assert market["accounts"] >= market["borrowers"] >= len(bed.openings) - 5
    assert (market["reserves"], market["unvalued"]) == (len(bed.deployment.symbols), 0)

    who = accounts[7]
    await change_saved_row(kept, who, one_wei_more)
    market = await audited(kept, code=DIFFERENT)
    row, total = market["differences"]
    assert (row["what"], address_from_hex(row["borrower"])) == ("debt_scaled", who)
    assert int(row["ours"]) - int(row["chains"]) == 1
    assert (total["what"], total["reserve_id"]) == ("total_debt_scaled", row["reserve_id"])
    assert int(total["ours"]) - int(total["chains"]) == 1

    table = await kept.run("audit", "--config", str(kept.write()))
    assert table.code == DIFFERENT
    assert "2 differences" in table.out and row["reserve"] in table.out


async def test_rows_that_changed_code_made_doubtful_are_all_read_before_they_are_compared(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await keeping(bed36, tmp_path)
    settings = kept.settings()
    async with reached(CHAIN, settings, settings.chains[CHAIN]) as ground, Store.open(kept.store) as store:
        [follower] = followers_of(ground, store)
        await caught_up(ground, follower, unwatched)
    await change_saved_row(kept, bed36.openings[7].borrower, one_wei_more)
    await upgrades.upgrade_a_token(bed36, "WETH")
    monkeypatch.setattr(rows, "ROWS_PER_HEAD", 10)
    [found] = await audit_markets(settings, kept.store, unwatched, lambda done, total: None)
    assert found.audit.differences == () and found.audit.accounts >= len(bed36.openings)


async def test_without_a_saved_book_it_is_built_from_the_chain(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    ended = await kept.run("audit", "--rpc", kept.rpc_url, "--addresses-provider", to_hex(kept.provider))
    assert (ended.code, ended.err) == (0, "")
    assert ": equal" in ended.out and "book snapshot" in ended.out
    assert not kept.store.exists()
    refused = await kept.run(
        "audit", "--store", "x", "--rpc", kept.rpc_url, "--addresses-provider", to_hex(kept.provider)
    )
    assert refused.code == 2 and "--store" in refused.error_line


async def test_what_cannot_be_read_is_no_verdict(bed36: Bed, tmp_path: Path) -> None:
    """Every read of a row fails; what else the audit asks for is answered."""
    async with FaultProxy(bed36.url) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url)
        assert (await kept.run_once()).code in (0, DIFFERENT)
        refused = {"code": -32000, "message": "out of order"}
        proxy.manners = Manners(errors={"eth_call": refused})
        ended = await kept.run("audit", "--config", str(kept.write()))
    assert ended.code == 1
    assert ended.out == ""
