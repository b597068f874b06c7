"""`keeper explain`: one borrower's or one attempt's story from the store, or how things stand and whether that is normal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath, is_attempt, open_store, read_labels, readers_may_leave, to_account
from keeper.core.errors import ConfigError, KeeperError
from keeper.core.units import address_from_hex

if TYPE_CHECKING:
    from keeper.cli.chapters import Line
    from keeper.cli.labels import Labels
    from keeper.store import StoreReader


def explain(
    subject: Annotated[
        str | None, typer.Argument(help="A borrower's address or an attempt; without it: how things stand.")
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
) -> None:
    """Tell what happened to a borrower, or in one attempt, and why; without either, whether the quiet is normal."""
    from keeper.cli.overview import overview

    with open_store(store, config) as reader, readers_may_leave():
        labels, now = read_labels(reader), datetime.now(UTC)
        if subject is None:
            _show(overview(reader, labels, now))
        elif is_attempt(subject):
            _show(_of_attempt(reader, subject, labels, now))
        elif subject[:2] in ("0x", "0X"):
            _show(_of_borrower(reader, subject, labels, now))
        else:
            raise ConfigError(f"{subject!r} is neither a borrower (0x and 40 hex digits) nor an attempt (123-0a1b2c3d)")


def _of_borrower(reader: StoreReader, text: str, labels: Labels, now: datetime) -> list[Line]:
    from keeper.cli.chapters import Told, borrower_chapters
    from keeper.cli.render import checksum
    from keeper.cli.unreached import troubles_of
    from keeper.store import EventFilter

    borrower = to_account(text)
    told = Told(
        events=list(reader.events(EventFilter(borrower=borrower))),
        standing=reader.standing(borrower=borrower),
        watches=reader.watches(),
        troubles=troubles_of(reader),
    )
    if not told.events and not told.standing:
        raise KeeperError(f"the store knows nothing of {checksum(borrower)}: it was never seen below 1")
    return borrower_chapters(told, labels, now)


def _of_attempt(reader: StoreReader, attempt: str, labels: Labels, now: datetime) -> list[Line]:
    from keeper.cli.chapters import Told, attempt_chapters
    from keeper.cli.unreached import troubles_of
    from keeper.store import EventFilter

    events = list(reader.events(EventFilter(attempt=attempt)))
    if not events:
        raise KeeperError(f"the store knows no attempt {attempt}: `keeper journal` lists them")
    borrowers = {row.borrower for row in events if row.borrower is not None}
    standing = [row for text in sorted(borrowers) for row in reader.standing(borrower=address_from_hex(text))]
    told = Told(events, standing, reader.watches(), reader.intents(attempt), troubles_of(reader))
    return attempt_chapters(told, attempt, labels, now)


def _show(lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        if console.is_terminal:
            console.print(Padding(Text(line.text, style=line.style), (0, 0, 0, line.indent), expand=False))
        else:
            console.print(Text(" " * line.indent + line.text), soft_wrap=True)
