"""One market in step with the chain: start, follow, reorgs, changes, checkpoints, and errors anywhere."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from keeper.core.errors import BlockUnavailable, ChainError, Defect, MarketError
from keeper.core.lending import Side
from keeper.core.units import Address
from tests.scenario.scene import (
    DAI,
    USDC,
    WBTC,
    WETH,
    borrower,
    changes,
    entry_of,
    moves,
    opens,
    pool_address,
    toy_pool,
)
from tests.toy_arithmetic import ToyRules
from tests.toy_world import Action, Draft
from tests.unit.pipeline.following import Following

FIRST, SECOND, THIRD = (borrower(number) for number in (1, 2, 3))
UP, DOWN = ToyRules("debt rounded up"), ToyRules("debt rounded down", debt_rounds_up=False)


def odd_debt(who: Address) -> Action:
    """A debt whose value has a fraction, so that the two rules disagree about it."""

    def act(draft: Draft) -> None:
        opens(who, {WETH: 1}, {})(draft)
        draft.move(draft.state.pools[pool_address(0)], who, Side.DEBT, DAI, 10**18 + 1, log="Borrow")

    return act


# -- start -----------------------------------------------------------------------------------------------------------


async def test_it_finds_every_borrower_that_there_ever_was() -> None:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine_empty(25)
    following.world.mine(opens(SECOND, {WBTC: 1}, {DAI: 100}))
    result = await following.head()
    following.assert_book_is_true()
    assert set(following.true_rows()) == {FIRST, SECOND}
    assert result.verified is not None and result.verified.checked_borrowers == 2


async def test_a_search_that_is_interrupted_goes_on_where_it_was() -> None:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine_empty(99)
    following.faults.fail = lambda count, name: ChainError("lost") if count == 9 and name == "logs" else None
    with pytest.raises(ChainError):
        await following.see()
    await following.head()
    following.assert_book_is_true()
    searched = [span for span in following.chain.log_ranges if span[1] > span[0]]
    assert searched[0] == (1, 100)
    assert searched[1][0] > 1
    assert following.faults.seen.count("first_block") == 1


async def test_a_search_that_outlasts_the_state_of_its_head_succeeds_on_the_next() -> None:
    """Nodes without an archive forget a head's state after some minutes; a search may take longer than that."""
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine_empty(59)
    following.chain.state_depth = 3

    def grow(count: int, name: str) -> None:
        if name == "logs":
            following.world.mine()

    following.faults.fail = grow
    with pytest.raises(BlockUnavailable):
        await following.see()
    await following.see()
    following.faults.fail = lambda count, name: None
    await following.see()
    following.assert_book_is_true()


async def test_a_reorg_during_the_search_loses_no_borrower() -> None:
    following = Following()
    following.world.mine_empty(40)
    following.faults.fail = lambda count, name: ChainError("lost") if count == 8 else None
    with pytest.raises(ChainError):
        await following.see()
    following.world.reorg(5)
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine_empty(40)
    await following.see()
    following.assert_book_is_true()
    assert FIRST in following.follower.book


async def test_an_entry_that_is_no_market_is_refused() -> None:
    following = Following()
    del following.world.tip.state.pools[pool_address(0)]
    with pytest.raises(MarketError, match="no entry"):
        await following.see()


async def test_a_revision_without_known_rules_is_refused() -> None:
    following = Following(known={7: [UP]})
    with pytest.raises(MarketError, match="no known rules"):
        await following.head()


# -- verification ----------------------------------------------------------------------------------------------------


async def test_the_rules_that_recompute_the_chain_are_taken() -> None:
    following = Following(pool=toy_pool(rules=DOWN), known={1: [UP, DOWN]})
    result = await following.head(odd_debt(FIRST))
    assert result.verified is not None
    assert result.verified.rules == "debt rounded down"
    assert following.follower.market.rules == DOWN


async def test_nobody_borrows_yet_then_the_first_borrower_verifies() -> None:
    following = Following(pool=toy_pool(rules=DOWN), known={1: [UP, DOWN]})
    nobody = await following.head()
    assert nobody.verified is not None and nobody.verified.checked_borrowers == 0
    assert following.follower.verified is None
    result = await following.head(odd_debt(FIRST))
    assert result.verified is not None and result.verified.checked_borrowers == 1
    assert following.follower.market.rules == DOWN


async def test_a_market_that_no_rules_recompute_is_refused_and_trusted_once_it_agrees() -> None:
    pool = toy_pool()
    pool.misreports_health = True
    following = Following(pool=pool)
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    with pytest.raises(MarketError, match="no known rules recompute"):
        await following.head()
    assert following.follower.verified is None
    before = len(following.chain.log_ranges)
    with pytest.raises(MarketError):
        await following.head()
    assert following.chain.log_ranges[before:] == [(3, 3)], "the book is not built again at each head"
    result = await following.head(lambda draft: setattr(draft.state.pools[pool_address(0)], "misreports_health", False))
    assert result.verified is not None
    assert following.follower.refused is None
    following.assert_book_is_true()


