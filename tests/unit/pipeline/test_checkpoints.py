"""The saved book: when it is saved, taken up after it was proven, refused, or left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keeper.core.checkpoint import CHECKPOINT_FORMAT, Checkpoint
from keeper.core.errors import BlockUnavailable, MarketError
from keeper.core.lending import Side
from keeper.core.units import Hash32
from keeper.pipeline import market as market_module
from keeper.pipeline import saved as saved_module
from keeper.pipeline.saved import MOST_WAITS
from tests.scenario.scene import CHAIN_ID, USDC, WETH, borrower, changes, entry_of, moves, opens, pool_address, toy_pool
from tests.toy_arithmetic import ToyRules
from tests.toy_world import Draft
from tests.unit.pipeline.following import Following

FIRST, SECOND, THIRD = borrower(1), borrower(2), borrower(3)


def newest(following: Following) -> Checkpoint:
    return following.checkpoints.books(entry_of(0))[-1]


async def saved_once() -> Following:
    """A book of one borrower, saved at block 1; two more blocks since."""
    following = Following()
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    following.world.mine(moves(FIRST, Side.DEBT, USDC, 5), opens(SECOND, {WETH: 10}, {USDC: 1}))
    following.world.mine_empty(5)
    return following


async def test_a_saved_book_is_proven_at_its_block_and_followed_from_there() -> None:
    following = await saved_once()
    following.restart()
    result = await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges == [(2, 7)]
    assert result.origin == "saved at block 1, proven at that block"
    of = newest(following)
    assert (of.chain_id, of.market, of.protocol, of.format) == (CHAIN_ID, entry_of(0), "toy", CHECKPOINT_FORMAT)
    assert of.rules == "toy 1"


async def test_without_the_state_of_its_block_it_is_proven_at_the_head() -> None:
    following = await saved_once()
    following.restart()
    following.chain.state_depth = 2
    result = await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges == [(2, 7)]
    assert result.origin == "saved at block 1, proven at block 7"


def other_debt(following: Following) -> None:
    """The chain's past is another than what was saved: one unit of one debt."""
    for block in following.world.blocks[1:]:
        pool = block.state.pools[pool_address(0)]
        row = pool.rows[FIRST]
        pool.rows[FIRST] = replace(row, debt_scaled={USDC: row.debt_scaled[USDC] + 1})


@pytest.mark.parametrize("state_depth", [None, 2])
async def test_a_book_that_is_not_the_chains_is_refused_and_built_anew(state_depth: int | None) -> None:
    following = await saved_once()
    other_debt(following)
    following.restart()
    following.chain.state_depth = state_depth
    result = await following.see()
    following.assert_book_is_true()
    assert result.origin.startswith("snapshot, proven at block ")
    assert following.chain.log_ranges[-1] == (1, 7)
    ((refused, why),) = following.checkpoints.aside
    assert refused.block.number == 1
    assert ("at block 1: " if state_depth is None else "at block 7: ") in why
    assert f"0x{FIRST.hex()}" in why or "total_debt" in why


async def test_a_borrower_that_is_missing_shows_in_the_totals() -> None:
    """Every row that is there is right, so no sample would find it."""
    following = await saved_once()
    following.restart()
    await following.see()
    book = following.follower.book
    book.load([book.position(FIRST)], 7)
    await following.follower.save_checkpoint()
    following.checkpoints.kept = following.checkpoints.kept[-1:]
    following.restart()
    await following.see()
    following.assert_book_is_true()
    ((_, why),) = following.checkpoints.aside
    assert "total_debt_scaled" in why


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"chain_id": 5}, "it is of chain id 5, this chain's is 77"),
        ({"protocol": "other"}, "it is of protocol 'other'"),
        ({"rules": "toy 9"}, "other rules (toy 9)"),
        ({"rows": b"torn"}, "saved book"),
        (
            {"facts": '{"indexes_ray":{"0":["1","1"],"1":["1","1"],"2":["1","1"],"3":["1","1"]}}'},
            "saved_debt_index_ray",
        ),
        ({"facts": '{"indexes_ray":{}}'}, "saved_debt_index_ray in reserve 0: ours None"),
    ],
)
async def test_a_book_of_another_chain_protocol_or_version_is_refused_in_one_line(
    changed: dict[str, object], says: str
) -> None:
    following = await saved_once()
    following.checkpoints.alter(entry_of(0), **changed)
    following.restart()
    await following.see()
    following.assert_book_is_true()
    ((_, why),) = following.checkpoints.aside
    assert says in why
    assert "\n" not in why


