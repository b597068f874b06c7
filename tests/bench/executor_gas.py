"""What liquidations through the executor cost in gas, against the same done by hand, each from one and the same state.

By hand: three transactions of their own. A flash loan of Aave by a receiver that only approves what is asked back, a
liquidationCall of an account that holds the money and has approved it, a swap of what came in through Uniswap's router. The
real Aave 3.6 and Uniswap v3, gas as the receipts say. The executor sells in the same pool; it asserts no health afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from keeper.core.units import UINT256_MAX, WAD
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.errors import Reverted
from keeper.devnet.state import fresh_snapshot, revert_to
from tests.bench.measure import record
from tests.contracts.compiled import committed_runtime, own
from tests.contracts.deals import SOURCES, plan, routed_to
from tests.contracts.world import COVER_RAW, STRANGER, World, started_world

BY_HAND = salted_address("by hand")
MANY = 5
MOST_RUNTIME_BYTES = 24_576
LOST_RACE_GAS = 70_000


@dataclass(frozen=True)
class ByHand:
    """Gas of the three transactions for one borrower."""

    flash_loan: int
    liquidation: int
    swap: int

    @property
    def total(self) -> int:
        return self.flash_loan + self.liquidation + self.swap


async def gas_of(attempt: Awaitable[dict[str, Any]]) -> int:
    return int((await attempt)["gasUsed"], 16)


async def apart(world: World, attempt: Awaitable[dict[str, Any]]) -> int:
    """Gas of one transaction, after which the state is as before."""
    snapshot = await fresh_snapshot(world.bed)
    gas = await gas_of(attempt)
    await revert_to(world.bed, snapshot)
    return gas


async def by_hand(world: World) -> ByHand:
    """One account that has dealt in both tokens before, which is the cheapest for it. The state is as before."""
    bed, snapshot = world.bed, await fresh_snapshot(world.bed)
    receiver = await world.deploy(own("Receiver"), world.market)
    await bed.chain.fund([BY_HAND])
    await world.give(world.usdc, COVER_RAW, receiver)
    await world.give(world.usdc, 2 * COVER_RAW, BY_HAND)
    await world.give(world.weth, WAD, BY_HAND)
    for token, spender in ((world.usdc, world.market), (world.weth, world.uniswap.router)):
        await bed.chain.transact(bed.call_tx(BY_HAND, token, "Token", "approve", spender, UINT256_MAX))
    borrow = bed.pool_tx(STRANGER, "flashLoanSimple", receiver, world.usdc, COVER_RAW, b"", 0)
    flash_loan = await apart(world, bed.chain.transact(borrow))
    call = (world.weth, world.usdc, world.borrowers[0], COVER_RAW, False)
    liquidation = await gas_of(bed.chain.transact(bed.pool_tx(BY_HAND, "liquidationCall", *call)))
    came_in_raw = await world.balance_raw(world.weth, BY_HAND) - WAD
    sale = Tx(BY_HAND, world.uniswap.router, routed_to(world, BY_HAND, came_in_raw))
    swap = await apart(world, bed.chain.transact(sale))
    await revert_to(bed, snapshot)
    return ByHand(flash_loan, liquidation, swap)


async def lost_race(world: World) -> int:
    """Gas of an order whose borrower was served by somebody else meanwhile."""
    snapshot, deal = await fresh_snapshot(world.bed), await plan(world)
    await world.execute(deal)
    try:
        await world.execute(deal)
    except Reverted:
        block = await world.bed.chain.rpc.request("eth_getBlockByNumber", ["latest", False])
    else:
        raise AssertionError("one borrower was served twice under one plan")
    await revert_to(world.bed, snapshot)
    return int(block["gasUsed"], 16)


async def measured() -> tuple[ByHand, dict[str, tuple[int, int]], int]:
    """By hand, by each lender for one and for many, a lost race."""
    async with started_world() as world:
        by_lender = {}
        for source in SOURCES:
            one = await apart(world, world.execute(await plan(world, 1, source)))
            many = await apart(world, world.execute(await plan(world, MANY, source)))
            by_lender[source] = one, many
        return await by_hand(world), by_lender, await lost_race(world)


def main() -> None:
    hand, by_lender, lost = asyncio.run(measured())
    told = f"{hand.total} = {hand.flash_loan} flash loan + {hand.liquidation} liquidation + {hand.swap} swap"
    record("executor_gas", "three transactions by hand", told)
    for source, (one, many) in by_lender.items():
        ratio, ratio_of_many = one / hand.total, many / MANY / hand.total
        record("executor_gas", f"one borrower, lent by the {source}", f"{one}, {ratio:.2f}×", "1.00×", met=ratio <= 1)
        told = f"{many // MANY} each, {ratio_of_many:.2f}×"
        what = f"{MANY} borrowers in one transaction, lent by the {source}"
        record("executor_gas", what, told, "0.85×", met=ratio_of_many <= 0.85)
    record("executor_gas", "a lost race", str(lost), f"{LOST_RACE_GAS}", met=lost <= LOST_RACE_GAS)
    size = len(committed_runtime())
    record("executor_gas", "runtime bytes", str(size), f"{MOST_RUNTIME_BYTES}", met=size <= MOST_RUNTIME_BYTES)


if __name__ == "__main__":
    main()
