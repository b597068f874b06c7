"""Heads that skip, and chains that change their mind: the book stays the chain's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.errors import ChainError, MarketError
from keeper.core.lending import Side
from tests.scenario.scene import (
    USDC,
    WETH,
    borrower,
    changes,
    moves,
    opens,
    pool_address,
)
from tests.toy_arithmetic import ToyRules
from tests.toy_world import Draft
from tests.unit.pipeline.following import Following

FIRST, SECOND, THIRD = (borrower(number) for number in (1, 2, 3))
UP, DOWN = ToyRules("debt rounded up"), ToyRules("debt rounded down", debt_rounds_up=False)


async def test_skipped_heads_lose_no_log() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine(moves(FIRST, Side.DEBT, USDC, 5))
    following.world.mine(opens(SECOND, {WETH: 1}, {USDC: 7}))
    following.world.mine(moves(FIRST, Side.COLLATERAL, WETH, -0.5), moves(SECOND, Side.DEBT, USDC, -1))
    following.world.mine_empty(30)
    await following.see()
    following.assert_book_is_true()


async def test_the_same_head_twice_changes_nothing() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    await following.head(opens(SECOND, {WETH: 1}, {USDC: 7}))
    await following.see()
    following.assert_book_is_true()


async def test_a_reorg_restores_rows_and_reads_later_borrowers_again() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine_empty(2)
    await following.see()
    await following.head(moves(FIRST, Side.DEBT, USDC, 5), opens(SECOND, {WETH: 1}, {USDC: 7}))
    following.world.reorg(3)
    following.world.mine(opens(SECOND, {WETH: 2}, {USDC: 9}))
    await following.head(opens(THIRD, {WETH: 2}, {USDC: 9}))
    following.assert_book_is_true()
    assert following.follower.book.position(FIRST).debt_scaled == {USDC: 100 * 10**6}


async def test_the_new_branch_may_move_what_a_borrower_of_the_old_one_never_had() -> None:
    """Rows read on the old branch say nothing about the new one: its logs must not be applied to them."""
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 10}, {}))
    await following.head()
    await following.head(moves(FIRST, Side.COLLATERAL, WETH, -9), opens(FIRST, {}, {USDC: 1}))
    following.world.reorg(2)
    following.world.mine(opens(FIRST, {}, {USDC: 3}))
    await following.head(moves(FIRST, Side.COLLATERAL, WETH, -8))
    following.assert_book_is_true()


async def test_a_deeper_reorg_than_is_kept_reads_every_row_again() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    for _ in range(70):
        await following.head(moves(FIRST, Side.DEBT, USDC, 1))
    following.world.reorg(3)
    following.world.mine(moves(FIRST, Side.COLLATERAL, WETH, -9), opens(SECOND, {WETH: 10}, {USDC: 1}))
    following.world.mine_empty(75)
    await following.see()
    following.assert_book_is_true()
    assert following.follower.verified is not None


async def test_a_chain_that_has_nothing_in_common_is_searched_from_the_first_block() -> None:
    following = Following(first_block=4)
    following.world.mine_empty(4)
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    following.world.reorg(0)
    following.world.mine_empty(6)
    before = len(following.chain.log_ranges)
    await following.head(opens(SECOND, {WETH: 10}, {USDC: 1}))
    following.assert_book_is_true()
    assert set(following.true_rows()) == {SECOND}
    assert FIRST in following.follower.book, "who was known once stays known"
    assert [span for span in following.chain.log_ranges[before:] if span[0] > 0]


async def test_a_reorg_back_over_an_upgrade_keeps_every_row_true() -> None:
    """The upgrade's block was applied together with others, none of whose logs went into the rows."""
    following = Following(known={1: [UP], 2: [UP]})
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    following.world.mine(moves(FIRST, Side.DEBT, USDC, 5))
    following.world.mine(changes(code=True, revision=2))
    await following.head()
    following.world.reorg(2)
    await following.head()
    following.assert_book_is_true()


@pytest.mark.parametrize("failing", range(2, 9))
async def test_a_change_that_a_reorg_took_back_is_not_judged_by_whatever_fails_meanwhile(failing: int) -> None:
    """No log of the new branch tells: what was found in the old one must be asked for again until the answer is in use."""
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    true_bps = following.follower.market.reserves[WETH].threshold_bps
    reserves = dict(following.world.tip.state.pools[pool_address(0)].reserves)
    reserves[WETH] = replace(reserves[WETH], threshold_bps=8_300)
    await following.head(changes(reserves=reserves))
    assert following.follower.market.reserves[WETH].threshold_bps == 8_300
    following.world.reorg(1)
    following.world.mine_empty(2)
    following.faults.calls = 0
    following.faults.fail = lambda count, name: ChainError("lost") if count == failing else None
    for _ in range(2):
        try:
            await following.head()
        except ChainError:
            assert following.follower.verified is None or following.follower.applied is None, "nothing is judged"
    assert following.follower.market.reserves[WETH].threshold_bps == true_bps
    assert following.follower.verified is not None


@pytest.mark.parametrize("failing", [None, *range(1, 10)])
async def test_rules_that_a_reorg_took_back_are_proven_anew(failing: int | None) -> None:
    following = Following(known={1: [UP], 2: [DOWN]})
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    await following.head(changes(code=True, revision=2, rules=DOWN))
    assert following.follower.market.rules == DOWN
    following.world.reorg(1)
    following.faults.calls = 0
    following.faults.fail = lambda count, name: ChainError("lost") if count == failing else None
    verified = []
    for _ in range(2):
        try:
            verified.append((await following.head(moves(FIRST, Side.DEBT, USDC, 1))).verified)
        except ChainError:
            continue
    assert following.follower.market.rules == UP
    assert [each.rules for each in verified if each is not None] == [UP.name], "once, by the rules that hold"
    assert following.follower.verified is not None and following.follower.refused is None
    following.assert_book_is_true()


@pytest.mark.parametrize("failing", range(1, 10))
async def test_rows_of_the_time_in_which_the_market_was_unknown_are_read_anew_whatever_fails(failing: int) -> None:
    following = Following(known={1: [UP]})
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    for _ in range(2):
        with pytest.raises(MarketError, match="nothing is liquidated"):
            await following.head(changes(revision=9))

    def unlogged(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[FIRST] = replace(pool.rows[FIRST], debt_scaled={USDC: 42})

    with pytest.raises(MarketError):
        await following.head(unlogged)
    following.world.mine(seconds=60)
    following.world.tip.state.pools[pool_address(0)].revision = 1
    following.faults.calls = 0
    following.faults.fail = lambda count, name: ChainError("lost") if count == failing else None
    for _ in range(3):
        try:
            await following.see()
        except ChainError:
            following.world.mine()
    assert following.follower.verified is not None
    following.assert_book_is_true()
