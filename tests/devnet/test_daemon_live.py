"""The live daemon on a chain that mines by itself: it answers a fall within blocks, and outlasts being killed."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from keeper.core.units import HEALTH_ONE_WAD, address_from_hex
from keeper.devnet.market import Bed
from keeper.devnet.script import drift, play
from tests.devnet.chain_facts import health_wad
from tests.devnet.commands import happens
from tests.devnet.daemons import assert_nothing_twice, fall, live_daemon, nothing_waits, settled, worked_off
from tests.devnet.keeping import Keeping


async def test_prices_move_and_whoever_falls_is_restored_within_blocks(bed36: Bed, tmp_path: Path) -> None:
    await assert_restored_within_blocks(bed36, tmp_path)


@pytest.mark.long
async def test_the_same_on_the_older_release(bed302: Bed, tmp_path: Path) -> None:
    await assert_restored_within_blocks(bed302, tmp_path)


async def assert_restored_within_blocks(bed: Bed, tmp_path: Path) -> None:
    async with live_daemon(bed, tmp_path) as kept, kept.daemon("--live") as daemon:
        await kept.until("caught_up", count=2)
        prices = {symbol: await bed.price_base(symbol) for symbol in ("WETH", "WBTC")}
        async for _ in play(bed, drift(prices, seed=3, steps=2, seconds=1, most_bps=10), real_time=True):
            assert daemon.alive
        fallen = await fall(bed)
        await worked_off(bed, kept, fallen.sick)
        await kept.until("restored", count=2)
        await settled(kept)
        restored = kept.events("restored")
        for row in restored:
            assert row.block_number is not None
            assert row.block_number - fallen.block <= 5
            after_wad = await health_wad(bed, address_from_hex(str(row.borrower)), row.block_number)
            assert after_wad == int(row.fields["health_after_wad"])
            assert (row.fields["model_error_wad"], row.fields["disturbed"]) == ("0", False)
        assert (await daemon.stopped()).code == 0
        await assert_nothing_twice(bed, kept, fallen.block)
    assert kept.events("not_restored", "alert", "trouble") == []
    assert kept.events("stopped")[-1].fields["detail"] == "asked to stop"


async def test_it_outlasts_being_killed(bed36: Bed, tmp_path: Path) -> None:
    """Killed outright, with transactions on their way and without: nothing is done twice, no nonce is left out."""
    await assert_outlasts_kills(bed36, tmp_path, random.Random(1))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 8))
async def test_it_outlasts_being_killed_at_other_moments(bed: Bed, tmp_path: Path, seed: int) -> None:
    await assert_outlasts_kills(bed, tmp_path, random.Random(seed))


async def assert_outlasts_kills(bed: Bed, tmp_path: Path, rng: random.Random) -> None:
    async with live_daemon(bed, tmp_path) as kept:
        first_block = await bed.chain.block_number()
        for moment, percent in (("decided", 93), ("sent", 97), ("mined", 97)):
            await fall(bed, percent)
            before = kept.events()[-1].seq
            async with kept.daemon("--live") as daemon:
                await kept.until(moment, after_seq=before)
                await asyncio.sleep(rng.random() * 0.2)
                daemon.send(signal.SIGKILL)
                assert (await daemon.ended()).code == -signal.SIGKILL
        sick = [opening.borrower for opening in bed.openings]
        async with kept.daemon("--live") as daemon:
            await worked_off(bed, kept, sick)
            await nothing_waits(bed, kept)
            await happens(lambda: attempts(kept, "sent") <= attempts(kept, "restored", "not_restored"))
            assert (await daemon.stopped()).code == 0
        await assert_nothing_twice(bed, kept, first_block)
    for row in kept.events("not_restored"):
        assert row.fields["model_error_wad"] is None
        # What left before a kill was mined with the next fall, short of its target, but safe; or never got into a block.
        after_wad = row.fields["health_after_wad"]
        assert after_wad is None or int(after_wad) >= HEALTH_ONE_WAD


def attempts(kept: Keeping, *kinds: str) -> set[str | None]:
    return {row.attempt for row in kept.events(*kinds)}
