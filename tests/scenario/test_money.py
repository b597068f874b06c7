"""Who gets an order when money, gas, fees or simulations stand in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.events import Kind
from keeper.core.order import FeeQuote, Order, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.planner import PlanPolicy
from keeper.core.standing import ORDERED
from keeper.core.units import Address
from tests.scenario.scene import (
    DAI,
    LIQUIDATOR,
    USDC,
    WBTC,
    WETH,
    Scene,
    asset,
    borrower,
    entry_of,
    holds,
    opens,
    pool_address,
    price,
    toy_pool,
)
from tests.toy_world import Draft

FIRST, SECOND, THIRD = (borrower(number) for number in (1, 2, 3))


async def test_the_orders_of_one_head_share_the_money_and_the_larger_debt_comes_first() -> None:
    """Each needs about 6 429 USDC per 15 000 of debt."""
    scene = Scene(wealthy=False)
    await scene.head(
        holds(USDC, 9_000), opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 12}, {USDC: 18_000})
    )
    await scene.head(price(WETH, 1_800))
    assert (scene.reason(SECOND), scene.reason(FIRST)) == (ORDERED, "reserved")
    await scene.head()
    assert (scene.reason(SECOND), scene.reason(FIRST)) == (None, "no_inventory")
    await scene.head(holds(USDC, 9_000))
    assert scene.reason(FIRST) == ORDERED


async def test_who_needs_more_than_there_is_does_not_stand_in_the_way_of_the_others() -> None:
    scene = Scene(wealthy=False)
    await scene.head(
        holds(USDC, 7_000), opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 100}, {USDC: 150_000})
    )
    await scene.head(price(WETH, 1_800))
    assert (scene.reason(SECOND), scene.reason(FIRST)) == ("no_inventory", ORDERED)


async def test_money_that_is_on_its_way_is_not_spent_twice() -> None:
    scene = Scene(wealthy=False)
    await scene.head(holds(USDC, 9_000), opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    await scene.head(opens(SECOND, {WETH: 10}, {USDC: 15_000}), include=False)
    assert (scene.reason(FIRST), scene.reason(SECOND)) == (ORDERED, "reserved")


async def test_another_pair_serves_when_the_best_ones_asset_is_not_held() -> None:
    """Both debts would do; repaying DAI is worth the same, but only USDC is there, or only DAI."""
    for held in (USDC, DAI):
        scene = Scene(wealthy=False)
        await scene.head(holds(held, 10_000), opens(FIRST, {WETH: 10}, {USDC: 7_500, DAI: 7_500}))
        await scene.head(price(WETH, 1_800))
        (submission,) = scene.submitted
        assert set(submission.order.plan.debts_raw) == {asset(held)}


async def test_without_an_allowance_nothing_is_sent() -> None:
    scene = Scene(wealthy=False)
    await scene.head(holds(USDC, 20_000, allowed=100), opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "no_allowance"


async def test_without_gas_money_nothing_is_sent() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))

    def poor(draft: Draft) -> None:
        draft.state.tokens.native_wei[LIQUIDATOR] = 499_999 * 16

    await scene.head(poor, price(WETH, 1_800))
    standing = scene.standing(FIRST)
    assert standing is not None and standing.reason == "no_inventory" and "gas may cost 8000000 wei" in standing.detail

    def enough(draft: Draft) -> None:
        draft.state.tokens.native_wei[LIQUIDATOR] = 500_000 * 16

    await scene.head(enough)
    assert scene.reason(FIRST) == ORDERED


@pytest.mark.parametrize("missing_wei, third", [(0, ORDERED), (1, "no_inventory")])
async def test_once_simulated_an_order_holds_back_what_it_may_really_burn(missing_wei: int, third: str) -> None:
    """Admitted at its estimated gas (500,000 with the margin), simulated at less (350,000): the first leaves before the others
    are admitted, and its rest is theirs."""
    scene = Scene()
    debts = {FIRST: 17_000, SECOND: 16_000, THIRD: 15_000}
    await scene.head(*(opens(who, {WETH: debt // 1_500}, {USDC: debt}) for who, debt in debts.items()))

    def counted(draft: Draft) -> None:
        draft.state.tokens.native_wei[LIQUIDATOR] = (350_000 + 500_000 + 500_000) * 16 - missing_wei

    await scene.head(counted, price(WETH, 1_750))
    assert [scene.reason(who) for who in debts] == [ORDERED, ORDERED, third]


async def test_fees_above_the_cap_wait() -> None:
    """With room for a replacement: of 100, 90 may be bid first."""
    scene = Scene(fee_cap_wei=100)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.chain.fee_quote = FeeQuote(86, 5, 150)
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "fee_cap"
    scene.chain.fee_quote = FeeQuote(85, 5, 90)
    await scene.head()
    assert scene.reason(FIRST) == ORDERED


async def test_it_does_not_pay_with_estimated_gas() -> None:
    scene = Scene(min_profit_base=10**8 * 400)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "unprofitable"
    assert scene.simulator.simulated == []


async def test_it_does_not_pay_with_simulated_gas() -> None:
    scene = Scene(min_profit_base=10**8 * 200)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.chain.fee_quote = FeeQuote(10**11, 10**9, 2 * 10**11)
    scene.loop.desks[0].terms = replace(scene.loop.desks[0].terms, fee_cap_wei=10**12)
    scene.simulator.gas_used = 2_000_000
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "unprofitable"
    assert len(scene.simulator.simulated) == 1
    assert scene.orders_for(FIRST) == 0


async def test_the_gas_limit_leaves_room_above_what_was_simulated() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert scene.submitted[0].order.gas_limits == (350_000,)
    assert scene.submitted[0].order.offer.gas == (200_000,)


async def test_a_borrower_of_many_assets_is_simulated_with_more_gas() -> None:
    """The pool values every asset that a borrower holds: with all of a large market it burns more than a plain call may."""
    scene = Scene(min_profit_base=-(10**15))
    scene.adapters[0].estimated_gas = lambda position: 2_000_000  # type: ignore[method-assign]
    limits: list[tuple[int, ...]] = []
    simulate = scene.simulator.simulate

    async def watched(
        orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        limits.extend(order.gas_limits for order in orders)
        return await simulate(orders, block, timestamp_s, before)

    scene.simulator.simulate = watched  # type: ignore[method-assign]
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    assert limits == [(6_000_000,)]


async def test_a_head_that_is_too_old_decides_nothing() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.age_s = 61.0
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "stale_head"
    scene.age_s = 1.0
    await scene.see()
    assert scene.reason(FIRST) == ORDERED


@pytest.mark.parametrize("slow_s, reason", [(1.0, ORDERED), (61.0, "stale_head")])
async def test_a_clock_that_is_far_behind_hides_no_old_head(slow_s: float, reason: str) -> None:
    """By the time of day every block is yet to come: only the steady clock tells how long ago the head came."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.age_s = -100_000.0
    steady_s = [0.0]
    scene.loop.age.steady_s = lambda: steady_s[0]
    read = scene.chain.read

    async def slowly(calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]:
        steady_s[0] = slow_s
        return await read(calls, block)

    scene.chain.read = slowly  # type: ignore[method-assign]
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == reason


