"""Slow set-up work in threads and child processes, which ends as soon as the task that waits for it is cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from keeper.devnet.errors import DevnetError

Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Work:
    """What one thread is doing, as far as it can be stopped."""

    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    tool: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        with self.lock:
            self.stopped.set()
            if self.tool is not None:
                _kill(self.tool)


_current: contextvars.ContextVar[_Work | None] = contextvars.ContextVar("work", default=None)


async def in_thread(work: Callable[..., Answer], *arguments: object) -> Answer:
    """`asyncio.to_thread` for what is built on `pause` and `run_child`: when the task is cancelled the thread ends, and
    has put away its drafts before the cancellation goes on."""
    mine = _Work()
    context = contextvars.copy_context()
    context.run(_current.set, mine)
    running = asyncio.get_running_loop().run_in_executor(None, partial(context.run, work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        mine.stop()
        await asyncio.wait([running])
        if not running.cancelled():
            # Whatever the stopped work complains about is of no interest any more.
            running.exception()
        raise


def pause(seconds: float) -> None:
    """Sleep in a thread. Raises DevnetError when the task that waits for it was cancelled."""
    work = _current.get()
    if work is None:
        threading.Event().wait(seconds)
    elif work.stopped.wait(seconds):
        raise DevnetError("interrupted")


def run_child(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], stdin: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a session of its own: a terminal's Ctrl-C reaches us, and we end it.

    Raises OSError, subprocess.TimeoutExpired, and DevnetError when the task that waits for it was cancelled.
    """
    work = _current.get() or _Work()
    with work.lock:
        if work.stopped.is_set():
            raise DevnetError("interrupted")
        tool = work.tool = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        stdout, stderr = tool.communicate(stdin, timeout=timeout_s)
    finally:
        with work.lock:
            work.tool = None
        if tool.poll() is None:
            _kill(tool)
            tool.communicate()
    return subprocess.CompletedProcess(tool.args, tool.returncode, stdout, stderr)


def _kill(tool: subprocess.Popen[str]) -> None:
    """The command and whatever it started."""
    try:
        os.killpg(tool.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
