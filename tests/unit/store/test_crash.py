"""kill -9 at any moment: what was promised to be on the disk is there, and the file is usable."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from keeper.store import Store, StoreReader
from tests.unit.store.facts import LIQUIDATOR

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from keeper.store import Store
from tests.unit.store.facts import CHAIN, MARKET, BORROWER, checkpoint, intent, seen, standing

async def main() -> None:
    first = int(sys.argv[2])
    async with Store.open(Path(sys.argv[1])) as store:
        for number in itertools.count(first):
            await store.record([seen(number), seen(number)])
            await store.record_standing(CHAIN, MARKET, number, {BORROWER: standing()})
            await store.save(checkpoint(number, rows=bytes(20_000)))
            await store.record_intents([intent(number)])
            print(number, flush=True)

asyncio.run(main())
"""


def run_and_kill(path: Path, first: int, after_s: float) -> list[int]:
    """The intents that the killed keeper was told to be on the disk."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        head = writer.stdout.readline()
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
    # The last line may be torn as well.
    return [int(line) for line in (head + rest).splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_keeper_leaves_a_store_that_goes_on(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "keeper.db"
    moments = random.Random(seed)
    promised: list[int] = []
    for _ in range(3):
        promised += run_and_kill(path, (promised[-1] + 10) if promised else 1, moments.uniform(0.0, 0.3))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert promised
    nonces = asyncio.run(open_nonces(path))
    assert set(promised) <= set(nonces)
    with StoreReader.open(path) as reader:
        numbers = [row.block_number or 0 for row in reader.events()]
        assert len(reader.watches()) == 3
    assert numbers == sorted(numbers)
    assert numbers[::2] == numbers[1::2], "an event pair is recorded whole or not at all"
    assert set(promised) <= set(numbers), "the journal is written before the intent that follows it"


async def open_nonces(path: Path) -> list[int]:
    async with Store.open(path) as store:
        return [each.nonce for each in await store.open_intents(31_337, LIQUIDATOR)]


def test_a_keeper_killed_while_it_makes_the_store_leaves_one_that_can_be_made(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.db"
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), "1"], stdout=subprocess.DEVNULL) as writer:
            while not path.exists():
                time.sleep(0.001)
            time.sleep(0.004 * number)
            writer.send_signal(signal.SIGKILL)
        assert asyncio.run(open_nonces(path)) is not None
