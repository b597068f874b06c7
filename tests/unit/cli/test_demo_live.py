"""The moving picture's numbers and rows."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from keeper.cli.demo_live import Counts, LiveRow, counts, live_rows, live_view, prices_text
from keeper.core.units import WAD
from tests.unit.app.demo_facts import (
    RESTORED_NAME,
    TOXIC,
    TOXIC_NAME,
    empty_record,
    outcome,
    sent_record,
    settled_record,
    toxic,
)

UNDER_WAY = LiveRow(RESTORED_NAME, "0.9700", "0.9700", "1.0500", "reaches target, 2 calls", "sent", "cyan")
LEFT = LiveRow(TOXIC_NAME, "0.7000", "0.7000", "", "toxic", "toxic", "yellow")


def drawn(width: int = 120, most_rows: int = 10) -> str:
    record = settled_record()
    record.start_prices, record.prices = {"WETH": 3_200 * 10**8}, {"WETH": 2_816 * 10**8}
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(live_view(record, 12.9, most_rows))
    return capture.get()


def test_under_way_comes_first_then_whoever_is_left_alone() -> None:
    assert live_rows(sent_record(), 10) == [UNDER_WAY, LEFT]
    assert live_rows(sent_record(), 1) == [UNDER_WAY]


def test_the_restored_come_last_with_what_was_read_back() -> None:
    restored = replace(UNDER_WAY, now="1.0500", state="restored", style="green")
    assert live_rows(settled_record(), 10) == [LEFT, restored]


def test_what_was_not_restored_is_red() -> None:
    row = live_rows(settled_record(replace(outcome(), restored=False, health_after_wad=WAD // 2)), 10)[-1]
    assert (row.now, row.state, row.style) == ("0.5000", "not restored", "red")


def test_somebody_back_above_one_by_itself_says_so() -> None:
    record = empty_record()
    record.judge(100, {TOXIC: toxic()})
    record.judge(101, {})
    (row,) = live_rows(record, 10)
    assert (row.now, row.state) == ("", "back above 1")


def test_counts_add_up() -> None:
    assert counts(empty_record()) == Counts(0, 0, 0, 0)
    assert counts(sent_record()) == Counts(below_one=2, under_way=1, restored=0, left_alone=1)
    assert counts(settled_record()) == Counts(below_one=1, under_way=0, restored=1, left_alone=1)


def test_prices_show_how_far_they_fell() -> None:
    record = empty_record()
    record.start_prices = {"WETH": 3_200 * 10**8, "USDC": 10**8, "WBTC": 60_000 * 10**8}
    record.prices = {"WETH": 2_816 * 10**8, "USDC": 10**8, "WBTC": 60_600 * 10**8}
    assert prices_text(record).plain.split("   ") == [
        "WETH 2,816.00 -12.0 %",
        "USDC 1.00 0.0 %",
        "WBTC 60,600.00 1.0 %",
        "",
    ]


def test_the_picture_holds_head_rules_prices_and_rows() -> None:
    text = drawn()
    for part in ("block 102", "Aave v3.6, 50 borrowers recomputed", "3 borrowers", "12 s", "-12.0 %", "restored: 1"):
        assert part in text
    assert TOXIC_NAME in text


def test_what_does_not_fit_is_counted() -> None:
    assert "… and 1 more" in drawn(most_rows=1)
