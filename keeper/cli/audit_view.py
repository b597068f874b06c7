"""What an audit found, as JSON or as tables, and its progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keeper.cli.render import checksum, plain_text, table_console
from keeper.core.differences import Difference
from keeper.core.units import to_hex

if TYPE_CHECKING:
    from keeper.app.auditing import Audited

LINE_EVERY_S = 10.0


@contextmanager
def counted() -> Iterator[Callable[[int, int], None]]:
    """A line on standard error every ten seconds; nothing for what is over sooner."""
    next_s = time.monotonic() + LINE_EVERY_S

    def told(done: int, total: int) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + LINE_EVERY_S
            sys.stderr.write(f"compared {done:,} of {total:,} accounts\n")

    yield told


def show_json(found: Sequence[Audited]) -> None:
    """The stable contract of docs/COMMANDS.md."""
    json.dump([as_object(each) for each in found], sys.stdout, indent=1)
    sys.stdout.write("\n")


def as_object(audited: Audited) -> dict[str, Any]:
    audit = audited.audit
    return {
        "chain": audit.chain,
        "market": checksum(audit.market),
        "block_number": str(audit.block.number),
        "block_hash": to_hex(audit.block.hash),
        "book": audited.origin,
        "rules": audit.rules,
        "accounts": audit.accounts,
        "borrowers": audit.borrowers,
        "unvalued": audit.unvalued,
        "reserves": audit.reserves,
        "equal": not audit.differences,
        "took_ms": int(audit.took_s * 1000),
        "differences": [_difference(audited, each) for each in audit.differences],
    }


def _difference(audited: Audited, each: Difference) -> dict[str, Any]:
    return {
        "what": each.what,
        "borrower": None if each.borrower is None else checksum(each.borrower),
        "reserve_id": each.reserve_id,
        "reserve": None if each.reserve_id is None else audited.labels.get(each.reserve_id),
        "ours": None if each.ours is None else str(each.ours),
        "chains": None if each.chain is None else str(each.chain),
    }


def show_tables(found: Sequence[Audited]) -> None:
    from rich.table import Table

    console = table_console()
    for audited in found:
        audit = audited.audit
        verdict = "equal" if not audit.differences else f"{len(audit.differences)} differences"
        unvalued = f", {audit.unvalued} of them without a price" if audit.unvalued else ""
        console.print(
            f"{audit.chain} {checksum(audit.market)}: {verdict}\n"
            f"  block {audit.block.number}, {audit.rules}, book {audited.origin}\n"
            f"  {audit.accounts:,} accounts ({audit.borrowers:,} owe{unvalued}), {audit.reserves} reserves,"
            f" {audit.took_s:.1f} s",
            markup=False,
            highlight=False,
        )
        if not audit.differences:
            continue
        table = Table()
        for name in ("what", "whose", "reserve", "ours", "the chain's"):
            table.add_column(name, overflow="fold")
        for each in audit.differences:
            label = audited.labels.get(each.reserve_id, str(each.reserve_id)) if each.reserve_id is not None else "-"
            whose = "-" if each.borrower is None else checksum(each.borrower)
            table.add_row(each.what, whose, plain_text(label), str(each.ours), str(each.chain))
        console.print(table)
