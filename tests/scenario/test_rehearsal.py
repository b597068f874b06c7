"""Dry and on a fork: nothing that is done there changes the chain that the keeper follows."""

from __future__ import annotations

import pytest

from keeper.core.errors import ChainError
from keeper.core.events import Kind
from keeper.core.lending import Side
from keeper.core.standing import ORDERED
from keeper.core.units import WAD
from tests.scenario.scene import USDC, WBTC, WETH, Scene, accrues, borrower, moves, opens, price

FIRST = borrower(1)
MODES = pytest.mark.parametrize("mode", ["dry", "fork"])


async def under_water(mode: str) -> Scene:
    scene = Scene(mode, wealthy=False)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    result = await scene.head(price(WETH, 1_800))
    assert [outcome.restored for outcome in result.settled] == [True]
    assert scene.reason(FIRST) == ORDERED
    return scene


async def test_a_dry_run_tells_what_it_would_have_sent_and_claims_no_more() -> None:
    scene = await under_water("dry")
    assert scene.story(FIRST) == ["seen", "decided", "sent"]
    (event,) = scene.events(Kind.SENT)
    assert event.fields["mode"] == "dry"


async def test_a_fork_tells_what_really_happened_there() -> None:
    scene = await under_water("fork")
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]
    assert scene.health_wad(FIRST) < WAD, "upstream nothing has changed"


@MODES
async def test_a_borrower_that_is_done_is_not_ordered_again_while_nothing_changes_upstream(mode: str) -> None:
    scene = await under_water(mode)
    for _ in range(3):
        await scene.head(accrues(USDC, 1e-12), price(WBTC, 48_000))
    assert len(scene.events(Kind.DECIDED)) == 1
    standing = scene.standing(FIRST)
    assert standing is not None and standing.reason == ORDERED
    assert standing.attempt == scene.events(Kind.DECIDED)[0].attempt


@MODES
@pytest.mark.parametrize("change", ["price", "row"])
async def test_it_is_ordered_again_once_its_price_or_its_row_changes(mode: str, change: str) -> None:
    scene = await under_water(mode)
    await scene.head(price(WETH, 1_799) if change == "price" else moves(FIRST, Side.DEBT, USDC, 1))
    assert len(scene.events(Kind.DECIDED)) == 2


@MODES
async def test_it_is_ordered_again_when_it_recovered_and_fell_to_the_same_place(mode: str) -> None:
    scene = await under_water(mode)
    await scene.head(price(WETH, 2_000))
    assert scene.standing(FIRST) is None
    assert scene.story(FIRST)[-1] == "recovered"
    await scene.head(price(WETH, 1_800))
    assert len(scene.events(Kind.DECIDED)) == 2


@MODES
async def test_a_reorg_to_the_same_state_changes_nothing(mode: str) -> None:
    scene = await under_water(mode)
    scene.world.reorg(scene.tip.number - 1)
    await scene.head(price(WETH, 1_800))
    assert len(scene.events(Kind.DECIDED)) == 1
    scene.world.reorg(scene.tip.number - 1)
    await scene.head(price(WETH, 1_850))
    assert len(scene.events(Kind.DECIDED)) == 2


async def test_an_attempt_whose_fork_was_lost_is_made_again() -> None:
    scene = Scene("fork")
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.fork.works = False
    await scene.head(price(WETH, 1_800))
    assert scene.story(FIRST) == ["seen", "decided", "sent"]
    scene.fork.works = True
    await scene.head()
    assert [event.kind for event in scene.events(Kind.RESTORED)] == [Kind.RESTORED]


async def test_what_was_decided_before_trouble_counts_for_the_head_that_decided_it() -> None:
    """The outcome comes a head late, when upstream has moved on: the borrower is judged anew."""
    scene = Scene("fork")
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.faults.fail = lambda count, name: ChainError("lost") if name == "settle" else None
    with pytest.raises(ChainError):
        await scene.head(price(WETH, 1_800))
    scene.faults.fail = lambda count, name: None
    await scene.head(price(WETH, 1_790))
    assert len(scene.events(Kind.DECIDED)) == 2
    assert len(scene.events(Kind.RESTORED)) == 2


async def test_what_is_remembered_of_rehearsals_does_not_grow() -> None:
    scene = Scene("dry")
    for number in range(2, 12):
        await scene.head(price(WETH, 2_000), opens(borrower(number), {WETH: 10}, {USDC: 15_000}))
        await scene.head(price(WETH, 1_800))
    assert len(scene.loop._attempts._done) == 10
    await scene.head(price(WETH, 2_000))
    assert scene.loop._attempts._done == {}
    assert scene.loop._attempts._decided_on == {}
