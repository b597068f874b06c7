"""The audit over the toy chain: what it finds, what follows from it, and what it does not take for a difference."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.differences import Mismatch
from keeper.core.errors import ChainError, MarketError, RpcTimeout
from keeper.core.lending import Side
from keeper.core.units import Address
from keeper.pipeline import audit, repair
from keeper.pipeline.audit_all import UnprovenFollower, audit_all
from keeper.pipeline.trust import BLIND_AFTER_STEPS
from tests.scenario.scene import DAI, USDC, WETH, accrues, borrower, moves, opens, pool_address
from tests.toy_world import BLOCK_S, Action, Draft
from tests.unit.pipeline.following import Following

FIRST, SECOND = borrower(1), borrower(2)
STEP_HEADS = audit.STEP_S // BLOCK_S


def owes(who: Address, reserve_id: int, scaled: int) -> Action:
    """The debt is another, and no log says so."""

    def act(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[who] = replace(pool.row(who), debt_scaled={reserve_id: scaled})

    return act


async def followed() -> Following:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}), opens(SECOND, {WETH: 2}, {DAI: 50}))
    await following.head()
    assert await following.follower.audit() == []
    return following


async def until_audited(following: Following, *actions: Action) -> list[Mismatch]:
    """Heads with one step of the audit after each, until one finds something."""
    for number in range(4 * STEP_HEADS):
        await following.head(*(actions if number == 0 else ()))
        found = await following.follower.audit()
        if found:
            return found
    return []


async def test_what_is_right_is_no_mismatch_whatever_happens() -> None:
    following = await followed()
    assert await until_audited(following, accrues(USDC, 1e-9), moves(FIRST, Side.DEBT, USDC, 7)) == []
    assert following.follower.verified is not None


async def test_one_unit_too_little_is_found_named_and_repaired() -> None:
    following = await followed()
    moved = following.world.tip.ref.number + 1
    found = await until_audited(following, moves(FIRST, Side.DEBT, USDC, 7), owes(FIRST, USDC, 107 * 10**6 + 1))
    (row,) = [each for each in found if each.difference.borrower is not None]
    assert (row.difference.what, row.difference.borrower, row.difference.reserve_id) == ("debt_scaled", FIRST, USDC)
    assert (row.difference.ours, row.difference.chain) == (107 * 10**6, 107 * 10**6 + 1)
    assert row.block == following.world.tip.ref
    assert [(log.block_number, log.text.split(":")[0]) for log in row.logs] == [(moved, f"mint debt of reserve {USDC}")]
    assert following.follower.verified is None
    assert "ours 107000000, the chain's 107000001" in (following.follower.refused or "")
    result = await following.head()
    assert result.verified is not None and result.mismatches == []
    assert following.follower.refused is None
    following.assert_book_is_true()


def without_prices(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node fails the reads of the prices, as one with too little gas for them would, but not of the health."""
    read = following.world.read

    def failing(call: Call, ref: BlockRef) -> CallResult:
        answer = read(call, ref)
        if b'"state"' not in call.calldata:
            return answer
        prices, *rest = json.loads(answer.returndata)
        return CallResult(True, json.dumps([dict.fromkeys(prices), *rest]).encode())

    monkeypatch.setattr(following.world, "read", failing)


