"""What every benchmark needs: a timer, the line that names the machine, and a table.

A benchmark is a module of this folder with `main() -> None` that calls `record` for each figure; `python -m tests.bench NAME`
runs it and prints the table, without a name all of them, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LINES_FILE = "KEEPER_BENCH_LINES"
"""Environment: where figures go, one JSON line each, when another process prints the table."""


@dataclass(frozen=True, slots=True)
class Figure:
    bench: str
    what: str
    measured: str
    target: str
    met: bool | None
    """None where there is no target."""


_figures: list[Figure] = []


def record(bench: str, what: str, measured: str, target: str = "", *, met: bool | None = None) -> None:
    """One line of the table."""
    figure = Figure(bench, what, measured, target, met)
    _figures.append(figure)
    if LINES_FILE in os.environ:
        with Path(os.environ[LINES_FILE]).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(figure)) + "\n")


def recorded() -> Sequence[Figure]:
    return _figures


def from_lines(path: Path) -> list[Figure]:
    return [Figure(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def machine() -> str:
    """The machine and what runs on it, in one line."""
    name = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} × {name}, {platform.system()}, Python {platform.python_version()}, load {load:.1f}"


def table(figures: Sequence[Figure], command: str) -> str:
    """The figures with machine and command, as text."""
    rows = [("benchmark", "what", "measured", "target", "")]
    marks = {None: "", True: "met", False: "MISSED"}
    rows += [(each.bench, each.what, each.measured, each.target, marks[each.met]) for each in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"machine: {machine()}", f"command: {command}", "", *lines])


def say(text: str) -> None:
    """To the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def side_by_side(runs: Sequence[Callable[[], object]], *, rounds: int) -> list[float]:
    """The median time of each call that awaits nothing, taken in turns. CPU time of this thread: what else the machine does
    is in none of them."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, kept in zip(runs, times, strict=True):
            start = time.thread_time()
            run()
            kept.append(time.thread_time() - start)
    return [statistics.median(kept) for kept in times]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def resident_bytes() -> int:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
