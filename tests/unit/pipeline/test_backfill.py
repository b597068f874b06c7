"""Two starts, one book: by search and by replay, cut short at any moment, over changes and reorgs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.checkpoint import Stage, Start
from keeper.core.errors import ChainError
from keeper.core.lending import Side
from keeper.pipeline import audit, backfill, verify
from tests.scenario.scene import DAI, USDC, WBTC, WETH, borrower, changes, entry_of, moves, opens, pool_address
from tests.toy_world import Action, Draft
from tests.unit.pipeline.following import Following

FIRST, SECOND, HOLDER = borrower(1), borrower(2), borrower(9)


@pytest.fixture(autouse=True)
def marks_after_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "MARK_EVERY_S", 0.0)
    monkeypatch.setattr(backfill, "MARK_COST", 0)


def history(following: Following, blocks: int, seed: int = 0) -> None:
    """Borrowers come, move and leave; one only ever holds."""
    rng = random.Random(seed)
    following.world.mine(moves(HOLDER, Side.COLLATERAL, WETH, 5))
    for _ in range(blocks):
        actions: list[Action] = []
        for _ in range(rng.choice((0, 0, 1, 3))):
            who = borrower(rng.randrange(20, 60))
            debt = following.world.tip.state.pools[pool_address(0)].row(who).debt_scaled.get(USDC, 0)
            if debt and rng.random() < 0.3:
                actions = [moves(who, Side.DEBT, USDC, -debt / 10**6)]
            else:
                actions = [opens(who, {rng.choice((WETH, WBTC)): rng.randrange(1, 9)}, {USDC: rng.randrange(1, 99)})]
        following.world.mine(*actions)


def rows_read(following: Following) -> int:
    return following.faults.seen.count("read")


@pytest.mark.parametrize("seed", range(3))
async def test_both_starts_give_the_same_book(seed: int) -> None:
    books = []
    for way in Start:
        following = Following(way=way)
        history(following, 60, seed)
        result = await following.see()
        following.assert_book_is_true()
        book = following.follower.book
        books.append({account: book.position(account) for account in book.accounts()})
        assert result.origin.startswith(way.value)
        assert result.notices == []
    assert books[0] == books[1]
    assert len(books[0]) > 10
    assert HOLDER not in books[0], "who never borrowed is not kept"


async def test_a_replay_reads_nobodys_row_and_is_proven_at_the_head() -> None:
    following = Following(way=Start.LOGS)
    history(following, 30)
    asked: list[bytes] = []
    read = following.chain.read

    async def counted(calls, block):  # type: ignore[no-untyped-def]
        asked.extend(call.calldata for call in calls if b'"row"' in call.calldata)
        return await read(calls, block)

    following.chain.read = counted  # type: ignore[method-assign]
    proven = len(following.world.tip.state.pools[pool_address(0)].rows)
    result = await following.see()
    assert result.origin == f"logs, proven at block {following.world.tip.ref.number}"
    sampled = len(following.true_rows())
    assert sampled <= len(asked) <= 2 * sampled, "only what the proof and the rules' check compare"
    assert proven > 0


@pytest.mark.parametrize("way", Start)
@pytest.mark.parametrize("failing", range(3, 11))
async def test_a_start_that_is_cut_short_goes_on_where_it_was(way: Start, failing: int) -> None:
    """The process dies at the n-th call into the world; the next one does not begin anew."""
    following = Following(way=way)
    history(following, 95)
    following.faults.fail = lambda count, name: ChainError("killed") if name == "logs" and dead(name) else None
    seen = [0]

    def dead(name: str) -> bool:
        seen[0] += 1
        return seen[0] == failing

    with pytest.raises(ChainError):
        await following.see()
    following.faults.fail = lambda count, name: None
    marks = [mark for mark in following.checkpoints.kept if mark.stage is not Stage.BOOK]
    assert {mark.stage for mark in marks} == {Stage.SEARCH if way is Start.SNAPSHOT else Stage.REPLAY}
    following.restart()
    await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges[0] == (marks[-1].block.number + 1, 96)
    assert marks[-1].block.number == 10 * (failing - 1), "no chunk is read twice"
    assert [kept.stage for kept in following.checkpoints.kept] == [Stage.BOOK]


@pytest.mark.parametrize("way", Start)
async def test_a_mark_whose_block_is_gone_falls_back_to_the_one_before(way: Start) -> None:
    following = Following(way=way)
    history(following, 60)
    following.faults.fail = lambda count, name: (
        ChainError("killed") if following.faults.seen.count("logs") == 5 else None
    )
    with pytest.raises(ChainError):
        await following.see()
    following.faults.fail = lambda count, name: None
    following.world.reorg(25)
    history(following, 50, seed=7)
    following.restart()
    await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges[0][0] == 21


@pytest.mark.parametrize("way", Start)
@pytest.mark.parametrize("depth", [3, 25])
async def test_a_reorg_in_the_middle_of_it(way: Start, depth: int) -> None:
    following = Following(way=way)
    history(following, 60)
    following.faults.fail = lambda count, name: ChainError("lost") if following.faults.seen.count("logs") == 5 else None
    with pytest.raises(ChainError):
        await following.see()
    following.faults.fail = lambda count, name: None
    following.world.reorg(40 - depth)
    history(following, 50, seed=7)
    await following.see()
    following.assert_book_is_true()


# -- rows that are read -------------------------------------------------------------------------------------------


def reads_of_rows(following: Following, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every account whose row is read from now on."""
    asked: list[bytes] = []
    read = following.world.read

    def counted(call: Call, ref: BlockRef) -> CallResult:
        if b'"row"' in call.calldata:
            asked.append(call.calldata)
        return read(call, ref)

    monkeypatch.setattr(following.world, "read", counted)
    return asked


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("reorg", [True, False])
async def test_rows_that_were_read_are_not_read_again(
    monkeypatch: pytest.MonkeyPatch, killed: bool, reorg: bool
) -> None:
    """Reading them all may outlast the state that a node keeps of a head, or the process."""
    monkeypatch.setattr(backfill, "ROWS_PER_SLICE", 4)
    monkeypatch.setattr(verify, "SAMPLE", 0)
    monkeypatch.setattr(audit, "WIDE_SAMPLE", 0)
    following = Following()
    history(following, 60)
    asked = reads_of_rows(following, monkeypatch)
    following.faults.fail = lambda count, name: ChainError("lost") if len(asked) >= 20 else None
    with pytest.raises(ChainError):
        await following.see()
    assert len(asked) == 20
    following.faults.fail = lambda count, name: None
    if killed:
        following.restart()
    if reorg:
        following.world.reorg(58)
    history(following, 12, seed=4)
    await following.see()
    following.assert_book_is_true()
    assert set(asked) >= set(asked[:20])
    if not reorg:
        assert len(asked) - len(set(asked)) <= (4 if killed else 0), "no more than the slice that was not marked yet"