async def test_rows_that_differ_from_the_chain_are_read_again() -> None:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    await following.head()

    def unseen(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[FIRST] = replace(pool.rows[FIRST], debt_scaled={USDC: 42})

    found = await following.head(unseen, changes())
    assert found.verified is None and following.follower.verified is None
    [mismatch] = found.mismatches
    assert mismatch.difference.borrower == FIRST and mismatch.repair == "every row is read again"
    result = await following.head()
    assert result.verified is not None
    following.assert_book_is_true()


async def test_a_row_that_is_doubted_is_read_at_the_next_head() -> None:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    await following.head()

    def unseen(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[FIRST] = replace(pool.rows[FIRST], debt_scaled={USDC: 42})

    await following.head(unseen)
    following.follower.read_again(FIRST)
    await following.head()
    following.assert_book_is_true()


async def test_a_missing_price_is_neither_a_difference_nor_a_proof() -> None:
    pool = toy_pool()
    pool.prices_base[WETH] = None
    following = Following(pool=pool)
    result = await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    assert result.verified is not None and result.verified.checked_borrowers == 0
    assert following.follower.verified is None
    assert following.follower.health(following.follower.book.position(FIRST)) is None


# -- changes ---------------------------------------------------------------------------------------------------------


async def test_a_changed_market_is_discovered_and_verified_again() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    reserves = dict(following.world.tip.state.pools[pool_address(0)].reserves)
    reserves[WETH] = replace(reserves[WETH], threshold_bps=8_300)
    result = await following.head(changes(reserves=reserves))
    assert result.changes == ["Changed"]
    assert result.verified is not None and result.verified.checked_borrowers == 1
    assert following.follower.market.reserves[WETH].threshold_bps == 8_300


async def test_changed_code_means_that_every_row_is_read_again() -> None:
    """Logs around an upgrade may follow other rounding: here one is plainly wrong."""
    following = Following()
    following.world.mine(opens(SECOND, {WETH: 1}, {USDC: 50}))
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))

    def upgrade(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        draft.emit(pool.address, "Moved", account=FIRST.hex(), reserve=USDC, side="debt", scaled=-(10**30))
        pool.rows[SECOND] = replace(pool.rows[SECOND], debt_scaled={USDC: 51})

    result = await following.head(upgrade, changes(code=True))
    assert result.changes == ["Changed"]
    following.assert_book_is_true()


async def test_an_upgrade_to_other_rules_reads_every_row_again() -> None:
    following = Following(known={1: [UP], 2: [DOWN]})
    await following.head(odd_debt(FIRST))
    result = await following.head(changes(revision=2, rules=DOWN))
    assert result.verified is not None and result.verified.rules == DOWN.name
    following.assert_book_is_true()


@pytest.mark.parametrize("failing", range(1, 12))
async def test_an_error_during_an_upgrade_leaves_nothing_half_done(failing: int) -> None:
    following = Following(known={1: [UP], 2: [DOWN]})
    await following.head(odd_debt(FIRST))
    following.faults.calls = 0
    following.faults.fail = lambda count, name: ChainError("lost") if count == failing else None
    market, state = following.follower.market, following.follower.state

    def upgrade(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        draft.emit(pool.address, "Moved", account=FIRST.hex(), reserve=DAI, side="debt", scaled=-(10**30))

    following.world.mine(upgrade, changes(revision=2, rules=DOWN))
    try:
        await following.see()
    except ChainError:
        if following.follower.applied is None or following.follower.applied.number == 1:
            assert following.follower.market is market and following.follower.state is state
        await following.head()
    following.assert_book_is_true()
    assert following.follower.verified is not None
    assert following.follower.market.rules == DOWN


async def test_a_change_to_something_unknown_is_watched_but_refused_until_it_is_known_again() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}))
    with pytest.raises(MarketError, match="no known rules"):
        await following.head(changes(revision=9))
    following.world.mine_empty(20)
    with pytest.raises(MarketError, match="its borrowers are watched, nothing is liquidated"):
        await following.head(opens(SECOND, {WETH: 1}, {USDC: 100}))
    following.assert_book_is_true()
    assert SECOND in following.follower.book
    assert following.follower.verified is None
    await following.head(changes(revision=1), moves(FIRST, Side.DEBT, USDC, 10))
    following.assert_book_is_true()
    assert following.follower.verified is not None


# -- errors anywhere -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_fails_whenever_the_next_head_catches_up(seed: int) -> None:
    """Random actions and reorgs under random errors: after each head that succeeds, the book is the chain's."""
    rng = random.Random(seed)
    following = Following()
    following.faults.fail = lambda count, name: ChainError("lost") if rng.random() < 0.15 else None
    successes = 0
    for _ in range(60):
        if rng.random() < 0.12:
            tip = following.world.tip.ref.number
            following.world.reorg(max(0, tip - rng.choice((1, 1, 2, 5, 40))))
        for _ in range(rng.choice((1, 1, 2, 9))):
            who = borrower(rng.randrange(12))
            row = following.world.tip.state.pools[pool_address(0)].row(who)
            action: Action = opens(who, {WETH: rng.randrange(1, 5)}, {USDC: rng.randrange(1, 500)})
            if row.collateral_scaled.get(WETH, 0) > 10**18 and rng.random() < 0.5:
                action = moves(who, Side.COLLATERAL, WETH, -1)
            if rng.random() < 0.05:
                following.world.mine(action, changes(code=rng.random() < 0.5))
            else:
                following.world.mine(action)
        try:
            await following.see()
        except ChainError:
            continue
        successes += 1
        following.assert_book_is_true()
    assert successes > 3


async def test_an_invariant_that_breaks_halfway_leaves_nothing_to_save() -> None:
    following = Following()
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    saved = following.checkpoints.books(entry_of(0))

    def nonsense(draft: Draft) -> None:
        address = draft.state.pools[pool_address(0)].address
        draft.emit(address, "Moved", account=FIRST.hex(), reserve=USDC, side="debt", scaled=2**130)

    following.world.mine(moves(FIRST, Side.DEBT, USDC, 5))
    with pytest.raises(Defect, match="more than 128 bits"):
        await following.head(nonsense)
    await following.follower.save_checkpoint()
    assert saved
    assert following.checkpoints.books(entry_of(0)) == saved
