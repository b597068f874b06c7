"""Price scripts: the same for the same seed, exact on the oracle, and hard enough to push borrowers under water."""

from __future__ import annotations

import pytest

from keeper.core.units import WAD
from keeper.devnet.market import Bed
from keeper.devnet.script import Step, crash_and_recovery, drift, play, set_prices
from keeper.devnet.spec import ASSETS, CAP_BASE, USD, Version
from keeper.devnet.specials import DEMO_CRASH, prices_after
from keeper.devnet.state import Recipe, specials_for, started_bed

START = prices_after({spec.symbol: spec.price_base for spec in ASSETS}, {"WETH": 3_200 * USD})


def test_the_same_seed_gives_the_same_script() -> None:
    assert list(drift(START, 7, 20, 12)) == list(drift(START, 7, 20, 12))
    assert list(drift(START, 7, 20, 12)) != list(drift(START, 8, 20, 12))
    steps = list(crash_and_recovery(START, DEMO_CRASH, seed=3))
    assert [step.note for step in steps].count("crash") == 1
    assert steps[-1].prices["WETH"] > DEMO_CRASH["WETH"]


async def test_prices_come_true_on_every_kind_of_feed(bed: Bed) -> None:
    wanted = {"WETH": 2_999_12345678, "wstETH": 3_300_00000001, "USDC": 2 * USD, "DAI": 97_000_000}
    await set_prices(bed, wanted)
    assert await bed.price_base("WETH") == wanted["WETH"]
    assert abs(await bed.price_base("wstETH") - wanted["wstETH"]) <= 1
    assert await bed.price_base("USDC") == CAP_BASE
    assert await bed.price_base("DAI") == wanted["DAI"]


async def test_time_passes_and_interest_accrues(bed: Bed) -> None:
    borrower = bed.openings[0].borrower
    before_s, (_, debt_before, *_rest) = await bed.chain.now_s(), await bed.pool("getUserAccountData", borrower)
    async for _ in play(bed, [Step("a year", 31_536_000, {})]):
        pass
    assert await bed.chain.now_s() - before_s >= 31_536_000
    assert (await bed.pool("getUserAccountData", borrower))[1] > debt_before


@pytest.mark.parametrize("version", ["3.6", "3.0.2"])
async def test_the_demo_crash_pushes_many_of_200_under_water(version: Version) -> None:
    async with started_bed(Recipe(version, positions=200, crash=specials_for(DEMO_CRASH))) as bed:
        await set_prices(bed, DEMO_CRASH)
        healths = [(await bed.pool("getUserAccountData", each.borrower))[5] for each in bed.openings]
        assert len(healths) >= 200
        assert sum(health < WAD for health in healths) >= 20
        assert sum(health >= WAD for health in healths) >= 50