@pytest.mark.parametrize("trouble", ["another hash", "ahead of the chain"])
async def test_a_saved_book_whose_block_is_gone_is_left_alone_and_nobody_forgotten(trouble: str) -> None:
    following = Following()
    following.world.mine_empty(3)
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}), opens(SECOND, {WETH: 10}, {USDC: 1}))
    if trouble == "another hash":
        following.checkpoints.alter(entry_of(0), block=replace(newest(following).block, hash=Hash32(b"\x99" * 32)))
    else:
        following.world.reorg(1)
        following.world.mine(opens(FIRST, {WETH: 3}, {USDC: 2}))
    following.restart()
    for _ in range(MOST_WAITS if trouble == "ahead of the chain" else 0):
        with pytest.raises(BlockUnavailable, match="the node is 2 behind"):
            await following.see()  # it may only be a node that is late
    await following.see()
    following.assert_book_is_true()
    assert following.chain.log_ranges[0][0] == 1
    assert following.checkpoints.aside == []
    assert SECOND in following.follower.book, "who was known once stays known"


async def test_a_node_that_is_behind_costs_no_saved_book() -> None:
    """It does not have the saved block, nor the head: its word is no reason to search everybody again."""
    following = await saved_once()
    following.restart()
    following.faults.fail = lambda count, name: BlockUnavailable("behind") if name == "ancestor" else None
    with pytest.raises(BlockUnavailable):
        await following.see()
    following.faults.fail = lambda count, name: None
    result = await following.see()
    following.assert_book_is_true()
    assert result.origin == "saved at block 1, proven at that block"
    assert following.chain.log_ranges == [(2, 7)]


async def test_the_book_before_serves_when_a_reorg_took_the_newest() -> None:
    following = await saved_once()
    first = newest(following)
    following.restart()
    await following.see()
    assert newest(following).block.number == 7
    following.world.reorg(6)
    following.world.mine(opens(THIRD, {WETH: 10}, {USDC: 1}))
    following.restart()
    result = await following.see()
    following.assert_book_is_true()
    assert first in following.checkpoints.kept
    assert result.origin == "saved at block 1, proven at that block"
    assert following.chain.log_ranges == [(2, 7)]


async def test_an_upgrade_between_the_saved_book_and_the_head_is_followed() -> None:
    up, down = ToyRules("up"), ToyRules("down", debt_rounds_up=False)
    following = Following(pool=toy_pool(rules=up), known={1: [up], 2: [down]})
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))

    def unseen(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[FIRST] = replace(pool.rows[FIRST], debt_scaled={USDC: 42})

    following.world.mine(unseen, changes(revision=2, rules=down, code=True))
    following.restart()
    result = await following.see()
    following.assert_book_is_true()
    assert result.origin == "saved at block 1, proven at that block"
    assert result.verified is not None
    assert result.verified.rules == "down"


async def test_a_book_is_saved_every_so_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "CHECKPOINT_EVERY_BLOCKS", 10)
    following = Following()
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    assert newest(following).block.number == 1
    following.world.mine_empty(9)
    await following.see()
    assert newest(following).block.number == 1
    await following.head()
    assert newest(following).block.number == 11


async def test_when_the_disk_takes_nothing_watching_goes_on_and_the_book_is_saved_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(market_module, "CHECKPOINT_EVERY_BLOCKS", 2)
    monkeypatch.setattr(market_module, "SAVE_AGAIN_BLOCKS", 1)
    following = Following()
    following.checkpoints.full = True
    await following.head(opens(FIRST, {WETH: 10}, {USDC: 1}))
    following.world.mine_empty(5)
    await following.head(moves(FIRST, Side.DEBT, USDC, 5))
    following.assert_book_is_true()
    assert following.checkpoints.kept == []
    following.checkpoints.full = False
    await following.head()
    assert newest(following).block == following.world.tip.ref


async def test_an_unverified_book_is_not_saved() -> None:
    pool = toy_pool()
    pool.misreports_health = True
    following = Following(pool=pool)
    following.world.mine(opens(FIRST, {WETH: 1}, {USDC: 100}))
    with pytest.raises(MarketError):
        await following.head()
    await following.follower.save_checkpoint()
    assert following.checkpoints.kept == []


async def test_packing_and_loading_leave_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, int] = {}

    def watched(name: str) -> Callable[..., Any]:
        original = getattr(saved_module, name)

        def run(*arguments: Any) -> Any:
            threads[name] = threading.get_ident()
            return original(*arguments)

        return run

    for name in ("pack_book", "load_packed"):
        monkeypatch.setattr(saved_module, name, watched(name))
    following = await saved_once()
    following.restart()
    await following.see()
    following.assert_book_is_true()
    assert threads.keys() == {"pack_book", "load_packed"}
    assert threading.get_ident() not in threads.values()
