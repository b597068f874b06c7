"""`keeper report`: what was earned and spent, as the chain settled it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath, open_store, read_labels, readers_may_leave
from keeper.core.units import WAD, to_hex

if TYPE_CHECKING:
    from keeper.cli.labels import Labels
    from keeper.core.report import Booked, Line

FIRST_DAY = date(1970, 1, 1)
COLUMNS = (
    "record",
    "chain_id",
    "signer",
    "day",
    "attempt",
    "purpose",
    "borrower",
    "transactions",
    "reverted",
    "unvalued",
    "token",
    "change_raw",
    "cost_wei",
    "received_wad",
    "repaid_wad",
    "revenue_wad",
    "gas_wad",
    "premium_wad",
    "slippage_wad",
    "net_wad",
    "received_wei",
    "repaid_wei",
    "net_wei",
)
"""Of the CSV. `record` is `attempt`, `day`, or `movement`: what an attempt's transactions changed one token by."""


class Form(StrEnum):
    """How the report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def report(
    form: Annotated[
        Form, typer.Option("--format", "-f", help="For people, for a spreadsheet, or for scripts.")
    ] = Form.TABLE,
    since: Annotated[str | None, typer.Option("--since", metavar="YYYY-MM-DD", help="From this day (UTC) on.")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
) -> None:
    """Add up every mined transaction of the keeper, by attempt and by day: tokens, native coin and base currency.

    What tokens and native coin changed by is what the chain says, to the wei; values are those of each block.
    """
    from keeper.core.report import by_attempt, by_day

    first_day = _day(since)
    with open_store(store, config) as reader, readers_may_leave():
        booked = [each for each in reader.accounts() if first_day is None or each.entry.timestamp_s >= first_day]
        attempts, days = by_attempt(booked), by_day(booked)
        if form is Form.JSON:
            sys.stdout.write(json.dumps(_tree(booked, attempts, days), indent=2) + "\n")
        elif form is Form.CSV:
            _write_csv(attempts, days)
        else:
            _show(booked, attempts, days, read_labels(reader))


def _day(text: str | None) -> int | None:
    """The first second of the day. Raises `ConfigError`."""
    from keeper.core.errors import ConfigError

    if text is None:
        return None
    try:
        return (date.fromisoformat(text) - FIRST_DAY).days * 86_400
    except ValueError:
        raise ConfigError(f"--since {text}: a day is written like 2026-01-31") from None


def _day_text(line: Line) -> str:
    return (FIRST_DAY + timedelta(days=line.day)).isoformat()


def _plain(line: Line) -> dict[str, Any]:
    """A line with amounts as decimal text, in the order of the columns."""
    from keeper.cli.render import checksum

    worth = line.worth
    money = {} if worth is None else {name: str(getattr(worth, name)) for name in COLUMNS if hasattr(worth, name)}
    return {
        "chain_id": line.chain_id,
        "signer": checksum(line.signer),
        "day": _day_text(line),
        "attempt": line.attempt,
        "purpose": line.purpose.value if line.purpose is not None else None,
        "borrower": checksum(line.borrower) if line.borrower is not None else None,
        "transactions": line.transactions,
        "reverted": line.reverted,
        "unvalued": line.unvalued,
        "cost_wei": str(line.cost_wei),
        **{name: money.get(name) for name in COLUMNS[COLUMNS.index("received_wad") :]},
    }


def _tree(booked: Sequence[Booked], attempts: Sequence[Line], days: Sequence[Line]) -> dict[str, Any]:
    from keeper.cli.render import checksum
    from keeper.core.report import moved_raw

    def with_tokens(line: Line) -> dict[str, Any]:
        return _plain(line) | {"tokens": {checksum(token): str(raw) for token, raw in line.moved_raw.items()}}

    accounts = list(dict.fromkeys((each.entry.chain_id, each.entry.signer) for each in booked))
    totals = []
    for chain_id, signer in accounts:
        own = [each for each in booked if (each.entry.chain_id, each.entry.signer) == (chain_id, signer)]
        totals.append(
            {
                "chain_id": chain_id,
                "signer": checksum(signer),
                "native_change_wei": str(-sum(each.entry.cost_wei for each in own)),
                "tokens": {checksum(token): str(raw) for token, raw in moved_raw(own).items()},
            }
        )
    return {
        "accounts": totals,
        "days": [with_tokens(line) for line in days],
        "attempts": [with_tokens(line) for line in attempts],
    }


def _write_csv(attempts: Sequence[Line], days: Sequence[Line]) -> None:
    from keeper.cli.render import checksum

    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record, lines in (("attempt", attempts), ("day", days)):
        for line in lines:
            plain = _plain(line)
            writer.writerow({"record": record, **plain})
            if record == "day":
                continue  # or each movement would be there twice
            named = {name: plain[name] for name in ("chain_id", "signer", "day", "attempt", "purpose", "borrower")}
            for token, raw in line.moved_raw.items():
                writer.writerow({"record": "movement", **named, "token": checksum(token), "change_raw": raw})


def _show(booked: Sequence[Booked], attempts: Sequence[Line], days: Sequence[Line], labels: Labels) -> None:
    from rich.text import Text

    from keeper.cli.render import table_console

    console = table_console()
    if not booked:
        console.print("Nothing of the keeper was mined yet.")
        return
    for title, lines in (("By attempt", attempts), ("By day", days)):
        console.print(_table(title, lines, labels))
    unvalued = sum(line.unvalued for line in days)
    if unvalued:
        told = f"{unvalued} without a value in base currency: approvals, cancellations, and what could not be priced."
        console.print(Text(told, style="dim"))


def _table(title: str, lines: Sequence[Line], labels: Labels) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("day")
    table.add_column("what", overflow="fold")
    table.add_column("mined", justify="right")
    table.add_column("tokens", overflow="fold")
    for heading in ("native", "revenue", "gas", "premium", "slippage", "net"):
        table.add_column(heading, justify="right")
    for line in lines:
        failed = f" ({line.reverted} reverted)" if line.reverted else ""
        tokens = "\n".join(
            f"{_signed(raw)}{labels.token(str(abs(raw)), to_hex(each))}" for each, raw in line.moved_raw.items()
        )
        cells = [
            _day_text(line),
            line.attempt or "",
            f"{line.transactions}{failed}",
            tokens,
            _amount(-line.cost_wei, 8),
            *_money(line),
        ]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _money(line: Line) -> list[str]:
    worth = line.worth
    if worth is None:
        return ["-"] * 5
    amounts = (worth.revenue_wad, worth.gas_wad, worth.premium_wad, worth.slippage_wad, worth.net_wad)
    return [_amount(amount, 4) for amount in amounts]


def _amount(amount_wad: int, digits: int) -> str:
    """Rounded towards 0 for the eye; the other forms have every digit."""
    scaled = abs(amount_wad) * 10**digits // WAD
    return f"{_signed(amount_wad) if amount_wad < 0 else ''}{scaled // 10**digits:,}.{scaled % 10**digits:0{digits}d}"


def _signed(amount: int) -> str:
    return "-" if amount < 0 else "+"
