"""What the executor is for, on the real contracts: every lender, every kind of swap, several borrowers, nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.executor import ExecutorPlan
from keeper.core.swap import ALL_RAW, StepKind
from keeper.core.units import WAD, Address
from tests.contracts.deals import INVENTORY, KINDS, LEAST_GAIN_RAW, SOURCES, liquidation, loan, plan, swap
from tests.contracts.world import COVER_RAW, OPERATOR, OWNER, RECIPIENT, World, refusal, started_world

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOST_RACE_GAS = 70_000


async def health_wad(world: World, borrower: Address) -> int:
    return int((await world.bed.pool("getUserAccountData", borrower))[5])


async def assert_nothing_allowed(world: World) -> None:
    venues = [world.market, world.morpho.address, world.pool, world.other_pool, world.pair, world.uniswap.router]
    for venue in venues:
        for token in (world.usdc, world.weth):
            assert await world.allowance_raw(token, venue) == 0


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("source", SOURCES)
async def test_borrowed_money_liquidates_and_only_the_profit_stays(world: World, source: str, count: int) -> None:
    before = {borrower: await health_wad(world, borrower) for borrower in world.borrowers[:count]}
    await world.execute(await plan(world, count, source))
    for borrower, health in before.items():
        assert await health_wad(world, borrower) > health
    assert await world.balance_raw(world.usdc) >= count * LEAST_GAIN_RAW
    assert await world.balance_raw(world.weth) == 0
    await assert_nothing_allowed(world)


async def test_the_older_market_is_liquidated_alike() -> None:
    async with started_world("3.0.2") as old:
        for source, borrower in zip(SOURCES, old.borrowers, strict=False):
            step = await liquidation(old, borrower)
            await old.execute(await plan(old, 1, source, liquidations=(step,)))
            assert await old.balance_raw(old.weth) == 0
            await assert_nothing_allowed(old)
        assert await old.balance_raw(old.usdc) >= len(SOURCES) * LEAST_GAIN_RAW


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_swap_pays_for_the_loan(world: World, kind: StepKind) -> None:
    await world.execute(await plan(world, swaps=(swap(world, kind),), least_gain_raw=COVER_RAW // 50))
    assert await world.balance_raw(world.usdc) >= COVER_RAW // 50
    await assert_nothing_allowed(world)


async def test_a_pool_does_not_lend_and_swap_at_once(world: World) -> None:
    lent = replace(loan(world, "pool"), lender=world.pool)
    assert await refusal(world.execute(await plan(world, loan=lent))) == "LOK"


async def test_a_route_of_two_venues_sells_part_in_each(world: World) -> None:
    first = swap(world, amount_raw=WAD, limit_raw=1_880 * 10**6)
    rest = swap(world, StepKind.PAIR_V2, limit_raw=8_450 * 10**6)
    await world.execute(await plan(world, swaps=(first, rest), least_gain_raw=0))
    assert await world.balance_raw(world.weth) == 0


async def test_the_inventory_buys_and_is_bought_back(world: World) -> None:
    await world.give(world.usdc, COVER_RAW)
    await world.execute(await plan(world, source="inventory"))
    assert await world.balance_raw(world.usdc) >= COVER_RAW + LEAST_GAIN_RAW
    await assert_nothing_allowed(world)


async def test_collateral_may_be_kept_as_a_token(world: World) -> None:
    await world.give(world.usdc, COVER_RAW)
    await world.send(OWNER, "set_loss_left", world.usdc, COVER_RAW)
    step = await liquidation(world, world.borrowers[0], receive_a_token=True)
    deal = await plan(world, loan=INVENTORY, liquidations=(step,), swaps=(), least_gain_raw=-COVER_RAW)
    await world.execute(deal)
    assert await world.balance_raw(world.bed.asset("WETH").a_token) > 0
    assert await world.see("loss_left", world.usdc) == 0


async def test_the_owner_withdraws_all_or_some_to_the_recipient(world: World) -> None:
    await world.give(world.usdc, 100)
    await world.send(OWNER, "withdraw", world.usdc, 30)
    assert (await world.balance_raw(world.usdc), await world.balance_raw(world.usdc, RECIPIENT)) == (70, 30)
    await world.send(OWNER, "withdraw", world.usdc, ALL_RAW)
    assert (await world.balance_raw(world.usdc), await world.balance_raw(world.usdc, RECIPIENT)) == (0, 100)


async def race_lost(world: World, deal: ExecutorPlan, count: int) -> None:
    """Somebody else liquidates the first borrowers before us."""
    rival = world.uniswap.position_manager
    await world.bed.chain.fund([rival])
    await world.give(world.usdc, count * COVER_RAW, rival)
    await world.bed.chain.transact(
        world.bed.call_tx(rival, world.usdc, "Token", "approve", world.market, count * COVER_RAW)
    )
    for step in deal.liquidations[:count]:
        call = (world.weth, world.usdc, step.borrower, COVER_RAW, False)
        await world.bed.chain.transact(world.bed.pool_tx(rival, "liquidationCall", *call))


async def test_a_lost_race_is_cheap(world: World) -> None:
    deal = await plan(world)
    await race_lost(world, deal, 1)
    assert await refusal(world.execute(deal)) == "lost"
    block = await world.bed.chain.rpc.request("eth_getBlockByNumber", ["latest", False])
    assert int(block["gasUsed"], 16) <= LOST_RACE_GAS


async def test_who_was_served_by_others_is_left_out(world: World) -> None:
    deal = await plan(world, 3)
    await race_lost(world, deal, 1)
    await world.execute(replace(deal, least_gain_raw=2 * LEAST_GAIN_RAW))
    after = [await world.scaled_debt(step.borrower) for step in deal.liquidations]
    assert all(left < step.debt_scaled for left, step in zip(after, deal.liquidations, strict=True))
    assert await world.balance_raw(world.usdc) < 3 * LEAST_GAIN_RAW * 2


async def test_of_less_than_planned_the_least_is_in_proportion(world: World) -> None:
    """Sold is what came in of two borrowers' ether; one was left out."""
    deal = await plan(world, 2)
    await race_lost(world, deal, 1)
    ether_raw = 11 * WAD  # at 1,900 dollars, and five percent more than what is repaid
    fair = swap(world, amount_raw=ether_raw, limit_raw=11 * 1_890 * 10**6)
    greedy = swap(world, amount_raw=ether_raw, limit_raw=11 * 1_910 * 10**6)
    deal = replace(deal, least_gain_raw=0)
    assert await refusal(world.execute(replace(deal, swaps=(greedy,)))) == "slippage"
    await world.execute(replace(deal, swaps=(fair,)))
    assert await world.balance_raw(world.usdc) >= LEAST_GAIN_RAW


