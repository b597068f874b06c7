"""A crash: who comes first, how many at once, and what is asked of the node before the first order leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from keeper.core.block import BlockRef
from keeper.core.order import Order, Outcome, Simulation, Submission
from keeper.core.outcome import Skip
from keeper.core.standing import ORDERED
from keeper.core.units import Address
from keeper.pipeline import attempts, market
from tests.scenario.scene import DAI, USDC, WBTC, WETH, Scene, borrower, opens, price, toy_pool
from tests.toy_arithmetic import ToyRules

MANY = 30
LARGE_TO_SMALL = [borrower(number) for number in range(MANY, 0, -1)]


async def crashed(scene: Scene) -> None:
    """`MANY` borrowers fall, each a little larger than the one before; two of a size are told apart by their address."""
    await scene.head(
        *(opens(borrower(number), {WETH: 10 + number}, {USDC: 1_500 * (10 + number)}) for number in range(1, MANY + 1))
    )
    await scene.head(price(WETH, 1_800))


def ordered(scene: Scene) -> list[Address]:
    return [submission.order.borrower for submission in scene.submitted]


async def test_the_largest_debt_goes_first_in_a_first_wave_of_one() -> None:
    scene = Scene()
    await crashed(scene)
    assert ordered(scene) == LARGE_TO_SMALL
    assert [len(wave) for wave in scene.simulator.simulated] == [1, 4, 16, 9]


async def test_no_order_waits_for_the_book_to_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving a large one takes a second."""
    monkeypatch.setattr(market, "CHECKPOINT_EVERY_BLOCKS", 1)
    scene = Scene()
    await scene.head(opens(borrower(1), {WETH: 10}, {USDC: 15_000}))
    scene.faults.seen.clear()
    await scene.head(price(WETH, 1_800))
    seen = scene.faults.seen
    assert seen.count("save") == 1 and seen.index("submit") < seen.index("save")


async def test_of_equal_debts_the_lower_address_goes_first() -> None:
    scene = Scene()
    alike = [borrower(number) for number in (3, 1, 2)]
    await scene.head(*(opens(who, {WETH: 10}, {USDC: 15_000}) for who in alike))
    await scene.head(price(WETH, 1_800))
    assert ordered(scene) == sorted(alike)


