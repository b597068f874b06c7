"""`keeper run`: the daemon, one round of it, or a rehearsal on a fork."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath

DONE, INTERRUPTED = 0, 130
HELD_BACK = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
"""They wait until the run takes them into its own hands (`keeper.app.signals`): then there is something to stop or to pause."""


def run(
    config: ConfigPath = DEFAULT_CONFIG,
    once: Annotated[bool, typer.Option("--once", help="Catch up, judge, act, wait for outcomes, and stop.")] = False,
    live: Annotated[bool, typer.Option("--live", help='Sign and send; needs mode = "live" in the file too.')] = False,
    fork: Annotated[
        bool, typer.Option("--fork", help="Execute the orders on a local anvil fork of each head.")
    ] = False,
) -> None:
    """Watch the configured markets and restore borrowers below 1. Dry unless told otherwise, twice.

    With --once the exit code tells: 0 every verdict achieved, 3 work left (dry: orders that would have gone), 1 trouble,
    2 configuration.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        code = _run(config, once, live, fork)
    except KeyboardInterrupt:
        code = INTERRUPTED if once else DONE
    finally:
        while late := signal.sigpending() & HELD_BACK:
            signal.sigwait(late)  # there is nothing left to stop or to pause
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    raise typer.Exit(code)


def _run(config: Path, once: bool, live: bool, fork: bool) -> int:
    import asyncio

    from keeper.app.plan import RunPlan
    from keeper.app.run import run_keeper
    from keeper.cli.progress import shown_progress
    from keeper.settings import load_settings

    settings = load_settings(config)
    with shown_progress() as progress:
        return asyncio.run(run_keeper(settings, RunPlan(once=once, live=live, fork=fork), progress))