async def test_an_answer_that_was_kept_from_us_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a price nobody can be valued, and nobody would ever be liquidated: but the chain itself can."""
    following = await followed()
    without_prices(following, monkeypatch)
    found = await until_audited(following)
    assert {(each.difference.what, each.difference.ours) for each in found} == {("health_factor_wad", None)}
    assert all(each.difference.chain is not None for each in found)
    assert following.follower.verified is None and "ours None" in (following.follower.refused or "")
    monkeypatch.undo()
    result = await following.head()
    assert result.verified is not None and following.follower.refused is None


async def test_no_market_is_verified_on_answers_that_were_kept_from_us(monkeypatch: pytest.MonkeyPatch) -> None:
    following = Following()
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    without_prices(following, monkeypatch)
    with pytest.raises(MarketError, match="no known rules recompute"):
        await following.head()


async def test_logs_before_a_row_was_right_are_not_its_cause() -> None:
    following = await followed()
    await following.head(moves(FIRST, Side.DEBT, USDC, 7))
    for _ in range(STEP_HEADS):
        await following.head()
        assert await following.follower.audit() == []
    found = await until_audited(following, owes(FIRST, USDC, 1))
    assert [each.logs for each in found if each.difference.borrower is not None] == [()]
    assert found[0].logs_from_block is not None


async def test_a_debtor_that_is_missing_is_searched_for() -> None:
    """No row of ours is wrong then: only the total tells. Everybody is read again, and as that is not enough, searched."""
    following = await followed()
    stranger = borrower(3)

    def unseen(draft: Draft) -> None:
        opens(stranger, {WETH: 1}, {USDC: 100})(draft)
        draft.logs.clear()

    found = await until_audited(following, unseen)
    assert [each.difference.what for each in found] == ["total_debt_scaled"]
    assert (found[0].difference.ours, found[0].difference.chain) == (100 * 10**6, 200 * 10**6)
    again = await following.head()
    assert again.verified is None and following.follower.verified is None, "reading everybody again does not help"
    number = following.world.tip.ref.number
    following.world.blocks[3:4] = [replace(following.world.blocks[3], logs=named(following, stranger))]
    assert number > 3
    await following.head()
    assert stranger in following.follower.book, "found by its log in the search"
    following.assert_book_is_true()


def named(following: Following, who: Address) -> tuple[Log, ...]:
    """The log that the node kept back the first time."""
    block = following.world.blocks[3]
    draft = Draft(following.world.blocks[2], block.ref.timestamp_s)
    log = draft.emit(pool_address(0), "Borrow", account=who.hex(), reserve=USDC, side="debt", scaled=100 * 10**6)
    return (replace(log, block_hash=block.ref.hash),)


async def test_a_log_that_moves_more_than_the_book_has_is_a_mismatch_and_no_end() -> None:
    """A log before it never came: the row is read again, and the market goes on."""
    following = await followed()
    await following.head(owes(FIRST, USDC, 101 * 10**6))
    result = await following.head(moves(FIRST, Side.DEBT, USDC, -101), moves(SECOND, Side.DEBT, DAI, 1))
    (found,) = result.mismatches
    assert (found.difference.what, found.difference.borrower, found.difference.reserve_id) == (
        "debt_scaled",
        FIRST,
        USDC,
    )
    assert (found.difference.ours, found.difference.chain) == (100 * 10**6, None)
    assert following.follower.verified is None
    result = await following.head()
    assert result.verified is not None and result.mismatches == []
    following.assert_book_is_true()


async def test_what_is_audited_as_a_whole_is_not_mended_first() -> None:
    """`keeper audit` follows a saved book to the head: a row found wrong on the way is a difference that it must show."""
    following = Following()
    await following.head(opens(FIRST, {WETH: 1}, {USDC: 100}), opens(SECOND, {WETH: 2}, {DAI: 50}))
    following.world.mine(owes(FIRST, USDC, 250 * 10**6))
    following.world.mine(moves(FIRST, Side.DEBT, USDC, -200))
    following.kind = UnprovenFollower
    following.restart()
    result = await following.see()
    assert [each.difference.borrower for each in result.mismatches] == [FIRST]
    assert not following.follower.is_reading
    found = await audit_all(following.follower, following.chain, lambda done, total: None)
    named = [each for each in found.differences if each.borrower is not None]
    assert [(each.what, each.borrower, each.ours, each.chain) for each in named] == [
        ("debt_scaled", FIRST, 100 * 10**6, 50 * 10**6)
    ]


async def test_a_row_that_an_order_cast_doubt_on_is_told_when_it_was_wrong() -> None:
    """Reading it again mends it, but what made it wrong may have made others wrong."""
    following = await followed()
    following.follower.read_again(FIRST)
    result = await following.head(moves(FIRST, Side.DEBT, USDC, 1))
    assert result.mismatches == [], "doubted, and right"
    await following.head(owes(FIRST, USDC, 105 * 10**6))
    following.follower.read_again(FIRST)
    result = await following.head(moves(SECOND, Side.DEBT, DAI, 1))
    (found,) = result.mismatches
    assert (found.difference.what, found.difference.borrower) == ("debt_scaled", FIRST)
    assert (found.difference.ours, found.difference.chain) == (101 * 10**6, 105 * 10**6)
    assert following.follower.verified is None
    result = await following.head()
    assert result.verified is not None and result.mismatches == []
    following.assert_book_is_true()


async def test_a_third_mismatch_within_the_hour_holds_the_market() -> None:
    following = await followed()
    for scaled in (1, 2, 3):
        assert await until_audited(following, owes(FIRST, USDC, scaled))
        await following.head()
    following.assert_book_is_true()
    assert following.follower.verified is None
    assert "too often" in (following.follower.refused or "")
    following.world.mine(seconds=repair.HOLD_S)
    result = await following.see()
    assert result.verified is not None
    assert following.follower.verified is not None


@pytest.mark.parametrize("error", [RpcTimeout("late"), ChainError("unwell")])
async def test_a_read_that_fails_is_unknown_and_never_a_mismatch(error: ChainError) -> None:
    following = await followed()
    told = 0
    for _ in range(2 * BLIND_AFTER_STEPS):
        for _ in range(STEP_HEADS):
            await following.head()
        following.faults.fail = lambda count, name: error
        try:
            assert await following.follower.audit() == []
        except ChainError:
            told += 1
        following.faults.fail = lambda count, name: None
    assert told == 1, "that nothing could be compared for so long is told once"
    assert following.follower.verified is not None
    assert await until_audited(following, owes(FIRST, USDC, 1))


async def test_everybody_and_every_reserve_has_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "CALLS_PER_STEP", 4)
    following = Following()
    everybody = [borrower(number) for number in range(1, 11)]
    following.world.mine(*(opens(who, {WETH: 1}, {USDC: 100}) for who in everybody))
    await following.head()
    asked: list[Address] = []
    compare = audit.compare

    async def watched(*arguments: Any) -> audit.Compared:
        rows, reserve_ids = arguments[5:7]
        asked.extend(row.borrower for row in rows)
        assert len(rows) <= 2 and len(reserve_ids) == 1
        return await compare(*arguments)

    monkeypatch.setattr(audit, "compare", watched)
    for _ in range(5 * STEP_HEADS):
        await following.head()
        assert await following.follower.audit() == []
    assert sorted(asked) == sorted(everybody), "each once in a round, and never two steps for one block"


async def test_a_step_that_takes_too_long_is_given_up_and_the_next_one_is_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    following = Following()
    everybody = [borrower(number) for number in range(1, 11)]
    following.world.mine(*(opens(who, {WETH: 1}, {USDC: 100}) for who in everybody))
    await following.head()
    auditor = following.follower.trust._auditor
    with monkeypatch.context() as slow:
        slow.setattr(audit, "STEP_WITHIN_S", 0.0)
        for _ in range(STEP_HEADS):
            await following.head()
            assert await following.follower.audit() == []
    assert following.follower.trust.unread_steps == 1
    assert (auditor._calls, auditor._place) == (audit.CALLS_PER_STEP // 2, 0), "the same accounts are next, in halves"
    assert await until_audited(following) == []
    assert following.follower.trust.unread_steps == 0
    assert auditor._calls == audit.CALLS_PER_STEP


async def test_while_attempts_are_under_way_the_audit_takes_longer_steps() -> None:
    following = await followed()
    steps = 0
    for _ in range(audit.BUSY_STEP_S // BLOCK_S):
        await following.head()
        before = following.faults.calls
        assert await following.follower.audit(busy=True) == []
        steps += following.faults.calls > before
    assert steps == 1
