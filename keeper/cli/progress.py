"""Progress of a catch-up: a bar on a terminal, a line now and then elsewhere; nothing for what is over in two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keeper.pipeline.progress import Progress

SILENT_S = 2.0
LINE_EVERY_S = 10.0


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """What to hand to a command that may have to read many blocks. Writes to standard error only."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield lines(time.monotonic, lambda text: sys.stderr.write(text + "\n"))


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("reading blocks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("blocks", visible=False)
    started_s = time.monotonic()

    def progress(first: int, reached: int, last: int) -> None:
        if time.monotonic() - started_s < SILENT_S and not bar.live.is_started:
            return
        if not bar.live.is_started:
            bar.start()
        bar.update(task, total=last - first + 1, completed=reached - first + 1, visible=True)
        if reached >= last:
            bar.stop()

    try:
        yield progress
    finally:
        bar.stop()


def lines(now_s: Callable[[], float], write: Callable[[str], object]) -> Progress:
    """One line, at first after `SILENT_S`, then every `LINE_EVERY_S`, and at the end if there was any before. What is left is
    told by the pace since the line before: late blocks hold more logs than early ones."""
    started_s = now_s()
    told_s, told_block = started_s, -1
    next_s = started_s + SILENT_S
    written = False

    def progress(first: int, reached: int, last: int) -> None:
        nonlocal next_s, written, told_s, told_block
        moment_s = now_s()
        done = reached >= last
        if (done and not written) or (not done and moment_s < next_s):
            return
        next_s = moment_s + LINE_EVERY_S
        written = not done
        share = 100 * (reached - first + 1) // max(1, last - first + 1)
        blocks = reached - max(told_block, first - 1)
        left_s = (last - reached) * (moment_s - told_s) / blocks if blocks > 0 else None
        left = f", about {_duration(left_s)} left" if left_s is not None and not done else ""
        told_s, told_block = moment_s, reached
        write(f"reading blocks {first} to {last}: {share} %, {_duration(moment_s - started_s)}{left}")

    return progress


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
