"""Where the demo is watched: a moving picture on a terminal, plain lines anywhere else. Both write to standard error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from keeper.app.demo_record import Record
from keeper.cli.demo_live import counts, live_view, prices_text
from keeper.cli.render import health_text, short_address
from keeper.core.events import Event, Kind

if TYPE_CHECKING:
    # It imports the whole keeper, and the screen is there to say so.
    from keeper.app.demo import Screen

_FRAMES_PER_S = 8
_LINES_AROUND_THE_ROWS = 8


@contextmanager
def opened_screen() -> Iterator[Screen]:
    """A screen for standard error as it is."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield PlainScreen(console)
        return
    moving = MovingScreen(console)
    try:
        yield moving
    finally:
        moving.close()


class MovingScreen:
    """Spinners with their times during the set-up, then one picture that is drawn anew."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn())
        self._steps = Progress(*columns, console=console)
        self._step: TaskID | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        with self._lock:
            self._finish_step()
            self._steps.start()
            self._step = self._steps.add_task(what, total=1)

    def begin(self, record: Record) -> None:
        with self._lock:
            self._finish_step()
            self._steps.stop()
        most_rows = max(5, self._console.height - _LINES_AROUND_THE_ROWS)
        self._live = Live(
            get_renderable=lambda: live_view(record, time.monotonic() - self._began_s, most_rows),
            console=self._console,
            refresh_per_second=_FRAMES_PER_S,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.start()

    def moved(self, note: str, record: Record) -> None:
        """The next frame shows it."""

    def heard(self, events: Sequence[Event], record: Record) -> None:
        """The next frame shows it."""

    def judged(self, record: Record) -> None:
        """The next frame shows it."""

    def close(self) -> None:
        """Leave the terminal as it was. The steps stay readable; the moving picture makes room for the summary."""
        with self._lock:
            self._steps.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _finish_step(self) -> None:
        if self._step is not None:
            self._steps.update(self._step, completed=1)
            self._step = None


class PlainScreen:
    """One line per fact, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._last_counts = ""
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        self._line(what)

    def begin(self, record: Record) -> None:
        self._line(f"{record.verified}: {record.checked_borrowers} borrowers recomputed to the wei; the keeper is live")

    def moved(self, note: str, record: Record) -> None:
        self._line(f"{note}: {prices_text(record).plain.strip()}")

    def heard(self, events: Sequence[Event], record: Record) -> None:
        for event in events:
            line = event_line(event, record)
            if line is not None:
                self._line(line)

    def judged(self, record: Record) -> None:
        found = counts(record)
        line = f"below 1: {found.below_one}, restored: {found.restored}, left alone with a reason: {found.left_alone}"
        if found.below_one + found.restored and line != self._last_counts:
            self._last_counts = line
            self._line(f"block {record.judged_block}: {line}")

    def _line(self, text: str) -> None:
        with self._lock:
            self._console.print(f"{time.monotonic() - self._began_s:6.1f} s  {text}", markup=False, soft_wrap=True)


def event_line(event: Event, record: Record) -> str | None:
    """One event in a line, if it is worth one: how a borrower's attempt ended, why one is left alone, what went wrong."""
    fact = _fact(event, record)
    if fact is None:
        return None
    who = "" if event.borrower is None else f"{record.name(event.borrower)} {short_address(event.borrower)} "
    return f"block {event.block_number}: {who}{fact}"


def _fact(event: Event, record: Record) -> str | None:
    if event.kind in (Kind.RESTORED, Kind.NOT_RESTORED):
        attempt = record.attempts[event.attempt or ""]
        healths = f"{health_text(attempt.health_before_wad)} → {health_text(attempt.health_after_wad)}"
        how = "restored" if event.kind is Kind.RESTORED else "NOT restored"
        detail = f", {attempt.detail}" if attempt.detail else ""
        return f"{how}: {healths}, target {health_text(attempt.target_wad)}{detail}"
    if event.kind is Kind.REFUSED:
        return f"left alone: {event.fields['reason']} ({event.fields['detail']})"
    if event.kind in (Kind.TROUBLE, Kind.ALERT, Kind.MARKET_REFUSED):
        return f"{event.kind.value}: {event.fields['detail']}"
    return None