async def test_an_order_whose_window_is_over_once_it_is_simulated_does_not_leave() -> None:
    """The head is young enough to decide on; what was planned on it is not, by the time the node has answered."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    steady_s = [0.0]
    scene.loop.age.steady_s = lambda: steady_s[0]
    simulate = scene.simulator.simulate

    async def slowly(
        orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        steady_s[0] += 50.0
        return await simulate(orders, block, timestamp_s, before)

    scene.simulator.simulate = slowly  # type: ignore[method-assign]
    await scene.head(price(WETH, 1_800))
    stands = scene.standing(FIRST)
    assert stands is not None
    assert (stands.reason, stands.detail) == ("stale_head", "judging this head took 50 s")
    assert scene.submitted == []
    scene.simulator.simulate = simulate  # type: ignore[method-assign]
    await scene.head()
    assert scene.reason(FIRST) == ORDERED


# -- simulations -----------------------------------------------------------------------------------------------------


def fails_for(who: Address, error: str = "Frozen") -> object:
    def distort(order: Order, simulation: Simulation) -> Simulation | Skip:
        return Skip(Reason.SIMULATION_REVERTED, error, order.plan.verdict) if order.borrower == who else simulation

    return distort


async def test_a_simulation_that_reverts_is_told_by_its_error() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.simulator.distort = fails_for(FIRST)  # type: ignore[assignment]
    await scene.head(price(WETH, 1_800))
    standing = scene.standing(FIRST)
    assert standing is not None and (standing.reason, standing.detail) == ("simulation_reverted", "Frozen")
    await scene.head()
    scene.simulator.distort = fails_for(FIRST, "Melted")  # type: ignore[assignment]
    await scene.head()
    assert scene.story(FIRST) == ["seen", "refused", "refused"], "another error is another reason, the same one is not"


@pytest.mark.parametrize("wrong", ["amount", "health", "nothing"])
async def test_a_simulation_that_disagrees_with_our_arithmetic_is_not_sent(wrong: str) -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))

    def distort(order: Order, simulation: Simulation) -> Simulation:
        if wrong == "health":
            return replace(simulation, health_factor_after_wad=simulation.health_factor_after_wad - 1)
        (call,) = simulation.calls
        events = tuple(replace(event, received_raw=event.received_raw - 1) for event in call.liquidations)
        return replace(simulation, calls=(replace(call, liquidations=events if wrong == "amount" else ()),))

    scene.simulator.distort = distort
    await scene.head(price(WETH, 1_800))
    assert scene.reason(FIRST) == "market_unverified"
    assert scene.orders_for(FIRST) == 0


async def test_a_row_that_the_simulation_contradicts_is_read_again() -> None:
    """It was wrong, so nothing is liquidated before the book is proven."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))

    def unseen(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(0)]
        pool.rows[FIRST] = replace(pool.rows[FIRST], debt_scaled={USDC: 15_100 * 10**6})

    await scene.head(unseen, price(WETH, 1_800))
    assert (scene.reason(FIRST), scene.orders_for(FIRST)) == ("market_unverified", 0)
    await scene.head()
    assert [(event.borrower, event.fields["what"]) for event in scene.events(Kind.MISMATCH)] == [(FIRST, "debt_scaled")]
    assert (scene.reason(FIRST), scene.orders_for(FIRST)) == ("market_unverified", 0)
    await scene.head()
    assert (scene.reason(FIRST), scene.orders_for(FIRST)) == (ORDERED, 1)


