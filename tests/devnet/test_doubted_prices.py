"""`keeper run --once` with policies for prices: who needs a doubted one is left alone, with the reason, until it recovers."""

from __future__ import annotations

from pathlib import Path

from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from tests.devnet.chain_facts import below_one
from tests.devnet.keeping import Keeping, keeping

HOUR_S = 3_600


def refusals(kept: Keeping, after_seq: int) -> dict[str | None, str]:
    """The details of those refused as unpriceable since, by borrower."""
    rows = [row for row in kept.events("refused") if row.seq > after_seq]
    return {row.borrower: row.fields["detail"] for row in rows if row.fields["reason"] == "unpriceable"}


def last_seq(kept: Keeping) -> int:
    return max(row.seq for row in kept.events())


async def test_a_stale_price_keeps_its_borrowers_waiting_and_no_others(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    kept.tables["prices"] = {"action": "refuse", "max_age_s": HOUR_S}
    await bed36.chain.mine(1, seconds=2 * HOUR_S)
    fresh = [symbol for symbol in bed36.deployment.symbols if symbol not in ("GUSD", "wstETH")]
    for symbol in fresh:
        percent = 80 if symbol == "WETH" else 100
        await admin.set_answer(bed36, symbol, await bed36.price_base(symbol) * percent // 100)
    sick = {to_hex(who) for who in await below_one(bed36, [opening.borrower for opening in bed36.openings])}

    ended = await kept.run_once()

    assert ended.code == 3, ended.err
    doubted = refusals(kept, 0)
    assert doubted
    assert all(detail.startswith("the price of GUSD is 72") for detail in doubted.values())
    assert all(detail.endswith("s old, the limit is 3600 s") for detail in doubted.values())
    sent = {row.borrower for row in kept.events("sent")}
    assert sent and not sent & doubted.keys()
    [alert] = [row for row in kept.events("alert") if row.fields["key"] == "price_stale"]
    assert "GUSD" in alert.fields["detail"]

    before = last_seq(kept)
    await admin.set_answer(bed36, "GUSD", await bed36.price_base("GUSD"))
    await kept.run_once()

    assert refusals(kept, before) == {}
    assert doubted.keys() <= sick
    assert [row for row in kept.events("alert") if row.seq > before and row.fields["key"] == "price_stale"] == []


async def test_without_a_wish_to_refuse_it_is_told_and_orders_go_out(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    kept.tables["prices"] = {"max_age_s": HOUR_S}
    await bed36.chain.mine(1, seconds=2 * HOUR_S)
    await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 80 // 100)
    await kept.run_once()
    assert refusals(kept, 0) == {}
    assert kept.events("sent")
    told = [row.fields["detail"] for row in kept.events("alert") if row.fields["key"] == "price_stale"]
    assert len(told) == 5  # all but ether and what hangs on it


async def test_a_sequencer_that_is_down_stops_the_whole_market(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    uptime = await admin.new_feed(bed36, 1)
    kept.tables["prices"] = {"action": "refuse", "sequencer_feed": to_hex(uptime), "sequencer_grace_s": 60}
    await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 80 // 100)
    await kept.run_once()
    reasons = {row.fields["reason"] for row in kept.events("refused")}
    assert reasons == {"sequencer_sentinel"}
    assert kept.events("sent") == []
    await admin.set_sequencer(bed36, uptime, up=True)
    await bed36.chain.mine(1, seconds=61)
    await kept.run_once()
    assert kept.events("sent")
