"""What each objective picks out, and why it picks nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from keeper.core.executor import MOST_SWAPS, Loan, LoanSource
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.selling.deal import Dealt, Terms, dealt, wishes_of
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.objective import MaxProfit, Restore, Solvency, choose, choose_plan
from keeper.core.selling.order import executor_plan
from keeper.core.swap import Route, Selling
from keeper.core.units import UINT256_MAX, Address
from tests.routes.states import Drawn, draw

MARKET, TOKEN = Address(b"\x51" * 20), Address(b"\x52" * 20)


def drawn(
    seed: str, wanted: type[Dealt] | Reason, objective: Restore | MaxProfit | Solvency
) -> tuple[Drawn, Dealt | Skip]:
    """A market in which the objective comes to what the test is about."""
    rng = random.Random(seed)
    while True:
        one = draw(rng)
        found = choose(objective, one.planner(), one.position, one.terms)
        if (found.reason if isinstance(found, Skip) else type(found)) == wanted:
            return one, found


def with_gas(terms: Terms, fee_wei: int) -> Terms:
    return replace(terms, costs=replace(terms.costs, fee_per_gas_wei=fee_wei))


@pytest.mark.parametrize("seed", range(12))
def test_restore_takes_the_least_and_never_a_loss(seed: int) -> None:
    one, found = drawn(f"restore {seed}", Dealt, Restore())
    assert isinstance(found, Dealt)
    plans = one.planner().plan(one.position)
    assert not isinstance(plans, Skip)
    assert found.plan in plans and found.net_base >= 0
    for earlier in plans[: plans.index(found.plan)]:
        lesser = choose_plan(Restore(-UINT256_MAX), [earlier], one.terms)
        assert isinstance(lesser, Skip) or lesser.net_base < 0, "a plan that is better for the borrower pays too"


def test_restore_refuses_a_loss_with_its_figures() -> None:
    one, found = drawn("refused", Reason.UNPROFITABLE, Restore())
    assert isinstance(found, Skip) and "repaid" in found.detail and found.verdict is not None
    plans = one.planner().plan(one.position)
    assert not isinstance(plans, Skip)
    everything = choose_plan(Restore(-UINT256_MAX), plans, one.terms)
    assert isinstance(everything, Dealt) and everything.net_base < 0


def test_solvency_restores_at_a_loss_within_what_is_left_of_the_day() -> None:
    one, refused = drawn("solvency", Reason.UNPROFITABLE, Restore())
    assert isinstance(refused, Skip)
    loss = choose(Solvency(UINT256_MAX), one.planner(), one.position, one.terms)
    assert isinstance(loss, Dealt) and loss.net_base < 0
    assert loss.plan.verdict in (Verdict.REACHES_TARGET, Verdict.REACHES_SAFETY, Verdict.IMPROVES)
    exact = choose(Solvency(-loss.net_base), one.planner(), one.position, one.terms)
    assert exact == loss
    less = choose(Solvency(-loss.net_base - 1), one.planner(), one.position, one.terms)
    assert isinstance(less, Skip) and less.reason is Reason.UNPROFITABLE
    # What pays is taken first, whatever may be lost.
    paying, found = drawn("paying", Dealt, Restore())
    assert choose(Solvency(UINT256_MAX), paying.planner(), paying.position, paying.terms) == found


@pytest.mark.parametrize("seed", range(8))
def test_max_profit_earns_no_less_than_restoring(seed: int) -> None:
    one, restored = drawn(f"more {seed}", Dealt, Restore())
    most = choose(MaxProfit(), one.planner(), one.position, one.terms)
    assert isinstance(most, Dealt) and isinstance(restored, Dealt)
    if len(restored.plan.calls) == 1:
        assert most.net_base * 1_000 >= restored.net_base * 999
    assert len(most.plan.calls) == 1


def test_without_pools_there_is_no_route_but_collateral_can_be_held() -> None:
    one, _ = drawn("held", Dealt, Restore())
    bare = replace(one.terms, exchange=Exchange(()))
    for objective in (Restore(), MaxProfit()):
        found = choose(objective, one.planner(), one.position, bare)
        assert isinstance(found, Skip) and found.reason is Reason.NO_ROUTE
        held = choose(objective, one.planner(), one.position, replace(bare, selling=Selling.HOLD))
        assert isinstance(held, Dealt)
        for deal in held.deals:
            assert deal.earnings.slippage_raw == 0 and deal.earnings.premium_raw == 0
            assert all(route.selling.needs_inventory and not route.steps for route in deal.routes)


def test_gas_decides_whether_it_pays() -> None:
    one, found = drawn("gas", Dealt, MaxProfit())
    assert isinstance(found, Dealt)
    dear = choose(MaxProfit(), one.planner(), one.position, with_gas(one.terms, 10**15))
    assert isinstance(dear, Skip) and dear.reason is Reason.UNPROFITABLE
    assert " raw of 0x" in dear.detail and " base, the least is " in dear.detail
    cheap = choose(MaxProfit(), one.planner(), one.position, with_gas(one.terms, 1))
    assert isinstance(cheap, Dealt) and cheap.net_base > found.net_base


def test_a_missing_price_is_a_reason() -> None:
    one, found = drawn("priceless", Dealt, Restore())
    assert isinstance(found, Dealt)
    without = replace(one.terms, prices={})
    for objective in (Restore(), MaxProfit()):
        skipped = choose(objective, one.planner(), one.position, without)
        assert isinstance(skipped, Skip) and skipped.reason is Reason.UNPRICEABLE


def test_the_next_order_of_a_head_meets_the_pools_as_the_one_before_leaves_them() -> None:
    one, found = drawn("next", Dealt, Restore())
    assert isinstance(found, Dealt)
    again = choose_plan(Restore(-UINT256_MAX), [found.plan], replace(one.terms, exchange=found.exchange))
    if isinstance(again, Dealt):
        assert again.deals[0].earnings.proceeds_raw < found.deals[0].earnings.proceeds_raw
    else:
        assert again.reason is Reason.NO_ROUTE


def test_only_the_last_call_is_asked_for_a_health() -> None:
    rng = random.Random("several calls")
    while True:
        one = draw(rng)
        plans = one.planner().plan(one.position)
        if isinstance(plans, Skip) or len(plans[0].calls) < 2:
            continue
        found = choose_plan(Restore(-UINT256_MAX), plans[:1], one.terms)
        if isinstance(found, Dealt) and len(found.deals[0].calls) > 1:
            break
    deal = found.deals[0]
    loan = Loan(LoanSource.MORPHO, MARKET)
    made = executor_plan(deal, one.position, MARKET, TOKEN, loan, 5, least_net_raw=9, target_wad=7)
    assert [step.target_wad for step in made.liquidations] == [0] * (len(deal.calls) - 1) + [7]
    assert made.least_gain_raw == deal.earnings.gas_raw + 9
    assert made.needed_raw == deal.borrowed_raw


def test_a_route_of_another_venue_takes_the_place_of_the_pools() -> None:
    one, found = drawn("quoted", Dealt, Restore())
    assert isinstance(found, Dealt)
    bare = replace(one.terms, exchange=Exchange(()))
    wishes = wishes_of(found.plan, bare)
    assert [wish.token_in for wish in wishes] == [route.token_in for deal in found.deals for route in deal.routes]
    quoted = {}
    for wish in wishes:
        assert wish.least_out_raw <= wish.oracle_out_raw
        quoted[wish.token_in, wish.token_out] = Route(
            "kyber", wish.token_in, wish.token_out, wish.most_in_raw, wish.oracle_out_raw, 5, wish.most_in_raw, (), 7
        )
    made = dealt(found.plan, bare, quoted)
    assert isinstance(made, Dealt)
    assert {route.venue for deal in made.deals for route in deal.routes} == {"kyber"}
    assert sum(deal.earnings.slippage_raw for deal in made.deals) == 0
    # A route for less than what comes in leaves the rest with us; one for more could not be paid.
    wish = wishes[0]
    more = replace(quoted[wish.token_in, wish.token_out], amount_in_raw=wish.most_in_raw + 1)
    refused = dealt(found.plan, bare, quoted | {(wish.token_in, wish.token_out): more})
    assert isinstance(refused, Skip) and refused.reason is Reason.NO_ROUTE


def test_several_collaterals_of_one_transaction_fit_into_it() -> None:
    rng = random.Random("several collaterals")
    while True:
        one = draw(rng)
        plans = one.planner().plan(one.position)
        if isinstance(plans, Skip) or len({call.pair.collateral_asset for call in plans[0].calls}) < 2:
            continue
        assets = [call.pair.collateral_asset for call in plans[0].calls]
        # As if routes of the first collateral led through the second.
        through = (assets[-1], *one.terms.exchange.through)
        terms = replace(one.terms, exchange=replace(one.terms.exchange, through=through))
        found = choose_plan(Restore(-UINT256_MAX), plans[:1], terms)
        if isinstance(found, Dealt) and len(found.deals[0].routes) > 1:
            break
    deal = found.deals[0]
    assert deal.routes[0].token_in == assets[-1]
    assert sum(len(route.steps) for route in deal.routes) <= MOST_SWAPS
    pools = [step.venue for route in deal.routes for step in route.steps]
    again = choose_plan(Restore(-UINT256_MAX), plans[:1], terms)
    assert again == found, "the same arguments give the same answer"
    assert len(pools) >= 2 and deal.earnings.proceeds_raw == sum(route.amount_out_raw for route in deal.routes)
