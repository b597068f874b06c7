"""More rows to read than a node keeps the state of one head for: a part at each head, nothing believed before the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from keeper.core.checkpoint import Stage
from keeper.core.differences import DEBT_TOTAL
from keeper.core.errors import ChainError
from keeper.core.lending import Side
from keeper.pipeline import backfill, rows
from keeper.pipeline.repair import SEARCH_AGAIN_S
from tests.scenario.scene import DAI, USDC, WETH, borrower, changes, moves, opens, pool_address
from tests.toy_market import TOPICS
from tests.toy_world import Draft
from tests.unit.pipeline.following import Following

PART = 4
MANY = [borrower(number) for number in range(1, 20)]
PARTS = -(-len(MANY) // PART)
FIRST, LATE = MANY[0], borrower(99)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_HEAD", PART)


async def followed() -> Following:
    following = Following()
    await following.head(*[opens(who, {WETH: 1}, {USDC: 100}) for who in MANY])
    assert following.follower.verified is not None
    following.chain.state_depth = 1
    return following


def other_code(draft: Draft) -> None:
    """The new code keeps the debts otherwise, and no log says so."""
    pool = draft.state.pools[pool_address(0)]
    for who, row in list(pool.rows.items()):
        pool.rows[who] = replace(row, debt_scaled={USDC: row.debt_scaled[USDC] + 1})


def busy(following: Following) -> None:
    """While a part is read the chain goes on: a head's state does not outlast two of them."""
    seen = [0]

    def grow(count: int, name: str) -> Exception | None:
        if name == "read":
            seen[0] += 1
            if seen[0] % 6 == 0:
                following.world.mine()
        return None

    following.faults.fail = grow


async def test_changed_code_is_read_over_many_heads_and_said_once() -> None:
    following = await followed()
    result = await following.head(other_code, changes(code=True))
    notices = list(result.notices)
    for part in range(1, PARTS):
        assert following.follower.verified is None and following.follower.is_reading
        left = len(MANY) - PART * part
        assert (following.follower.refused or "").endswith(f"every row is read again; {left} rows are still to be read")
        assert await following.follower.audit() == []
        result = await following.head(moves(MANY[part], Side.DEBT, USDC, 1))
        notices += result.notices
    [notice] = notices
    assert "the market's code changed by block 2" in notice and f"{len(MANY)} of them" in notice
    assert result.verified is not None and result.mismatches == []
    assert following.follower.refused is None and not following.follower.is_reading
    following.assert_book_is_true()


async def test_a_chain_that_outruns_one_reading_of_all_rows_is_caught_up_with() -> None:
    following = await followed()
    busy(following)
    following.world.mine(other_code, changes(code=True))
    for _ in range(40):
        try:
            await following.see()
        except ChainError:
            continue
        if following.follower.verified is not None:
            break
    following.faults.fail = lambda count, name: None
    await following.head()
    assert following.follower.verified is not None
    following.assert_book_is_true()


@pytest.mark.parametrize("parts", range(1, PARTS))
async def test_a_kill_in_the_middle_believes_nothing_that_was_not_read(parts: int) -> None:
    following = await followed()
    await following.head(other_code, changes(code=True))
    for _ in range(parts - 1):
        await following.head()
    following.restart()
    following.chain.state_depth = 1
    for _ in range(PARTS - 1):
        assert (await following.head()).verified is None and following.follower.verified is None
    await following.head()
    assert following.follower.verified is not None
    following.assert_book_is_true()


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_reorg_in_the_middle_takes_back_what_was_read(depth: int) -> None:
    following = await followed()
    await following.head(other_code, changes(code=True))
    for _ in range(3):
        await following.head()
    following.world.reorg(following.world.tip.ref.number - depth)
    for _ in range(PARTS + 1):
        assert (await following.head(moves(FIRST, Side.DEBT, USDC, 1))).mismatches == []
    assert following.follower.verified is not None
    following.assert_book_is_true()


async def test_code_that_changes_again_in_the_middle_begins_anew() -> None:
    following = await followed()
    await following.head(other_code, changes(code=True))
    await following.head()
    await following.head(other_code, changes(code=True))
    for _ in range(PARTS - 2):
        assert (await following.head()).verified is None
    assert (await following.head()).verified is not None
    following.assert_book_is_true()


