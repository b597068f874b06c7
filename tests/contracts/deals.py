"""Plans for the executor in a test's world: borrowers, a swap of what comes in, a loan; each part to be replaced at will."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eth_abi.abi import decode, encode

from keeper.core.executor import ExecutorPlan, LiquidationStep, Loan, LoanSource
from keeper.core.swap import ALL_RAW, StepKind, SwapStep
from keeper.core.units import WAD, Address
from keeper.execution.executor_calls import EXECUTE_TYPES, encode_execute
from tests.contracts.world import COVER_RAW, World

NEVER_S = 2**40
INVENTORY = Loan(LoanSource.INVENTORY)
SOURCES = ("market", "morpho", "pool")
KINDS = (StepKind.POOL_V3, StepKind.POOL_V3_EXACT_OUT, StepKind.PAIR_V2, StepKind.ROUTER)
LEAST_GAIN_RAW = COVER_RAW * 3 // 100
"""Of one borrower: the bonus is 5 %, less the protocol's tenth of it, fees and slippage."""


def loan(world: World, name: str) -> Loan:
    return {
        "market": Loan(LoanSource.MARKET, world.market),
        "morpho": Loan(LoanSource.MORPHO, world.morpho.address),
        "pool": Loan(LoanSource.POOL_V3, world.other_pool, lends_token0=world.usdc < world.weth),
        "inventory": INVENTORY,
    }[name]


async def plan(world: World, count: int = 1, source: str = "market", **changes: Any) -> ExecutorPlan:
    """So many borrowers; all ether that comes in is sold in the pool."""
    steps = [await liquidation(world, borrower) for borrower in world.borrowers[:count]]
    whole = ExecutorPlan(
        market=world.market,
        debt_asset=world.usdc,
        liquidations=tuple(steps),
        swaps=(swap(world),),
        loan=loan(world, source),
        latest_s=NEVER_S,
        least_gain_raw=count * LEAST_GAIN_RAW,
    )
    return replace(whole, **changes)


async def liquidation(world: World, borrower: Address, **changes: Any) -> LiquidationStep:
    step = LiquidationStep(
        collateral_asset=world.weth,
        borrower=borrower,
        debt_token=world.bed.asset("USDC").v_token,
        debt_scaled=await world.scaled_debt(borrower),
        debt_to_cover_raw=COVER_RAW,
    )
    return replace(step, **changes)


def swap(world: World, kind: StepKind = StepKind.POOL_V3, **changes: Any) -> SwapStep:
    """Ether for dollars; of a router all of `COVER_RAW`'s worth by SwapRouter02, of an exact output what repays a loan."""
    steps = {
        StepKind.POOL_V3: (world.pool, ALL_RAW, 1, b""),
        StepKind.POOL_V3_EXACT_OUT: (world.pool, COVER_RAW * 103 // 100, ALL_RAW, b""),
        StepKind.PAIR_V2: (world.pair, ALL_RAW, COVER_RAW * 103 // 100, b""),
        StepKind.ROUTER: (world.uniswap.router, ALL_RAW, COVER_RAW * 103 // 100, routed(world, COVER_ETHER_RAW)),
    }
    venue, amount_raw, limit_raw, calldata = steps[kind]
    whole = SwapStep(kind, venue, world.weth, world.usdc, amount_raw, limit_raw, world.weth < world.usdc, calldata)
    return replace(whole, **changes)


def execute_values(world: World, deal: ExecutorPlan) -> list[Any]:
    """The arguments of the call, to be tampered with."""
    return list(decode(EXECUTE_TYPES, encode_execute(world.executor, deal).calldata[4:]))


def loan_params(world: World, deal: ExecutorPlan) -> bytes:
    """What the executor gives a lender, and must get back, when nobody is left out."""
    market, asset, *_, liquidations, swaps, calldatas = execute_values(world, deal)
    types = ("address", "address", "uint256", *EXECUTE_TYPES[-3:])
    return encode(types, (market, asset, deal.needed_raw, liquidations, swaps, calldatas))


COVER_ETHER_RAW = 5_490_000_000_000_000_000
"""A little less than what one borrower's collateral comes to, at 1,900 dollars."""


def routed(world: World, amount_raw: int) -> bytes:
    """SwapRouter02, told to pay the executor."""
    return routed_to(world, world.executor, amount_raw)


def routed_to(world: World, recipient: Address, amount_raw: int) -> bytes:
    """Ether for dollars through the pool that is swapped in."""
    router = world.uniswap.contracts["SwapRouter02"]
    [single] = [name for name in router.functions if name.startswith("exactInputSingle(")]
    return router.function(single).encode([(world.weth, world.usdc, 500, recipient, amount_raw, 1, 0)])


INVENTORY_RAW = 100 * WAD
"""Of ether: what a thief would like."""


async def stocked(world: World) -> None:
    await world.give(world.weth, INVENTORY_RAW)
    await world.give(world.usdc, 10 * COVER_RAW)
