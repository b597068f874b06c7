"""`keeper …` as a process of its own, with a pid, signals and an exit code.

Loading the keeper's libraries takes longer than most commands: by default a command begins as a copy of a process that
has loaded them (`multiprocessing`'s fork server). `fresh` starts `python -m keeper` from nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

PATIENCE_S = 60.0
_POLL_S = 0.01
_PRELOADED = [
    "keeper.cli",
    "keeper.app.run",
    "keeper.app.executor",
    "keeper.app.looking",
    "keeper.cli.positions_view",
    "keeper.settings.effective",
]
_serials = count(1)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Negative: the signal that killed it."""
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line on standard error that says why; everything else there is log."""
        assert "Traceback" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("keeper: ")]
        assert len(lines) == 1, self.err
        return lines[0]


class Running:
    """A command that runs."""

    def __init__(self, pid: int, exit_code: Callable[[], int | None], out: Path, err: Path) -> None:
        self.pid = pid
        self._exit_code = exit_code
        self._out, self._err = out, err

    @property
    def alive(self) -> bool:
        return self._exit_code() is None

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return self._err.read_text()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, within_s: float = PATIENCE_S) -> Ended:
        """Waits for its end."""
        await happens(lambda: not self.alive, within_s)
        code = self._exit_code()
        assert code is not None, "it has ended"
        return Ended(code, self._out.read_text(), self._err.read_text())

    async def stopped(self, number: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> Ended:
        """Asked to stop by a signal, and gone."""
        self.send(number)
        return await self.ended(within_s)


async def happens(condition: Callable[[], bool], within_s: float = PATIENCE_S, every_s: float = _POLL_S) -> None:
    """Returns once it is so. `every_s`: how often to look; what takes long to look at takes the time from who is waited for."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"it did not happen within {within_s} s"
        await asyncio.sleep(every_s)


async def comes_true(
    condition: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S, every_s: float = _POLL_S
) -> None:
    """The same for what has to be asked for."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"it did not come true within {within_s} s"
        await asyncio.sleep(every_s)


@asynccontextmanager
async def started(
    arguments: Sequence[str], folder: Path, *, fresh: bool = False, first: Callable[[], None] | None = None
) -> AsyncIterator[Running]:
    """`keeper …` in a process, its output in files of `folder`; killed on the way out if it still runs. `first` is run in the
    new process before the command, unless that begins from nothing."""
    serial = next(_serials)
    out, err = folder / f"out-{serial}.txt", folder / f"err-{serial}.txt"
    launched = _fresh(arguments, out, err) if fresh else _preloaded(arguments, out, err, first)
    try:
        yield launched
    finally:
        if launched.alive:
            launched.send(signal.SIGKILL)
            await launched.ended()


def _fresh(arguments: Sequence[str], out: Path, err: Path) -> Running:
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "keeper", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
            env=_own_environment(),
        )
    return Running(process.pid, process.poll, out, err)


def _preloaded(arguments: Sequence[str], out: Path, err: Path, first: Callable[[], None] | None) -> Running:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    out.touch()
    err.touch()
    process = context.Process(target=_main, args=(list(arguments), out, err, first), daemon=True)
    process.start()
    assert process.pid is not None, "it was started"
    return Running(process.pid, lambda: process.exitcode, out, err)


def _main(arguments: list[str], out: Path, err: Path, first: Callable[[], None] | None) -> None:
    """In the new process."""
    from keeper.__main__ import main

    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(_own_environment())
    sys.argv = ["keeper", *arguments]
    if first is not None:
        first()
    main()


def _own_environment() -> dict[str, str]:
    """Ours, without settings of a keeper that the person who runs the tests may have."""
    kept = ("KEEPER_CACHE_DIR",)
    return {name: text for name, text in os.environ.items() if not name.startswith("KEEPER_") or name in kept}
