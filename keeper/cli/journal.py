"""`keeper journal`: what was recorded, as a table for people or as JSON for scripts (contract: docs/JOURNAL.md)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath, open_store, read_labels, readers_may_leave, to_account
from keeper.core.events import Kind

if TYPE_CHECKING:
    from rich.console import Console

    from keeper.cli.labels import Labels
    from keeper.store import EventFilter, JournalRow, StoreReader

LAST_FOR_PEOPLE = 100
FOLLOW_EVERY_S = 0.5
TABLE_WIDTH = 140
"""From this width on there is room for a table whose last column can be read."""
ENTRY_INDENT = 2
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
        borrower=to_account(borrower) if borrower is not None else None,
        kinds=tuple(kind or ()),
        last=last if last is not None or as_json else LAST_FOR_PEOPLE,
    )
    with open_store(store, config) as reader, readers_may_leave():
        if as_json:
            for row in _rows(reader, wanted, follow=follow):
                sys.stdout.write(json_line(row) + "\n")
        else:
            _show_people(reader, wanted, follow=follow)


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


def _show_people(reader: StoreReader, wanted: EventFilter, *, follow: bool) -> None:
    from rich.console import Console

    labels = read_labels(reader)
    console = Console(highlight=False)
    show = _show_table if console.width >= TABLE_WIDTH else _show_entries
    rows = list(reader.events(wanted))
    show(console, rows, labels, header=True)
    if not follow:
        return
    after = rows[-1].seq if rows else wanted.after_seq
    for row in _rows(reader, replace(wanted, after_seq=after, last=None), follow=True):
        show(console, [row], labels, header=False)


def _show_entries(console: Console, rows: Sequence[JournalRow], labels: Labels, *, header: bool) -> None:
    """Where a table has no room for its last column: a line for when and who, the sentence below it."""
    from rich.padding import Padding
    from rich.text import Text

    from keeper.cli.render import time_text

    del header
    for row in rows:
        block = f"block {row.block_number}" if row.block_number is not None else ""
        parts = (time_text(row.at), row.chain, block, row.kind, _about(row))
        console.print(Text("  ".join(part for part in parts if part), style="dim"), soft_wrap=True)
        told = Text(_told(row, labels), style=_STYLES.get(row.severity, ""))
        console.print(Padding(told, (0, 0, 0, ENTRY_INDENT), expand=False))


def _show_table(console: Console, rows: Sequence[JournalRow], labels: Labels, *, header: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from keeper.cli.render import time_text

    table = Table(box=None, show_header=header, pad_edge=False, expand=True)
    table.add_column("at (UTC)", width=19, no_wrap=True)
    table.add_column("chain", width=10, no_wrap=True)
    table.add_column("block", width=10, justify="right", no_wrap=True)
    table.add_column("kind", width=15, no_wrap=True)
    table.add_column("attempt or borrower", width=20, no_wrap=True)
    table.add_column("what", ratio=1)
    for row in rows:
        block = str(row.block_number) if row.block_number is not None else ""
        cells = [time_text(row.at), row.chain, block, row.kind, _about(row), _told(row, labels)]
        # Text, not markup: what a chain says may hold brackets.
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES.get(row.severity, ""))
    console.print(table)


def _about(row: JournalRow) -> str:
    from keeper.cli.render import short_address

    return row.attempt or (short_address(row.borrower) if row.borrower is not None else "")


def _told(row: JournalRow, labels: Labels) -> str:
    from keeper.cli.story import sentences

    return sentences(row.kind, row.fields, row.market, labels)[0]
