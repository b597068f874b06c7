"""One borrower's stories, in a live run."""

from __future__ import annotations

from dataclasses import replace

from keeper.core.events import Kind, Severity
from keeper.core.lending import Side
from keeper.core.outcome import Verdict
from keeper.core.planner import PlanPolicy
from keeper.core.standing import ORDERED
from keeper.core.units import WAD
from tests.scenario.scene import USDC, WBTC, WETH, Scene, accrues, borrower, moves, opens, pool_address, price, toy_pool
from tests.toy_arithmetic import ToyRules
from tests.toy_world import BLOCK_S, Draft

FIRST = borrower(1)
TARGET_WAD = 105 * WAD // 100


async def under_water(scene: Scene) -> None:
    """FIRST stands at 0.96 and has an order on its way."""
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == ORDERED


async def test_a_borrower_falls_under_water_and_is_brought_back_to_its_target() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    assert scene.standing(FIRST) is None

    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == ORDERED

    result = await scene.head()
    assert scene.standing(FIRST) is None
    assert [outcome.restored for outcome in result.settled] == [True]
    assert TARGET_WAD <= scene.health_wad(FIRST) < TARGET_WAD + WAD // 10**6
    assert scene.orders_for(FIRST) == 1
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]


async def interest_decides(scene: Scene, falls_after_s: int) -> None:
    """So long after the head FIRST's debt will have grown beyond its collateral."""
    await scene.head(accrues(USDC, 1e-9), opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    at_s = scene.tip.timestamp_s + BLOCK_S + falls_after_s
    await scene.head(price(WETH, 1_875 * (1 + 1e-9 * at_s)))


async def test_whom_interest_brings_below_one_by_the_next_block_has_an_order_for_it() -> None:
    scene = Scene()
    await interest_decides(scene, BLOCK_S - 1)
    head = scene.tip
    assert scene.health_wad(FIRST) > WAD
    assert scene.reason(FIRST) == ORDERED
    (seen,) = scene.events(Kind.SEEN)
    assert seen.fields == {
        "health_factor_wad": scene.health_wad(FIRST),
        "below_one_from_s": head.timestamp_s + BLOCK_S,
    }
    (order,) = scene.submitted
    assert order.order.plan.window.earliest_s == head.timestamp_s + BLOCK_S

    result = await scene.head()
    assert [outcome.restored for outcome in result.settled] == [True]
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]


async def test_whoever_stays_above_one_until_the_next_block_is_not_seen() -> None:
    scene = Scene()
    await interest_decides(scene, BLOCK_S + 1)
    assert scene.story(FIRST) == []
    await scene.head()
    assert scene.story(FIRST) == ["seen", "decided", "sent"]


async def test_while_its_transaction_waits_a_borrower_gets_no_second_one() -> None:
    scene = Scene()
    await under_water(scene)
    for dollars in (1_790, 1_780, 1_770):
        await scene.head(price(WETH, dollars), include=False)
        assert scene.reason(FIRST) == ORDERED
        assert scene.orders_for(FIRST) == 1
    await scene.head()
    assert scene.orders_for(FIRST) >= 1
    assert len(scene.loop.open) == scene.orders_for(FIRST) - 1


async def test_a_price_that_fell_on_leads_to_a_new_plan_after_the_first() -> None:
    scene = Scene()
    await under_water(scene)
    await scene.head(price(WETH, 1_600))
    assert [event.severity for event in scene.events(Kind.NOT_RESTORED)] == [Severity.ALERT]
    assert scene.orders_for(FIRST) == 2
    await scene.head()
    assert scene.health_wad(FIRST) >= TARGET_WAD
    assert scene.story(FIRST) == [
        *("seen", "decided", "sent", "mined", "not_restored"),
        *("decided", "sent", "mined", "restored"),
    ]


async def test_somebody_else_was_faster() -> None:
    """Our transaction reverts on a borrower that is healthy again."""
    scene = Scene()
    await under_water(scene)
    await scene.head(moves(FIRST, Side.DEBT, USDC, -5_000))
    assert [event.fields["revert"] for event in scene.events(Kind.REVERTED)] == ["HealthyNow"]
    assert scene.standing(FIRST) is None
    assert scene.loop.open == {}


async def test_one_that_recovers_by_itself_is_noted() -> None:
    scene = Scene(fee_cap_wei=5)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    await scene.head(price(WETH, 2_000))
    assert scene.reasons_over_time(FIRST) == [None, "fee_cap", None]
    assert scene.story(FIRST) == ["seen", "refused", "recovered"]


async def test_a_reason_is_told_when_it_changes_not_at_every_head() -> None:
    scene = Scene(fee_cap_wei=5)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    for _ in range(3):
        await scene.head(price(WETH, 1_800))
    await scene.head(price(WETH, None))
    await scene.head()
    assert scene.reasons_over_time(FIRST) == [None, "fee_cap", "unpriceable"]
    assert scene.story(FIRST) == ["seen", "refused", "refused"]
    assert len(scene.journal.standings) == 6


async def test_a_borrower_without_a_price_has_no_health() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(borrower(2), {WBTC: 1}, {USDC: 15_000}))
    await scene.head(price(WETH, None))
    standing = scene.standing(FIRST)
    assert standing is not None
    assert (standing.reason, standing.health_factor_wad) == ("unpriceable", None)
    assert [event.fields["health_factor_wad"] for event in scene.events(Kind.SEEN)] == [None]
    assert scene.standing(borrower(2)) is None


