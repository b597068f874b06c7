"""The audit inside the loop: what a difference stops, what is told, and how it goes on."""

from __future__ import annotations

from dataclasses import replace

from keeper.app.parts import market_state
from keeper.core.errors import RpcTimeout
from keeper.core.events import Kind
from keeper.core.lending import Side
from keeper.core.units import HEALTH_ONE_WAD, Address
from keeper.pipeline import audit, repair
from keeper.telemetry.health import MarketState
from tests.scenario.scene import DAI, USDC, WETH, Scene, borrower, opens, pool_address, price
from tests.toy_world import BLOCK_S, Action, Draft

HIDDEN, OTHER = borrower(1), borrower(2)
STEP_HEADS = audit.STEP_S // BLOCK_S


def owes(who: Address, reserve_id: int, scaled: int) -> Action:
    """The debt is another, and no log says so."""

    def act(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[who] = replace(pool.row(who), debt_scaled={reserve_id: scaled})

    return act


async def heads(scene: Scene, count: int) -> None:
    for _ in range(count):
        await scene.head()


async def test_somebody_who_fell_unseen_is_found_and_restored() -> None:
    """No log told of the debt: without the audit nobody would ever look at this borrower again."""
    scene = Scene()
    await scene.head(opens(HIDDEN, {WETH: 1}, {USDC: 1_000}))
    await scene.head(owes(HIDDEN, USDC, 1_650 * 10**6))
    assert scene.health_wad(HIDDEN) < HEALTH_ONE_WAD
    assert scene.standing(HIDDEN) is None
    await heads(scene, STEP_HEADS + 3)
    [row] = [event for event in scene.events(Kind.MISMATCH) if event.borrower is not None]
    assert (row.borrower, row.fields["what"], row.fields["reserve_id"]) == (HIDDEN, "debt_scaled", USDC)
    assert (row.fields["ours"], row.fields["chains"]) == (str(1_000 * 10**6), str(1_650 * 10**6))
    kinds = [event.kind for event in scene.journal.events]
    after = kinds[kinds.index(Kind.MISMATCH) :]
    assert after.index(Kind.MARKET_VERIFIED) < after.index(Kind.DECIDED), "first it is proven, then acted on"
    assert scene.orders_for(HIDDEN) == 1
    assert scene.health_wad(HIDDEN) >= HEALTH_ONE_WAD


async def test_a_market_that_goes_wrong_again_and_again_is_watched_and_not_liquidated() -> None:
    scene = Scene()
    await scene.head(opens(HIDDEN, {WETH: 10}, {USDC: 100}), opens(OTHER, {WETH: 1}, {DAI: 1_500}))
    for scaled in (1, 2, 3):
        await scene.head(owes(HIDDEN, USDC, scaled))
        await heads(scene, STEP_HEADS)
    assert scene.events(Kind.MISMATCH)[-1].fields["held_until_s"] is not None
    await scene.head(price(WETH, 1_800))
    standing = scene.standing(OTHER)
    assert standing is not None and standing.reason == "market_unverified"
    assert "too often" in standing.detail
    assert scene.orders_for(OTHER) == 0
    state, why = market_state(scene.loop, scene.entries[0], scene.followers[0])
    assert state is MarketState.REFUSED and "too often" in why
    told = len(scene.events(Kind.MISMATCH))
    scene.world.mine(seconds=repair.HOLD_S)
    await scene.see()
    assert scene.orders_for(OTHER) == 1, "an hour without another one"
    assert len(scene.events(Kind.MISMATCH)) == told


async def test_an_audit_that_cannot_read_holds_up_nothing() -> None:
    scene = Scene()
    await scene.head(opens(OTHER, {WETH: 1}, {DAI: 1_500}))
    follower = scene.followers[0]

    async def fails(*arguments: object) -> None:
        raise RpcTimeout("late")

    follower.trust._auditor.step = fails  # type: ignore[assignment, method-assign]
    await heads(scene, 3 * STEP_HEADS)
    await scene.head(price(WETH, 1_800))
    assert scene.orders_for(OTHER) == 1
    assert scene.events(Kind.MISMATCH) == []
    blind = [event for event in scene.events(Kind.ALERT) if event.fields["key"] == "audit_blind"]
    assert len(blind) == 1


async def test_a_row_that_moves_while_the_audit_reads_is_no_difference() -> None:
    """The read is pinned to the block that the book stood at when it began."""
    scene = Scene()
    await scene.head(opens(OTHER, {WETH: 1}, {DAI: 1_000}))
    for number in range(3 * STEP_HEADS):
        await scene.head(lambda draft: draft.move(draft.state.pools[pool_address(0)], OTHER, Side.DEBT, DAI, 1))
        assert scene.events(Kind.MISMATCH) == [], number
    assert scene.followers[0].verified is not None