async def test_what_seems_impossible_of_a_row_that_is_not_believed_is_no_mismatch() -> None:
    following = await followed()
    await following.head(other_code, changes(code=True))

    def repays_all(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        for who in MANY:
            draft.move(pool, who, Side.DEBT, USDC, -pool.row(who).debt_scaled[USDC])

    assert (await following.head(repays_all)).mismatches == []
    for _ in range(PARTS - 2):
        await following.head()
    following.assert_book_is_true()
    assert following.follower.refused is None


async def test_who_borrows_meanwhile_is_read_first() -> None:
    following = await followed()
    await following.head(other_code, changes(code=True))
    await following.head(opens(LATE, {WETH: 1}, {DAI: 5}))
    assert LATE in following.follower.book
    for _ in range(PARTS - 1):
        await following.head()
    assert following.follower.verified is not None
    following.assert_book_is_true()


# -- a book that nobody has confirmed yet ------------------------------------------------------------------------------


def withheld(following: Following, block: int) -> Callable[[], None]:
    """The node keeps back the Borrow logs of a block; what undoes that."""
    true = following.world.blocks[block]
    kept = tuple(log for log in true.logs if log.topics[0] != TOPICS["Borrow"])
    following.world.blocks[block] = replace(true, logs=kept)

    def honest() -> None:
        following.world.blocks[block] = true

    return honest


async def test_a_fresh_book_in_which_a_debtor_is_missing_is_not_believed() -> None:
    """Every row of it is right: only the totals tell. Nobody is liquidated before they agree."""
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine(opens(LATE, {WETH: 1}, {USDC: 50}))
    honest = withheld(following, 2)
    result = await following.head()
    assert result.verified is None and following.follower.verified is None and result.origin == ""
    [mismatch] = result.mismatches
    assert (mismatch.difference.what, mismatch.difference.reserve_id) == (DEBT_TOTAL, USDC)
    assert (mismatch.difference.ours, mismatch.difference.chain) == (100 * 10**6, 150 * 10**6)
    assert following.checkpoints.books(following.follower.entry) == [], "what is not believed is not saved"
    honest()
    result = await following.head()
    assert result.verified is not None and result.origin == "snapshot, proven at block 4"
    following.assert_book_is_true()


async def test_a_debtor_that_no_log_ever_shows_is_not_searched_for_at_every_head() -> None:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine(opens(LATE, {WETH: 1}, {USDC: 50}))
    honest = withheld(following, 2)
    for _ in range(30):
        await following.head()
        await following.follower.audit()
        assert following.follower.verified is None
    whole = [span for span in following.chain.log_ranges if span[0] == 1]
    assert len(whole) == 2, "the start, and one search more"
    assert "a node keeps logs back, or start_block is later" in (following.follower.refused or "")
    honest()
    following.world.mine(seconds=SEARCH_AGAIN_S)
    await following.see()
    following.world.mine(seconds=3_600)
    await following.see()
    assert following.follower.verified is not None
    following.assert_book_is_true()


async def test_a_start_block_that_is_too_late_is_no_market_without_the_others() -> None:
    following = Following(first_block=2)
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine(opens(LATE, {WETH: 1}, {USDC: 50}))
    for _ in range(3):
        assert (await following.head()).verified is None
    assert following.follower.verified is None and "start_block" in (following.follower.refused or "")


async def test_a_search_from_the_first_block_is_not_cut_short_by_an_earlier_ones_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mark of the very search that missed somebody would miss it again, for ever."""
    monkeypatch.setattr(backfill, "MARK_EVERY_S", 0.0)
    monkeypatch.setattr(backfill, "MARK_COST", 0)
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine(opens(LATE, {WETH: 1}, {USDC: 50}))
    following.world.mine_empty(30)
    honest = withheld(following, 2)
    result = await following.see()
    assert result.verified is None
    marks = [kept for kept in following.checkpoints.kept if kept.stage is not Stage.BOOK]
    assert marks and marks[-1].block.number > 2, "what an earlier search leaves where its book was never saved"
    honest()
    result = await following.head()
    assert (1, 33) in following.chain.log_ranges
    assert {kept for kept, _ in following.checkpoints.aside} >= {marks[-1]}
    assert result.verified is not None
    following.assert_book_is_true()


async def test_a_kill_while_everybody_is_searched_anew_goes_on_at_that_searchs_own_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "MARK_EVERY_S", 0.0)
    monkeypatch.setattr(backfill, "MARK_COST", 0)
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    following.world.mine(opens(LATE, {WETH: 1}, {USDC: 50}))
    following.world.mine_empty(40)
    honest = withheld(following, 2)
    await following.see()
    honest()
    begun = following.faults.seen.count("logs")
    following.faults.fail = lambda count, name: (
        ChainError("killed") if name == "logs" and following.faults.seen.count("logs") == begun + 4 else None
    )
    with pytest.raises(ChainError):
        await following.head()
    following.faults.fail = lambda count, name: None
    following.restart()
    result = await following.head()
    assert following.chain.log_ranges[0][0] == 31
    assert result.verified is not None
    following.assert_book_is_true()
