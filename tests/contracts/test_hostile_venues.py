"""Hostile lenders, markets, pools, pairs and routers that the owner allowed: nothing is taken but what they were given."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode

from keeper.core.executor import ExecutorPlan, ExecutorRole, Loan, LoanSource
from keeper.core.swap import StepKind
from keeper.core.units import WAD, Address
from tests.contracts.deals import INVENTORY_RAW, SOURCES, liquidation, loan, loan_params, plan, stocked, swap
from tests.contracts.world import (
    COVER_RAW,
    STRANGER,
    World,
    refusal,
    selector,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
MORPHO_LENDS = "flashLoan(address,uint256,bytes)"
POOL_LENDS = "flash(address,uint256,uint256,bytes)"
MARKET_LENDS = "flashLoanSimple(address,address,uint256,bytes,uint16)"
LIQUIDATES = "liquidationCall(address,address,address,uint256,bool)"
POOL_SWAPS = "swap(address,bool,int256,uint160,bytes)"
PAIR_SWAPS = "swap(uint256,uint256,address,bytes)"
LIQUIDATION = ("address", "address", "address", "uint256", "uint256", "bool", "uint256")
SWAP = ("uint256", "address", "address", "address", "uint256", "uint256", "bool", "uint256")
SAYS_PAID = encode(["int256", "int256"], [-(10**30), -(10**30)])

# -- a hostile lender ---------------------------------------------------------------------------------------------------


async def lent_by(world: World, lender: Address, **changes: Any) -> ExecutorPlan:
    await world.allow(lender, int(ExecutorRole.MORPHO))
    await world.give(world.usdc, 10 * COVER_RAW, lender)
    return await plan(world, loan=Loan(LoanSource.MORPHO, lender), **changes)


async def test_a_lender_that_does_not_lend(world: World) -> None:
    assert await refusal(world.execute(await lent_by(world, await world.puppet([]), least_gain_raw=0))) == "callback"


async def test_a_lender_that_hands_back_orders_of_its_own(world: World) -> None:
    """Ours would have us let it take all ether."""
    await stocked(world)
    lender = await world.puppet([])
    deal = await lent_by(world, lender, least_gain_raw=0)
    step = (world.weth, STRANGER, world.weth, 0, INVENTORY_RAW, False, 0)
    types = ["address", "address", "uint256", f"({','.join(LIQUIDATION)})[]", f"({','.join(SWAP)})[]", "bytes"]
    forged = encode(types, (lender, world.weth, INVENTORY_RAW, [step], [], b""))
    take = world.token_call("transferFrom", world.executor, lender, INVENTORY_RAW)
    lessons = [(MORPHO_LENDS, world.executor, world.own_call("onMorphoFlashLoan", COVER_RAW, forged))]
    await world.teach(lender, [*lessons, (LIQUIDATES, world.weth, take)])
    assert await refusal(world.execute(deal)) == "params"
    assert await world.balance_raw(world.weth) == INVENTORY_RAW


async def calling_back(world: World, times: int, **changes: Any) -> tuple[ExecutorPlan, Address]:
    """A lender that lends, calls back so often, and does not take its money back."""
    lender = await world.puppet([])
    deal = await lent_by(world, lender, **changes)
    pay = (MORPHO_LENDS, world.usdc, world.token_call("transfer", world.executor, COVER_RAW))
    back = world.own_call("onMorphoFlashLoan", COVER_RAW, loan_params(world, deal))
    await world.teach(lender, [pay, (MORPHO_LENDS, world.executor, back)] * times)
    return deal, lender


async def test_a_lender_that_calls_back_twice(world: World) -> None:
    deal, _ = await calling_back(world, 2)
    assert await refusal(world.execute(deal)) == "lender"


async def test_what_a_lender_did_not_take_back_it_cannot_take_later(world: World) -> None:
    deal, lender = await calling_back(world, 1)
    await world.execute(deal)
    assert await world.balance_raw(world.usdc) >= COVER_RAW
    assert await world.allowance_raw(world.usdc, lender) == 0


async def test_a_lender_that_calls_back_as_another_one_would(world: World) -> None:
    """As the market: which may then take far more than it lent, until we are done."""
    lender = await world.puppet([])
    deal = await lent_by(world, lender)
    pay = (MORPHO_LENDS, world.usdc, world.token_call("transfer", world.executor, COVER_RAW))
    params = loan_params(world, deal)
    back = world.own_call("executeOperation", world.usdc, COVER_RAW, 10**30, world.executor, params)
    await world.teach(lender, [pay, (MORPHO_LENDS, world.executor, back)])
    await world.execute(deal)
    assert await world.allowance_raw(world.usdc, world.market) == 0


async def test_a_lender_that_asks_for_more_than_it_lent(world: World) -> None:
    await stocked(world)
    lender = await world.puppet([])
    await world.allow(lender, int(ExecutorRole.POOL_V3))
    await world.give(world.usdc, COVER_RAW, lender)
    deal = await plan(world, loan=Loan(LoanSource.POOL_V3, lender))
    pay = (POOL_LENDS, world.usdc, world.token_call("transfer", world.executor, COVER_RAW))
    back = world.own_call("uniswapV3FlashCallback", 2 * COVER_RAW, 0, loan_params(world, deal))
    await world.teach(lender, [pay, (POOL_LENDS, world.executor, back)])
    assert await refusal(world.execute(deal)) == "gain"


async def test_a_lender_that_hands_over_too_little(world: World) -> None:
    lender = await world.puppet([])
    deal = await lent_by(world, lender)
    back = world.own_call("onMorphoFlashLoan", COVER_RAW, loan_params(world, deal))
    await world.teach(lender, [(MORPHO_LENDS, world.executor, back)])
    assert await refusal(world.execute(deal))
    assert await world.balance_raw(world.usdc) == 0


@pytest.mark.parametrize("source", SOURCES)
async def test_a_market_that_only_takes(world: World, source: str) -> None:
    """It liquidates nobody, and takes what it was allowed to."""
    await stocked(world)
    thief = await world.puppet([])
    await world.allow(thief, int(ExecutorRole.MARKET))
    step = await liquidation(world, world.borrowers[0])
    take = world.token_call("transferFrom", world.executor, thief, COVER_RAW)
    own_loan = Loan(LoanSource.MARKET, thief) if source == "market" else loan(world, source)
    deal = await plan(world, market=thief, loan=own_loan, liquidations=(step,), swaps=(), least_gain_raw=0)
    if source == "market":
        back = world.own_call("executeOperation", world.usdc, COVER_RAW, 0, world.executor, loan_params(world, deal))
        await world.teach(thief, [(MARKET_LENDS, world.executor, back)])
    await world.teach(thief, [(LIQUIDATES, world.usdc, take)])
    assert await refusal(world.execute(deal)) == "gain"


# -- hostile venues -----------------------------------------------------------------------------------------------------


async def sold_to(world: World, role: ExecutorRole, kind: StepKind, lessons: list[tuple[str, str, bytes]]) -> str:
    """Why all was refused, after a puppet was to swap; it can afford what it gives."""
    await stocked(world)
    signature = {StepKind.PAIR_V2: PAIR_SWAPS, StepKind.ROUTER: "route()"}.get(kind, POOL_SWAPS)
    venue = await world.puppet([], {POOL_SWAPS: SAYS_PAID})
    await world.allow(venue, int(role))
    await world.give(world.usdc, 2 * COVER_RAW, venue)
    targets = {"executor": world.executor, "usdc": world.usdc, "weth": world.weth}
    await world.teach(venue, [(signature, targets[target], calldata) for _, target, calldata in lessons])
    calldata = selector("route()") if kind is StepKind.ROUTER else b""
    step = swap(world, kind, venue=venue, calldata=calldata)
    return await refusal(world.execute(await plan(world, swaps=(step,))))


def asks(world: World, ether_raw: int) -> tuple[str, str, bytes]:
    return "asks", "executor", world.own_call("uniswapV3SwapCallback", ether_raw, -1, b"")


def gives(world: World) -> tuple[str, str, bytes]:
    """More than it would have to."""
    return "gives", "usdc", world.token_call("transfer", world.executor, 2 * COVER_RAW)


async def test_a_pool_that_asks_twice(world: World) -> None:
    lessons = [gives(world), asks(world, 5 * WAD), asks(world, 5 * WAD)]
    assert await sold_to(world, ExecutorRole.POOL_V3, StepKind.POOL_V3, lessons) == "payee"


async def test_a_pool_that_asks_for_more_than_came_in(world: World) -> None:
    lessons = [gives(world), asks(world, 50 * WAD)]
    assert await sold_to(world, ExecutorRole.POOL_V3, StepKind.POOL_V3, lessons) == "payment"


async def test_a_pool_that_says_it_paid(world: World) -> None:
    assert await sold_to(world, ExecutorRole.POOL_V3, StepKind.POOL_V3, [asks(world, 5 * WAD)]) == "gain"


@pytest.mark.parametrize("kind", [StepKind.POOL_V3, StepKind.PAIR_V2, StepKind.ROUTER])
@pytest.mark.parametrize("function", ["executeOperation", "onMorphoFlashLoan", "uniswapV3FlashCallback"])
async def test_a_venue_that_calls_back_as_a_lender(world: World, function: str, kind: StepKind) -> None:
    params = loan_params(world, await plan(world))
    args = {
        "executeOperation": (world.usdc, COVER_RAW, 0, world.executor, params),
        "onMorphoFlashLoan": (COVER_RAW, params),
        "uniswapV3FlashCallback": (0, 0, params),
    }[function]
    role = ExecutorRole[kind.name]
    lessons = [gives(world), ("calls", "executor", world.own_call(function, *args))]
    assert await sold_to(world, role, kind, lessons) == "lender"


@pytest.mark.parametrize("kind", [StepKind.PAIR_V2, StepKind.ROUTER])
async def test_a_venue_that_asks_as_a_pool_would(world: World, kind: StepKind) -> None:
    lessons = [gives(world), asks(world, WAD)]
    assert await sold_to(world, ExecutorRole[kind.name], kind, lessons) == "payee"


async def test_a_pair_that_keeps_what_it_was_paid(world: World) -> None:
    assert await sold_to(world, ExecutorRole.PAIR_V2, StepKind.PAIR_V2, []) == "gain"


async def test_a_router_that_gives_nothing(world: World) -> None:
    assert await sold_to(world, ExecutorRole.ROUTER, StepKind.ROUTER, []) == "slippage"


async def test_a_router_that_takes_more_than_came_in(world: World) -> None:
    venue_takes = world.token_call("transferFrom", world.executor, STRANGER, 50 * WAD)
    lessons = [gives(world), ("takes", "weth", venue_takes)]
    assert await sold_to(world, ExecutorRole.ROUTER, StepKind.ROUTER, lessons) == "Token: allowance"


async def test_what_a_router_did_not_take_it_cannot_take_later(world: World) -> None:
    router = await world.puppet([("route()", world.usdc, world.token_call("transfer", world.executor, 2 * COVER_RAW))])
    await world.allow(router, int(ExecutorRole.ROUTER))
    await world.give(world.usdc, 2 * COVER_RAW, router)
    step = swap(world, StepKind.ROUTER, venue=router, calldata=selector("route()"))
    await world.execute(await plan(world, swaps=(step,)))
    assert await world.allowance_raw(world.weth, router) == 0
    assert await world.balance_raw(world.weth) > 0


@pytest.mark.parametrize("kind", [StepKind.POOL_V3, StepKind.ROUTER])
async def test_a_price_worse_than_the_limit(world: World, kind: StepKind) -> None:
    assert await refusal(world.execute(await plan(world, swaps=(swap(world, kind, limit_raw=10**13),)))) == "slippage"


async def test_an_exact_output_that_would_cost_more_than_its_limit(world: World) -> None:
    step = swap(world, StepKind.POOL_V3_EXACT_OUT, limit_raw=WAD)
    assert await refusal(world.execute(await plan(world, swaps=(step,)))) == "payment"


async def test_an_exact_output_that_would_cost_more_than_came_in(world: World) -> None:
    await stocked(world)
    step = swap(world, StepKind.POOL_V3_EXACT_OUT, amount_raw=2 * COVER_RAW)
    assert await refusal(world.execute(await plan(world, swaps=(step,)))) == "payment"


async def test_a_pool_that_gives_less_than_an_exact_output(world: World) -> None:
    venue = await world.puppet([], {POOL_SWAPS: encode(["int256", "int256"], [-1, -1])})
    await world.allow(venue, int(ExecutorRole.POOL_V3))
    step = swap(world, StepKind.POOL_V3_EXACT_OUT, venue=venue)
    assert await refusal(world.execute(await plan(world, swaps=(step, swap(world))))) == "slippage"