async def test_an_order_that_always_fails_does_not_keep_the_money_from_the_others() -> None:
    """The largest debt is served first; but not first again after its order came to nothing."""
    scene = Scene(wealthy=False)
    await scene.head(
        holds(USDC, 9_000), opens(FIRST, {WETH: 12}, {USDC: 18_000}), opens(SECOND, {WETH: 10}, {USDC: 15_000})
    )
    scene.simulator.distort = fails_for(FIRST)  # type: ignore[assignment]
    await scene.head(price(WETH, 1_800))
    assert (scene.reason(FIRST), scene.reason(SECOND)) == ("simulation_reverted", ORDERED)
    await scene.head(holds(USDC, 16_000), opens(THIRD, {WETH: 10}, {USDC: 15_000}))
    assert (scene.reason(FIRST), scene.reason(THIRD)) == ("reserved", ORDERED)


async def test_two_borrowers_that_look_alike_at_first_are_told_apart() -> None:
    alike = [Address(b"\xb0\xb0\xb0\xb0" + bytes([number]) * 16) for number in range(4)]
    scene = Scene()
    await scene.head(*(opens(who, {WETH: 10}, {USDC: 15_000}) for who in alike))
    await scene.head(price(WETH, 1_800))
    names = [submission.order.attempt for submission in scene.submitted]
    assert len(names) == len(set(names)) == 4
    await scene.head()
    assert [scene.reason(who) for who in alike] == [None] * 4


async def test_an_allowance_is_the_market_s_own() -> None:
    """What is promised to one market's pool leaves the allowance of another's untouched."""
    scene = Scene(pools=[toy_pool(0), toy_pool(1)], wealthy=False)
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 10}, {USDC: 15_000}, market=1))
    await scene.head(holds(USDC, 100_000, allowed=12_000), holds(USDC, 100_000, allowed=12_000, market=1))
    await scene.head(price(WETH, 1_800), price(WETH, 1_800, market=1))
    needed = [submission.order.plan.debts_raw[asset(USDC)] for submission in scene.submitted]
    assert len(needed) == 2
    assert sum(needed) > 12_000 * 10**6


async def test_one_borrower_in_two_markets_has_an_attempt_in_each() -> None:
    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(FIRST, {WETH: 20}, {USDC: 30_000}, market=1))
    await scene.head(price(WETH, 1_800), price(WETH, 1_800, market=1))
    assert {submission.order.plan.market for submission in scene.submitted} == {entry_of(0), entry_of(1)}
    assert len({submission.order.attempt for submission in scene.submitted}) == 2
    await scene.head()
    assert (scene.standing(FIRST), scene.standing(FIRST, market=1)) == (None, None)


async def test_plans_below_the_minimum_are_left_alone() -> None:
    scene = Scene(policy=PlanPolicy(minimum_repay_base=10**8 * 7_000))
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WBTC: 1}, {USDC: 39_000}))
    await scene.head(price(WETH, 1_800), price(WBTC, 45_000))
    assert (scene.reason(FIRST), scene.reason(SECOND)) == ("below_minimum", ORDERED)


async def test_a_share_of_the_profit_is_bid_as_priority_and_the_least_profit_is_left() -> None:
    fees, least_base = FeeQuote(100, 1, 127), 10
    sent = []
    for share_bps in (0, 5_000):
        scene = Scene(priority_share_bps=share_bps, min_profit_base=least_base)
        await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
        scene.chain.fee_quote = fees
        await scene.head(price(WETH, 1_800))
        [event] = scene.events(Kind.SENT)
        sent.append(event.fields)
    plain, sharing = sent
    assert (plain["priority_fee_wei"], plain["max_fee_wei"]) == (1, 127)
    extra = int(str(sharing["priority_fee_wei"])) - 1
    assert extra > 0
    assert sharing["max_fee_wei"] == 127 + extra
    net_base = [int(str(fields["expected_net_base"])) for fields in sent]
    assert net_base[1] >= net_base[0] - (net_base[0] - least_base) // 2 >= least_base
