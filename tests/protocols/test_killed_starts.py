"""kill -9 while a book is built, at random moments: the next process goes on where the last one was, and the book is right."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from keeper.core.checkpoint import Start
from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from keeper.store import Store
from tests.protocols.following import Following
from tests.protocols.killed_start import SPAN
from tests.protocols.test_starts import lived_in, rows

KILLS = 5
"""For each way to start: ten together."""


@dataclass
class Run:
    """What one process told before its end."""

    first: int | None
    """The block that it began to read logs at."""
    reached: int | None
    done: str


class Killed:
    """Processes that build the bed's book into one store, one after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, kill_after_steps: int | None) -> Run:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        pid, steps, done = 0, [], ""
        while (line := (await self._process.stdout.readline()).decode().strip()) != "ended":
            assert line, "the forking process itself ended"
            if line.startswith("pid"):
                pid = int(line[4:])
            elif line.startswith("done"):
                done = line
            else:
                steps.append(tuple(map(int, line.split())))
                if len(steps) == kill_after_steps:
                    os.kill(pid, signal.SIGKILL)
        return Run(steps[0][0] if steps else None, steps[-1][1] if steps else None, done)


@asynccontextmanager
async def killed(bed: Bed, way: Start, store: Path) -> AsyncIterator[Killed]:
    of = bed.deployment
    arguments = [bed.url, to_hex(of.addresses_provider), str(of.chain_id), way.value, str(store)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.protocols.killed_start", *arguments, stdin=pipe, stdout=pipe
    )
    try:
        yield Killed(process)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("way", Start)
async def test_killed_at_random_moments_it_loses_nothing(bed36: Bed, tmp_path: Path, way: Start) -> None:
    await lived_in(bed36, 40)
    rng = random.Random(f"killed {way}")
    store = tmp_path / "keeper.db"
    height = await bed36.chain.block_number()
    reached = -1
    async with killed(bed36, way, store) as processes:
        for _ in range(KILLS):
            dead = await processes.run(rng.randint(1, height // (KILLS + 1)))
            assert dead.done == ""
            assert dead.first is not None
            assert dead.reached is not None
            assert dead.first >= reached - 2 * SPAN, "what was marked is not read again"
            assert dead.reached >= reached
            reached = dead.reached
            with closing(sqlite3.connect(store)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        last = await processes.run(None)
    assert last.first is not None
    assert last.first >= reached - 2 * SPAN > 0
    assert last.done.startswith(f"done {way}")
    async with Store.open(store) as opened:
        following = Following(bed36, checkpoints=opened)
        result = await following.started()
        assert result.origin.startswith("saved at block")
        assert rows(following) == await following.chain_rows()
    fresh = Following(bed36)
    await fresh.start()
    assert rows(fresh) == rows(following)