async def test_health_must_reach_the_target_if_one_is_given(world: World) -> None:
    borrower = world.borrowers[0]
    before = await health_wad(world, borrower)
    for target_wad, reached in ((2 * WAD, False), (before + 1, True)):
        step = await liquidation(world, borrower, target_wad=target_wad)
        attempt = world.execute(await plan(world, liquidations=(step,)))
        if reached:
            await attempt
        else:
            assert await refusal(attempt) == "health"
    assert await health_wad(world, borrower) > before


async def test_a_new_operator_takes_over_from_the_old_one(world: World) -> None:
    successor = RECIPIENT
    await world.send(OWNER, "set_operator", successor, True)
    await world.send(OWNER, "set_operator", OPERATOR, False)
    assert await refusal(world.execute(await plan(world))) == "operator"
    await world.execute(await plan(world), successor)
    assert await world.balance_raw(world.usdc) >= LEAST_GAIN_RAW


@pytest.mark.parametrize("source", [*SOURCES, "inventory"])
@pytest.mark.parametrize("kind", [StepKind.POOL_V3, StepKind.PAIR_V2, StepKind.ROUTER])
async def test_tokens_that_answer_nothing_and_insist_on_allowances_of_zero(
    world: World, source: str, kind: StepKind
) -> None:
    for token in (world.usdc, world.weth):
        await world.corrupt(token)
        await world.tell(token, "beSilent")
        await world.tell(token, "beStrict")
    await world.give(world.usdc, COVER_RAW)
    await world.execute(await plan(world, loan=loan(world, source), swaps=(swap(world, kind),), least_gain_raw=0))
    await world.send(OWNER, "withdraw", world.usdc, ALL_RAW)
    assert await world.balance_raw(world.usdc, RECIPIENT) > COVER_RAW
    await assert_nothing_allowed(world)
