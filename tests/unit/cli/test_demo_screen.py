"""What is told in plain lines, and how the moving screen leaves the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from keeper.cli.demo_screen import MovingScreen, PlainScreen, event_line
from keeper.core import attempt_build, event_build
from keeper.core.errors import RpcUnreachable
from tests.unit.app.demo_facts import (
    RESTORED_NAME,
    TOXIC,
    TOXIC_NAME,
    empty_record,
    opening_events,
    outcome,
    sent_record,
    settled_record,
    toxic,
)
from tests.unit.store import facts


def plain() -> tuple[PlainScreen, io.StringIO]:
    written = io.StringIO()
    return PlainScreen(Console(file=written, width=80, highlight=False)), written


def facts_of(written: io.StringIO) -> list[str]:
    """The lines without their times."""
    return [line.split(" s  ", 1)[1] for line in written.getvalue().splitlines()]


def test_the_end_of_an_attempt_is_one_line() -> None:
    record = settled_record()
    *_, measured = attempt_build.outcome_events(facts.CHAIN, outcome())
    assert event_line(measured, record) == f"block 101: {RESTORED_NAME} restored: 0.9700 → 1.0500, target 1.0500"


def test_a_failed_attempt_says_why() -> None:
    record = settled_record(facts.failed_outcome())
    *_, measured = attempt_build.outcome_events(facts.CHAIN, facts.failed_outcome())
    line = event_line(measured, record)
    assert line is not None
    assert "NOT restored: 0.9700 → unknown, target 1.0500, the contract refused the first call" in line


def test_reasons_and_trouble_are_told_and_the_rest_is_not() -> None:
    record = sent_record()
    refused = event_build.refused(facts.CHAIN, facts.MARKET, 100, TOXIC, toxic())
    assert event_line(refused, record) == f"block 100: {TOXIC_NAME} left alone: toxic (no call helps)"
    trouble = event_build.trouble(facts.CHAIN, RpcUnreachable("gone"), block_number=7)
    assert event_line(trouble, record) == "block 7: trouble: gone"
    assert [event_line(event, record) for event in opening_events()] == [None, None, None]


def test_plain_lines_have_times_and_never_wrap() -> None:
    screen, written = plain()
    record = empty_record()
    record.prices = record.start_prices = {f"TOKEN{index}": 10**8 for index in range(12)}
    screen.step("compiling")
    screen.moved("drift", record)
    step, moved = facts_of(written)
    assert step == "compiling"
    assert moved.startswith("drift: TOKEN0 1.00 0.0 %")
    assert moved.endswith("TOKEN11 1.00 0.0 %")


def test_counts_are_told_when_they_change() -> None:
    screen, written = plain()
    screen.judged(empty_record())
    for record in (sent_record(), sent_record(), settled_record()):
        screen.judged(record)
    assert facts_of(written) == [
        "block 100: below 1: 2, restored: 0, left alone with a reason: 1",
        "block 102: below 1: 1, restored: 1, left alone with a reason: 1",
    ]


def test_text_from_the_chain_is_no_markup() -> None:
    screen, written = plain()
    screen.step("[bold]not a tag[/bold]")
    assert facts_of(written) == ["[bold]not a tag[/bold]"]


def test_the_moving_screen_ends_with_its_steps_and_a_visible_cursor() -> None:
    written = io.StringIO()
    screen = MovingScreen(Console(file=written, force_terminal=True, width=100, height=30))
    screen.step("first")
    screen.step("second")
    screen.begin(sent_record())
    screen.moved("crash", sent_record())
    screen.close()
    screen.close()
    text = written.getvalue()
    assert "first" in text
    assert "second" in text
    assert "block 100" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
