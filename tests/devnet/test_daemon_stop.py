"""SIGINT and SIGTERM, at any moment: the daemon ends in good order, and the next one goes on where it stood."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from keeper.devnet.market import Bed
from tests.devnet.commands import happens
from tests.devnet.daemons import assert_nothing_twice, fall, live_daemon, nothing_waits, worked_off

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
