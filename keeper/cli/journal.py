"""`keeper journal`: what was recorded, as a table for people or as JSON for scripts (contract: docs/JOURNAL.md)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath, open_store, read_labels, readers_may_leave, to_borrower
from keeper.core.events import Kind

if TYPE_CHECKING:
    from rich.table import Table

    from keeper.cli.story import Labels
    from keeper.store import EventFilter, JournalRow, StoreReader

LAST_FOR_PEOPLE = 100
FOLLOW_EVERY_S = 0.5
_STYLES = {"warning": "yellow", "alert": "bold red"}


def journal(
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, stable names, all events.")] = False,
    since: Annotated[int | None, typer.Option("--since", min=0, help="From this block on.")] = None,
    borrower: Annotated[str | None, typer.Option("--borrower", help="Only this borrower's.")] = None,
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Only these kinds; may be repeated.")] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help=f"Only the latest; {LAST_FOR_PEOPLE} without --json.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is recorded from now on.")] = False,
) -> None:
    """Show what was recorded: seen, decided, refused and why, sent, mined, restored."""
    from keeper.store import EventFilter

    wanted = EventFilter(
        since_block=since,
        borrower=to_borrower(borrower) if borrower is not None else None,
        kinds=tuple(kind or ()),
        last=last if last is not None or as_json else LAST_FOR_PEOPLE,
    )
    with open_store(store, config) as reader, readers_may_leave():
        if as_json:
            for row in _rows(reader, wanted, follow=follow):
                sys.stdout.write(json_line(row) + "\n")
        else:
            _show_table(reader, wanted, follow=follow)


def json_line(row: JournalRow) -> str:
    """The stable contract: names and their order, addresses with their checksum."""
    from keeper.cli.render import checksum_tree

    return json.dumps(
        {
            "seq": row.seq,
            "at": row.at,
            "chain": row.chain,
            "kind": row.kind,
            "block_number": row.block_number,
            "market": checksum_tree(row.market),
            "borrower": checksum_tree(row.borrower),
            "attempt": row.attempt,
            "severity": row.severity,
            "fields": checksum_tree(dict(row.fields)),
        },
        separators=(",", ":"),
    )


def _rows(reader: StoreReader, wanted: EventFilter, *, follow: bool) -> Iterator[JournalRow]:
    """What is there; when following, then what is added, for ever."""
    while True:
        seen_seq = wanted.after_seq
        for row in reader.events(wanted):
            seen_seq = row.seq
            yield row
        if not follow:
            return
        sys.stdout.flush()
        time.sleep(FOLLOW_EVERY_S)
        wanted = replace(wanted, after_seq=seen_seq, last=None)


def _show_table(reader: StoreReader, wanted: EventFilter, *, follow: bool) -> None:
    from rich.console import Console

    labels = read_labels(reader)
    console = Console()
    rows = list(reader.events(wanted))
    console.print(_table(rows, labels))
    if not follow:
        return
    after = rows[-1].seq if rows else wanted.after_seq
    for row in _rows(reader, replace(wanted, after_seq=after, last=None), follow=True):
        console.print(_table([row], labels, header=False))


def _table(rows: Sequence[JournalRow], labels: Labels, *, header: bool = True) -> Table:
    from rich.table import Table
    from rich.text import Text

    from keeper.cli.render import short_address, time_text
    from keeper.cli.story import sentences

    table = Table(box=None, show_header=header, pad_edge=False, expand=True)
    table.add_column("at (UTC)", width=19, no_wrap=True)
    table.add_column("chain", width=10, no_wrap=True)
    table.add_column("block", width=10, justify="right", no_wrap=True)
    table.add_column("kind", width=15, no_wrap=True)
    table.add_column("attempt or borrower", width=20, no_wrap=True)
    table.add_column("what", ratio=1)
    for row in rows:
        about: Any = row.attempt or (short_address(row.borrower) if row.borrower is not None else "")
        cells = [
            time_text(row.at),
            row.chain,
            str(row.block_number if row.block_number is not None else ""),
            row.kind,
            about,
            sentences(row.kind, row.fields, row.market, labels)[0],
        ]
        # Text, not markup: what a chain says may hold brackets.
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES.get(row.severity, ""))
    return table
