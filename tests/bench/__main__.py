"""Runs benchmarks: `python -m tests.bench [NAME …]`. All of them without a name; one table at the end."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import measure

FOLDER = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "__main__", "measure"}


def names() -> list[str]:
    """Modules of this folder that have a `main`."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    return sorted(
        name for name, text in texts.items() if name not in NOT_BENCHMARKS and "\ndef main() -> None:" in text
    )


def run_here(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}").main()


def run_each(chosen: list[str]) -> int:
    """Each in a process of its own; how many failed."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="keeper-bench-") as folder:
        lines = Path(folder) / "figures"
        lines.touch()
        for name in chosen:
            measure.say(f"-- {name}")
            command = [sys.executable, "-m", "tests.bench", name]
            done = subprocess.run(command, env={**os.environ, measure.LINES_FILE: str(lines)}, check=False)
            if done.returncode:
                failed += 1
                measure.say(f"{name} failed with exit code {done.returncode}")
        figures = measure.from_lines(lines)
    measure.say("\n" + measure.table(figures, " ".join(["python -m tests.bench", *sys.argv[1:]])))
    return failed


def main(arguments: list[str]) -> int:
    unknown = sorted(set(arguments) - set(names()))
    if unknown:
        measure.say(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(names())}")
        return 2
    if len(arguments) != 1:
        return run_each(arguments or names())
    run_here(arguments[0])
    if measure.LINES_FILE not in os.environ and measure.recorded():
        measure.say("\n" + measure.table(measure.recorded(), f"python -m tests.bench {arguments[0]}"))
    return 0


sys.exit(main(sys.argv[1:]))
