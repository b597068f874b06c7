"""One borrower's stories, in a live run."""

from __future__ import annotations

from keeper.core.standing import ORDERED
from keeper.core.units import WAD
from tests.scenario.scene import USDC, WETH, Scene, borrower, opens, price

FIRST = borrower(1)


async def test_a_borrower_falls_under_water_and_is_brought_back_to_its_target() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    assert scene.standing(FIRST) is None

    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == ORDERED
    assert len(scene.submitted) == 1

    await scene.head()
    assert scene.standing(FIRST) is None
    assert scene.health_wad(FIRST) >= 105 * WAD // 100
    assert len(scene.submitted) == 1
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]