async def test_a_change_of_code_while_rows_are_read_reads_them_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "ROWS_PER_SLICE", 4)
    following = Following()
    history(following, 60)
    asked = reads_of_rows(following, monkeypatch)
    following.faults.fail = lambda count, name: ChainError("lost") if len(asked) >= 20 else None
    with pytest.raises(ChainError):
        await following.see()
    following.faults.fail = lambda count, name: None

    def unlogged(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        for who, row in list(pool.rows.items()):
            if row.debt_scaled:
                pool.rows[who] = replace(row, debt_scaled={USDC: 42})

    following.world.mine(unlogged, changes(code=True))
    result = await following.see()
    following.assert_book_is_true()
    assert result.notices == []


# -- what cannot be replayed ---------------------------------------------------------------------------------------


async def test_a_change_of_code_after_balances_moved_is_taken_by_snapshot_and_said_once() -> None:
    following = Following(way=Start.LOGS)
    history(following, 30)

    def unlogged(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        who = next(account for account, row in pool.rows.items() if row.debt_scaled)
        pool.rows[who] = replace(pool.rows[who], debt_scaled={USDC: 42})

    following.world.mine(unlogged, changes(code=True))
    history(following, 30, seed=3)
    result = await following.see()
    following.assert_book_is_true()
    assert result.origin.startswith("snapshot, proven at block ")
    (notice,) = result.notices
    assert "cannot be replayed (Changed in block 32, after balances had moved)" in notice
    assert (await following.head()).notices == []
    assert following.chain.log_ranges[:2] == [(1, 63), (41, 63)], "who was found until then is not searched again"


async def test_a_change_of_code_before_anything_moved_is_a_birth() -> None:
    following = Following(way=Start.LOGS)
    following.world.mine(changes(code=True))
    history(following, 30)
    result = await following.see()
    assert result.origin.startswith("logs")
    following.assert_book_is_true()


async def test_a_replay_that_the_chain_does_not_confirm_is_taken_by_snapshot() -> None:
    following = Following(way=Start.LOGS)
    following.world.mine(opens(FIRST, {WETH: 1}, {DAI: 5}), opens(SECOND, {WETH: 1}, {DAI: 5}))

    def unlogged(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[SECOND] = replace(pool.rows[SECOND], debt_scaled={DAI: 6})

    following.world.mine(unlogged)
    result = await following.see()
    following.assert_book_is_true()
    assert result.origin.startswith("snapshot, proven at block ")
    assert "at block 2" in result.notices[0]
    assert [kept.stage for kept in following.checkpoints.books(entry_of(0))] == [Stage.BOOK]


async def test_a_replay_in_which_a_log_is_missing_is_taken_by_snapshot() -> None:
    """What it led to shows before the end: somebody repays more than the logs so far gave."""
    following = Following(way=Start.LOGS)
    following.world.mine(opens(FIRST, {WETH: 1}, {DAI: 5}), opens(SECOND, {WETH: 1}, {DAI: 5}))

    def unlogged(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[SECOND] = replace(pool.rows[SECOND], debt_scaled={DAI: 6 * 10**18})

    following.world.mine(unlogged)
    following.world.mine(moves(SECOND, Side.DEBT, DAI, -6))
    result = await following.see()
    following.assert_book_is_true()
    assert result.origin.startswith("snapshot, proven at block ")
    assert "a log of block 3 moves more than there is" in result.notices[0]


async def test_a_mark_of_another_chain_is_refused() -> None:
    following = Following()
    history(following, 60)
    following.faults.fail = lambda count, name: (
        ChainError("killed") if following.faults.seen.count("logs") == 5 else None
    )
    with pytest.raises(ChainError):
        await following.see()
    following.faults.fail = lambda count, name: None
    following.checkpoints.kept = [replace(mark, chain_id=1) for mark in following.checkpoints.kept]
    following.restart()
    await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges[0][0] == 1
    assert all("chain id 1" in why for _, why in following.checkpoints.aside)
