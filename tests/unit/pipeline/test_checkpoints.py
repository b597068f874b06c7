"""The saved book: when it is saved, taken up, and left alone."""

from __future__ import annotations

import pytest

from keeper.core.errors import MarketError
from keeper.core.lending import Side
from keeper.core.units import Hash32
from keeper.pipeline import market as market_module
from tests.scenario.scene import USDC, WETH, borrower, entry_of, moves, opens, toy_pool
from tests.unit.pipeline.following import Following

FIRST, SECOND = borrower(1), borrower(2)


async def test_a_saved_book_is_taken_up_and_followed_from_there() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    following.world.mine(moves(FIRST, Side.DEBT, USDC, 5), opens(SECOND, {WETH: 10}, {USDC: 1}))
    following.world.mine_empty(5)
    following.restart()
    await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges == [(2, 7)]


@pytest.mark.parametrize("trouble", ["another hash", "damaged", "ahead of the chain"])
async def test_a_saved_book_that_does_not_fit_is_built_anew(trouble: str) -> None:
    following = Following()
    following.world.mine_empty(3)
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    if trouble == "another hash":
        following.checkpoints.move(entry_of(0), hash=Hash32(b"\x99" * 32))
    elif trouble == "damaged":
        following.checkpoints.damage(entry_of(0))
    else:
        following.world.reorg(1)
        following.world.mine(opens(FIRST, {WETH: 3}, {USDC: 2}))
    following.restart()
    await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges[0][0] == 1


async def test_a_book_is_saved_every_so_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "CHECKPOINT_EVERY_BLOCKS", 10)
    following = Following()
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    assert following.checkpoints.saved[entry_of(0)][0].number == 1
    following.world.mine_empty(9)
    await following.see()
    assert following.checkpoints.saved[entry_of(0)][0].number == 1
    await following.head()
    assert following.checkpoints.saved[entry_of(0)][0].number == 11


async def test_an_unverified_book_is_not_saved() -> None:
    pool = toy_pool()
    pool.misreports_health = True
    following = Following(pool=pool)
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    with pytest.raises(MarketError):
        await following.head()
    await following.follower.save_checkpoint()
    assert following.checkpoints.saved == {}
