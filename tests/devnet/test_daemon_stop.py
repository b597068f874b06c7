"""SIGINT and SIGTERM, at any moment: the daemon ends in good order, and the next one goes on where it stood."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import keeper.settings
from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.settings import Settings
from keeper.store import StoreReader
from tests.devnet.commands import happens, started
from tests.devnet.daemons import assert_nothing_twice, fall, live_daemon, nothing_waits, worked_off
from tests.devnet.keeping import Keeping

NOBODY = "http://127.0.0.1:9"


def _signals_as_it_reads_its_configuration(*numbers: signal.Signals) -> None:
    """In the keeper's own process, before it begins."""
    load = keeper.settings.load_settings

    def interrupted(path: Path) -> Settings:
        for number in numbers:
            os.kill(os.getpid(), number)
        return load(path)

    keeper.settings.load_settings = interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_stops_in_good_order_though_it_has_not_begun(tmp_path: Path, number: signal.Signals) -> None:
    kept = Keeping(tmp_path, NOBODY, Address(b"\xa0" * 20))
    first = partial(_signals_as_it_reads_its_configuration, number)
    async with started(["run", "--config", str(kept.write())], tmp_path, first=first) as daemon:
        ended = await daemon.ended()
    assert (ended.code, ended.out, ended.err) == (0, "", "")


async def test_a_wish_to_pause_waits_for_the_store_and_ends_nothing(tmp_path: Path) -> None:
    kept = Keeping(tmp_path, NOBODY, Address(b"\xa0" * 20))
    first = partial(_signals_as_it_reads_its_configuration, signal.SIGUSR1)

    def paused() -> bool:
        if not kept.events("trouble"):
            return False
        with StoreReader.open(kept.store) as reader:
            return [each.pause.detail for each in reader.standing_pauses()] == ["by SIGUSR1"]

    async with started(["run", "--config", str(kept.write())], tmp_path, first=first) as daemon:
        await happens(paused)
        with suppress(ProcessLookupError):  # it may be gone before the last
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                daemon.send(number)
        assert (await daemon.ended()).code == 0


SHORT = [(signal.SIGINT, 1), (signal.SIGTERM, 2)]
LONG = [pytest.param(number, seed, marks=pytest.mark.long) for number, _ in SHORT for seed in range(3, 10)]


@pytest.mark.parametrize("number, seed", [*SHORT, *LONG])
async def test_it_stops_when_asked_at_any_moment_and_the_next_goes_on(
    bed36: Bed, tmp_path: Path, number: signal.Signals, seed: int
) -> None:
    """Asked again and again, while it starts, plans, sends and waits; what one began the next one ends."""
    rng = random.Random(f"{seed} {number}")
    async with live_daemon(bed36, tmp_path) as kept:
        fallen = await fall(bed36)
        for _ in range(3):
            async with kept.daemon("--live") as daemon:
                await happens(lambda: kept.is_writing(daemon.pid))
                await asyncio.sleep(rng.random() * 1.5)
                ended = await daemon.stopped(number)
                assert (ended.code, ended.out) == (0, ""), ended.err
                assert "Traceback" not in ended.err
        async with kept.daemon("--live") as daemon:
            await worked_off(bed36, kept, fallen.sick)
            await nothing_waits(bed36, kept)
            assert (await daemon.stopped()).code == 0
        await assert_nothing_twice(bed36, kept, fallen.block)
    # What was written down and not sent yet when it was stopped is gone for good, and told; the next one ordered anew.
    gone = [row for row in kept.events("not_restored") if row.block_number is None]
    assert [
        row for row in kept.events("not_restored") if row not in gone and "is still open" not in row.fields["detail"]
    ] == []
    assert all("dropped" in row.fields["detail"] or "lost" in row.fields["detail"] for row in gone)