async def test_two_calls_in_sequence_restore_what_one_cannot() -> None:
    scene = Scene(pools=[toy_pool(rules=ToyRules(close_factor_bps=5_000))])
    await scene.head(opens(FIRST, {WETH: 4, WBTC: 0.1}, {USDC: 5_000, 3: 5_000}))
    await scene.head(price(WETH, 1_690))
    (submission,) = scene.submitted
    assert len(submission.order.calls) == 2
    assert submission.order.plan.verdict is Verdict.REACHES_TARGET
    assert submission.order.plan.calls[0].at_latest.health_after.health_factor_wad < WAD
    await scene.head()
    assert scene.health_wad(FIRST) >= submission.order.plan.target_wad


async def test_interest_alone_makes_a_borrower_sick_and_the_plan_holds_for_its_whole_window() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_990}))
    assert scene.standing(FIRST) is None
    await scene.head(accrues(USDC, 1e-9))
    while scene.standing(FIRST) is None:
        scene.world.mine(seconds=3_600)
        await scene.head(include=False)
    (submission,) = scene.submitted
    scene.world.mine(include=False)
    await scene.head()
    assert scene.tip.timestamp_s == submission.order.plan.window.latest_s
    assert scene.health_wad(FIRST) >= submission.order.plan.target_wad


async def test_the_node_refuses_and_the_next_head_tries_again() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.live.refuse = "insufficient funds for gas"
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "reserved"
    assert [event.fields["error"] for event in scene.events(Kind.TROUBLE)] == ["Refused"]
    assert scene.loop.open == {}
    scene.live.refuse = ""
    await scene.head()
    assert scene.reason(FIRST) == ORDERED


async def test_an_earlier_runs_transaction_blocks_its_borrower_until_it_is_settled() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.live.earlier.add(FIRST)
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "reserved"
    assert scene.orders_for(FIRST) == 0
    scene.live.earlier.clear()
    await scene.head()
    assert scene.orders_for(FIRST) == 1


# -- reorgs ----------------------------------------------------------------------------------------------------------


async def test_a_restoration_that_is_reorged_out_is_ordered_again() -> None:
    scene = Scene()
    await under_water(scene)
    await scene.head()
    assert scene.health_wad(FIRST) >= TARGET_WAD
    scene.world.reorg(scene.tip.number - 1)
    await scene.head()
    assert [event.kind for event in scene.events(Kind.REORG)] == [Kind.REORG]
    assert scene.reason(FIRST) == ORDERED
    assert scene.orders_for(FIRST) == 2
    await scene.head()
    assert scene.health_wad(FIRST) >= TARGET_WAD


async def test_a_reorg_while_the_order_is_open_does_not_send_it_twice() -> None:
    scene = Scene()
    await under_water(scene)
    scene.world.reorg(scene.tip.number - 1)
    await scene.head(price(WETH, 1_800), include=False)
    assert scene.orders_for(FIRST) == 1
    assert scene.reason(FIRST) == ORDERED
    await scene.head()
    assert scene.orders_for(FIRST) == 1
    assert scene.health_wad(FIRST) >= TARGET_WAD


async def test_the_fall_itself_is_reorged_out() -> None:
    scene = Scene(fee_cap_wei=5)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "fee_cap"
    scene.world.reorg(scene.tip.number - 1)
    await scene.head(price(WETH, 1_990))
    await scene.head()
    assert scene.standing(FIRST) is None


# -- trust -----------------------------------------------------------------------------------------------------------


async def test_the_very_first_borrower_is_verified_before_anything_is_sent() -> None:
    scene = Scene()
    await scene.head()
    assert scene.events(Kind.MARKET_VERIFIED) == []
    await scene.head(price(WETH, 1_800), opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    assert [event.fields["checked_borrowers"] for event in scene.events(Kind.MARKET_VERIFIED)] == [1]
    assert scene.reason(FIRST) == ORDERED


async def test_a_market_that_stops_agreeing_gets_no_orders_until_it_agrees_again() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))

    def lies(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.misreports_health = not pool.misreports_health
        draft.emit(pool.address, "Changed", code=False)

    await scene.head(lies, price(WETH, 1_800))
    await scene.head()
    assert scene.orders_for(FIRST) == 0
    assert len(scene.events(Kind.MARKET_REFUSED)) == 1
    await scene.head(lies)
    assert scene.orders_for(FIRST) == 1
    assert scene.loop.refusals == {}


async def test_a_changed_threshold_counts_from_its_own_block_on() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))

    def lower(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.reserves[WETH] = replace(pool.reserves[WETH], threshold_bps=7_400, ltv_bps=7_000)
        draft.emit(pool.address, "Changed", code=False)

    await scene.head(lower)
    assert [event.fields["event"] for event in scene.events(Kind.MARKET_CHANGED)] == ["Changed"]
    assert scene.reason(FIRST) == ORDERED


async def test_an_excluded_borrower_is_left_alone() -> None:
    scene = Scene(policy=PlanPolicy(skip_borrowers=frozenset({FIRST})))
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "filtered"
