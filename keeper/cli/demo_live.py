"""The picture that moves while the demo runs. Pure: a record in, something to draw out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from keeper.app.demo_record import Attempt, Record
from keeper.cli.render import fixed_text, health_text, short_address
from keeper.core.events import Kind
from keeper.core.standing import ORDERED
from keeper.core.units import BPS, Address

_STATES = {
    Kind.DECIDED: ("planned", "cyan"),
    Kind.SENT: ("sent", "cyan"),
    Kind.MINED: ("mined", "cyan"),
    Kind.REVERTED: ("reverted", "red"),
    Kind.RESTORED: ("restored", "green"),
    Kind.NOT_RESTORED: ("not restored", "red"),
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How things stand, in four numbers."""

    below_one: int
    under_way: int
    restored: int
    left_alone: int


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One borrower in work."""

    name: str
    first: str
    now: str
    target: str
    verdict: str
    state: str
    style: str


def live_view(record: Record, elapsed_s: float, most_rows: int) -> RenderableType:
    """Prices, head, who is below 1, and the borrowers in work: what is under way first."""
    return Group(
        _heading(record, elapsed_s), prices_text(record), _counts_text(counts(record)), _table(record, most_rows)
    )


def counts(record: Record) -> Counts:
    restored = {attempt.borrower for attempt in record.attempts.values() if attempt.state == Kind.RESTORED}
    under_way = {attempt.borrower for attempt in record.open_attempts()}
    below = (under_way | set(record.standings)) - restored
    left = {borrower for borrower in below - under_way if record.standings[borrower].reason != ORDERED}
    return Counts(len(below), len(under_way), len(restored), len(left))


def prices_text(record: Record, *, moved_only: bool = False) -> Text:
    """Every price, and how far it is from where it began."""
    line = Text()
    for symbol, price_base in record.prices.items():
        start_base = record.start_prices.get(symbol, price_base)
        if moved_only and price_base == start_base:
            continue
        change_bps = (price_base - start_base) * BPS // start_base
        style = "red" if change_bps < 0 else "green" if change_bps > 0 else "dim"
        line.append(f"{symbol} {fixed_text(price_base, 8, 2)} ")
        line.append(f"{fixed_text(change_bps, 2, 1)} %   ", style=style)
    return line


def live_rows(record: Record, most_rows: int) -> list[LiveRow]:
    """Under way, then left alone, then settled; at most so many."""
    ranked = sorted(record.sick(), key=lambda borrower: _rank(record, borrower))
    return [_row(record, borrower) for borrower in ranked[:most_rows]]


def _rank(record: Record, borrower: Address) -> int:
    attempts = record.attempts_of(borrower)
    if not attempts:
        return 1
    return 2 if attempts[-1].settled else 0


def _row(record: Record, borrower: Address) -> LiveRow:
    attempts = record.attempts_of(borrower)
    name = f"{record.name(borrower)} {short_address(borrower)}"
    first = health_text(record.first_health_wad.get(borrower))
    stands = record.standings.get(borrower)
    if not attempts:
        if stands is None:
            return LiveRow(name, first, "", "", "", "back above 1", "dim")
        verdict = stands.verdict.value.replace("_", " ") if stands.verdict is not None else ""
        return LiveRow(name, first, health_text(stands.health_factor_wad), "", verdict, stands.reason, "yellow")
    last = attempts[-1]
    state, style = _STATES[Kind(last.state)]
    now_wad = last.health_before_wad if stands is None else stands.health_factor_wad
    if last.settled:
        now_wad = last.health_after_wad
    verdict = last.verdict.replace("_", " ") + _calls(last)
    return LiveRow(name, first, health_text(now_wad), health_text(last.target_wad), verdict, state, style)


def _calls(attempt: Attempt) -> str:
    return f", {len(attempt.clips)} calls" if len(attempt.clips) > 1 else ""


def _heading(record: Record, elapsed_s: float) -> Text:
    rules = record.verified or "not verified yet"
    return Text.assemble(
        ("keeper demo", "bold"),
        f"   block {record.judged_block}   {rules}, {record.checked_borrowers} borrowers recomputed to the wei"
        f"   {len(record.names)} borrowers   {int(elapsed_s)} s",
    )


def _counts_text(found: Counts) -> Text:
    return Text.assemble(
        (f"below 1: {found.below_one}", "bold red" if found.below_one else "dim"),
        f"   under way: {found.under_way}   ",
        (f"restored: {found.restored}", "green"),
        "   ",
        (f"left alone, with a reason: {found.left_alone}", "yellow"),
    )


def _table(record: Record, most_rows: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("borrower", "first seen", "health now", "target", "verdict", "state"):
        table.add_column(
            name, justify="right" if name in ("first seen", "health now", "target") else "left", no_wrap=True
        )
    listed: Sequence[LiveRow] = live_rows(record, most_rows)
    for row in listed:
        table.add_row(row.name, row.first, row.now, row.target, row.verdict, Text(row.state, style=row.style))
    if len(listed) < len(record.first_health_wad):
        table.add_row(f"… and {len(record.first_health_wad) - len(listed)} more", style="dim")
    return table
