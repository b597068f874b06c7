"""`keeper run --once --live` where prices move by the second: orders go out, and land at the target or above."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.core.units import HEALTH_ONE_WAD, address_from_hex
from keeper.devnet import admin
from keeper.devnet.feeds import let_move
from keeper.devnet.market import Bed
from tests.devnet.chain_facts import below_one, health_wad
from tests.devnet.keeping import keeping

PER_SECOND_WAD = {"WETH": -(10**13), "DAI": 10**12, "WBTC": 5 * 10**12}
"""A thousandth of a percent of itself each second: some hundred times what real sources do."""


async def test_who_stands_on_a_moving_price_is_restored_to_the_target(bed36: Bed, tmp_path: Path) -> None:
    await restores_on_moving_prices(bed36, tmp_path)


@pytest.mark.long
async def test_so_it_is_on_the_older_release(bed302: Bed, tmp_path: Path) -> None:
    await restores_on_moving_prices(bed302, tmp_path)


async def restores_on_moving_prices(bed: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed, tmp_path, funded=True)
    kept.chain = {"inclusion_blocks": 20}  # on a busy machine the orders of one head take a while
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 93 // 100)
    for symbol, per_second_wad in PER_SECOND_WAD.items():
        await let_move(bed, symbol, per_second_wad)
    sick = await below_one(bed, [opening.borrower for opening in bed.openings])
    assert len(sick) >= 3

    ended = await kept.run_once("--live", fresh=True)

    assert ended.code == 0, ended.err
    assert [row.fields for row in kept.events("refused") if row.fields["reason"] == "market_unverified"] == []
    assert kept.events("not_restored", "reverted") == []
    verdicts = {row.attempt: row.fields["verdict"] for row in kept.events("decided")}
    restored = kept.events("restored")
    assert len(restored) >= 2
    for row in restored:
        assert row.block_number is not None and row.borrower is not None
        health = await health_wad(bed, address_from_hex(row.borrower), row.block_number)
        assert health == int(row.fields["health_after_wad"])
        assert int(row.fields["model_error_wad"]) == 0
        if verdicts[row.attempt] == "reaches_target":
            assert health >= int(row.fields["target_wad"]) >= HEALTH_ONE_WAD
