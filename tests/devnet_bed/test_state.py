"""A bed starts quickly, tells its past in logs, and is the same for the same recipe."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from keeper.core.units import to_hex
from keeper.devnet import state
from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.market import Bed
from keeper.devnet.openings import plan_positions
from keeper.devnet.spec import ASSETS, Version
from keeper.devnet.state import Recipe, fresh_snapshot, revert_to, started_bed

BORROW = keccak(text="Borrow(address,address,address,uint256,uint8,uint256,uint16)")
PRICES = {spec.symbol: spec.price_base for spec in ASSETS} | {"wstETH": 3_744 * 10**8}


def test_the_same_seed_plans_the_same_borrowers() -> None:
    assert plan_positions(300, 5, PRICES) == plan_positions(300, 5, PRICES)
    assert plan_positions(300, 5, PRICES) != plan_positions(300, 6, PRICES)
    assert len({each.borrower for each in plan_positions(300, 5, PRICES)}) == 300


@pytest.mark.parametrize("version", ["3.6", "3.0.2"])
async def test_500_borrowers_open_in_seconds_and_load_in_one(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with started_bed(Recipe(version)):
        pass  # packages and compilation are not what is timed here
    monkeypatch.setattr(state, "cache_root", lambda: tmp_path)
    recipe = Recipe(version, positions=500)
    begun = time.monotonic()
    async with started_bed(recipe) as bed:
        built_s = time.monotonic() - begun
        assert len(bed.openings) == 500
    begun = time.monotonic()
    async with started_bed(recipe) as bed:
        loaded_s = time.monotonic() - begun
        assert len(bed.openings) == 500
    with capsys.disabled():
        sys.stdout.write(f"\n  Aave {version}, 500 borrowers: built in {built_s:.2f} s, loaded in {loaded_s:.2f} s\n")
    # A busy machine takes several times as long as the few seconds of a quiet one, for both alike.
    assert built_s < 150
    assert loaded_s < built_s / 2


async def test_the_past_is_there_as_logs_and_time_goes_on_from_now(bed: Bed) -> None:
    query = {"address": to_hex(bed.deployment.pool), "topics": [to_hex(BORROW)], "fromBlock": "0x0"}
    logs = await bed.chain.rpc.request("eth_getLogs", [query])
    assert len(logs) == sum(len(each.debt) for each in bed.openings)
    assert abs(await bed.chain.now_s() - time.time()) < 60
    blocks = [await bed.chain.rpc.request("eth_getBlockByNumber", [hex(number), False]) for number in range(5)]
    assert [block["parentHash"] for block in blocks[1:]] == [block["hash"] for block in blocks[:-1]]


async def test_blocks_can_come_at_intervals() -> None:
    async with started_bed(Recipe("3.6"), AnvilOptions(block_time_s=1)) as bed:
        first = await bed.chain.block_number()
        begun = time.monotonic()
        await bed.chain.send(
            bed.deployment.admin, bed.asset("DAI").feed, bed.contracts["Feed"], "setAnswer", 99_000_000
        )
        assert time.monotonic() - begun > 0.05
        assert await bed.chain.block_number() > first
        assert await bed.price_base("DAI") == 99_000_000


async def test_a_snapshot_brings_the_market_back(bed: Bed) -> None:
    snapshot = await fresh_snapshot(bed)
    before = await bed.chain.block_number()
    await bed.chain.mine(3)
    await revert_to(bed, snapshot)
    assert await bed.chain.block_number() == before