async def test_a_wave_is_simulated_on_top_of_what_left_before_it() -> None:
    scene = Scene()
    simulate, beneath = scene.simulator.simulate, []

    async def watched(
        orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        beneath.append([order.borrower for order in before])
        return await simulate(orders, block, timestamp_s, before)

    scene.simulator.simulate = watched  # type: ignore[method-assign]
    await crashed(scene)
    assert beneath == [LARGE_TO_SMALL[:count] for count in (0, 1, 5, 21)]


async def test_no_more_is_on_its_way_than_may_be_and_the_others_wait_with_a_reason() -> None:
    scene = Scene()
    scene.live.most = 7
    await crashed(scene)
    assert ordered(scene) == LARGE_TO_SMALL[:7]
    waiting = [scene.standing(who) for who in LARGE_TO_SMALL[7:]]
    assert all(
        stands is not None and stands.reason == "reserved" and "on their way" in stands.detail for stands in waiting
    )
    for _ in range(5):
        await scene.head()
    assert ordered(scene) == LARGE_TO_SMALL
    assert all(scene.standing(who) is None for who in LARGE_TO_SMALL)


async def test_whom_one_call_restores_goes_before_whoever_needs_two() -> None:
    scene = Scene(pools=[toy_pool(rules=ToyRules(close_factor_bps=5_000))])
    two_calls, one_call = borrower(1), borrower(2)
    await scene.head(
        opens(two_calls, {WETH: 4, WBTC: 0.1}, {USDC: 5_000, DAI: 5_000}), opens(one_call, {WETH: 1}, {USDC: 1_340})
    )
    await scene.head(price(WETH, 1_650))
    assert ordered(scene) == [one_call, two_calls]
    assert [len(submission.order.calls) for submission in scene.submitted] == [1, 2]


async def test_a_sequence_that_would_exceed_what_may_be_on_its_way_waits() -> None:
    scene = Scene(pools=[toy_pool(rules=ToyRules(close_factor_bps=5_000))])
    two_calls, one_call = borrower(1), borrower(2)
    await scene.head(
        opens(two_calls, {WETH: 4, WBTC: 0.1}, {USDC: 5_000, DAI: 5_000}), opens(one_call, {WETH: 1}, {USDC: 1_340})
    )
    scene.live.most = 2
    await scene.head(price(WETH, 1_650))
    assert ordered(scene) == [one_call]
    assert scene.reason(two_calls) == "reserved"
    await scene.head()
    assert ordered(scene) == [one_call, two_calls]
    assert len(scene.world.mempool) == 2


async def test_between_a_head_and_its_first_order_the_node_is_asked_twice() -> None:
    """All that deciding and signing need is asked beside the head's state; then comes the simulation."""
    scene = Scene()
    await scene.head(opens(borrower(1), {WETH: 10}, {USDC: 15_000}))
    seen = len(scene.faults.seen)
    await scene.head(price(WETH, 1_800))
    asked = [name for name in scene.faults.seen[seen:] if name not in ("record", "record_standing", "save")]
    first, second = asked.index("simulate"), asked.index("submit")
    assert sorted(asked[1:first]) == ["fees", "gas_money", "logs", "prepare", "read", "spendable"]
    assert asked[0] == "extend"
    assert asked[first + 1 : second] == []


async def test_what_became_of_earlier_orders_is_asked_only_after_new_ones_left() -> None:
    scene = Scene()
    await scene.head(opens(borrower(1), {WETH: 10}, {USDC: 15_000}), opens(borrower(2), {WBTC: 1}, {DAI: 34_000}))
    await scene.head(price(WETH, 1_800))
    seen = len(scene.faults.seen)
    await scene.head(price(WBTC, 42_000))
    asked = scene.faults.seen[seen:]
    assert asked.index("submit") < asked.index("follow_up") < asked.index("settle")
    assert scene.standing(borrower(1)) is None
    assert scene.reason(borrower(2)) == ORDERED


async def test_outcomes_that_cannot_be_read_in_time_keep_no_head_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SETTLE_S", 0.01)
    scene = Scene()
    await scene.head(opens(borrower(1), {WETH: 10}, {USDC: 15_000}), opens(borrower(2), {WBTC: 1}, {DAI: 34_000}))
    await scene.head(price(WETH, 1_800))
    settle, never = scene.live.settle, asyncio.Event()

    async def stuck(submission: Submission, head: BlockRef) -> Outcome | None:
        await never.wait()
        return None

    scene.live.settle = stuck  # type: ignore[method-assign]
    await scene.head(price(WBTC, 42_000))
    assert scene.reason(borrower(2)) == ORDERED
    scene.live.settle = settle  # type: ignore[method-assign]
    result = await scene.head()
    assert {outcome.borrower for outcome in result.settled} == {borrower(1), borrower(2)}


async def test_an_outcome_that_hangs_keeps_none_of_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SETTLE_S", 0.01)
    scene = Scene()
    await scene.head(opens(borrower(1), {WETH: 10}, {USDC: 15_000}), opens(borrower(2), {WETH: 9}, {USDC: 13_500}))
    await scene.head(price(WETH, 1_800))
    first = next(iter(scene.loop.open))[1]
    settle, never = scene.live.settle, asyncio.Event()

    async def stuck(submission: Submission, head: BlockRef) -> Outcome | None:
        if submission.order.borrower == first:
            await never.wait()
        return await settle(submission, head)

    scene.live.settle = stuck  # type: ignore[method-assign]
    settled: list[Address] = []
    for _ in range(6):  # the time allowed is short, and doubles: a busy machine may need some heads
        settled = settled or [outcome.borrower for outcome in (await scene.head()).settled]
    assert settled == [who for who in (borrower(1), borrower(2)) if who != first]
