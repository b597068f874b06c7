"""Real lenders and pools that somebody else calls for us, and hostile tokens in the middle of ours: nothing is taken."""

from __future__ import annotations

import pytest

from keeper.core.swap import StepKind
from keeper.core.units import WAD, Address
from tests.contracts.compiled import own
from tests.contracts.deals import liquidation, loan_params, plan, stocked, swap
from tests.contracts.world import (
    COVER_RAW,
    OPERATOR,
    OWNER,
    STRANGER,
    World,
    reason_of,
    refusal,
    selector,
    with_executor,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


# -- somebody else, through the real ones ------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", [STRANGER, OPERATOR, OWNER])
async def test_a_loan_of_the_market_that_somebody_takes_for_us(world: World, sender: Address) -> None:
    params = loan_params(world, await plan(world))
    tx = world.bed.pool_tx(sender, "flashLoanSimple", world.executor, world.usdc, COVER_RAW, params, 0)
    assert await refusal(world.bed.chain.transact(tx)) == "initiator"


async def test_a_loan_of_morpho_that_somebody_passes_on(world: World) -> None:
    await stocked(world)
    params = loan_params(world, await plan(world, source="morpho"))
    lend = world.morpho.contract.function("flashLoan").encode((world.usdc, COVER_RAW, params))
    passed_on = world.own_call("onMorphoFlashLoan", COVER_RAW, params)
    repay = world.token_call("approve", world.morpho.address, COVER_RAW)
    thief = await world.puppet([("start()", world.usdc, repay), ("start()", world.morpho.address, lend)])
    take = world.token_call("transferFrom", world.executor, thief, COVER_RAW)
    called = "onMorphoFlashLoan(uint256,bytes)"
    await world.teach(thief, [(called, world.executor, passed_on), (called, world.usdc, take)])
    assert await refusal(world.wake(thief)) == "lender"


async def test_a_loan_of_a_pool_that_somebody_passes_on(world: World) -> None:
    await stocked(world)
    params = loan_params(world, await plan(world, source="pool"))
    lend = world.uniswap.contracts["UniswapV3Pool"].function("flash").encode((world.executor, 0, 0, params))
    passed_on = world.own_call("uniswapV3FlashCallback", 0, 0, params)
    lessons = [("start()", world.other_pool, lend)]
    lessons += [("uniswapV3FlashCallback(uint256,uint256,bytes)", world.executor, passed_on)]
    assert await refusal(world.wake(await world.puppet(lessons))) == "lender"


async def test_a_swap_of_a_pool_that_somebody_wants_us_to_pay(world: World) -> None:
    await stocked(world)
    zero_for_one = world.weth < world.usdc
    price_limit = 4295128740 if zero_for_one else 1461446703485210103287273052203988822378723970341
    trade = world.uniswap.contracts["UniswapV3Pool"].function("swap")
    deltas = (WAD, -1) if zero_for_one else (-1, WAD)
    passed_on = world.own_call("uniswapV3SwapCallback", *deltas, b"")
    lessons = [("start()", world.pool, trade.encode((STRANGER, zero_for_one, WAD, price_limit, b"")))]
    lessons += [("uniswapV3SwapCallback(int256,int256,bytes)", world.executor, passed_on)]
    assert await refusal(world.wake(await world.puppet(lessons))) == "payee"


# -- a hostile token, in the middle of ours ----------------------------------------------------------------------------


async def hooked(world: World, payer: Address, target: Address, calldata: bytes) -> None:
    """Once, when `payer` pays the executor dollars, the token calls."""
    await world.corrupt(world.usdc)
    await world.tell(world.usdc, "hook", payer, world.executor, target, calldata)


async def hook_refused(world: World) -> str:
    """Why the token's call was refused; ours goes on."""
    assert await world.bed.chain.call(world.usdc, own("HostileToken"), "hookCalls") == 1
    assert await world.bed.chain.call(world.usdc, own("HostileToken"), "hookDone") is False
    return reason_of(await world.bed.chain.call(world.usdc, own("HostileToken"), "hookAnswer"))


async def test_the_token_takes_a_loan_for_us_while_we_wait_for_ours(world: World) -> None:
    deal = await plan(world)
    again = (world.executor, world.usdc, COVER_RAW, loan_params(world, deal), 0)
    calldata = world.bed.contracts["Pool"].function("flashLoanSimple").encode(again)
    await hooked(world, world.bed.asset("USDC").a_token, world.market, calldata)
    await world.execute(deal)
    assert await hook_refused(world) == "initiator"


async def test_the_token_calls_back_in_the_place_of_the_lender(world: World) -> None:
    await stocked(world)
    deal = await plan(world, source="morpho")
    calldata = world.own_call("onMorphoFlashLoan", COVER_RAW, loan_params(world, deal))
    await hooked(world, world.morpho.address, world.executor, calldata)
    await world.execute(deal)
    assert await hook_refused(world) == "lender"


async def test_the_token_wants_to_be_paid_in_the_place_of_the_pool(world: World) -> None:
    await stocked(world)
    deltas = (5 * WAD, -1) if world.weth < world.usdc else (-1, 5 * WAD)
    await hooked(world, world.pool, world.executor, world.own_call("uniswapV3SwapCallback", *deltas, b""))
    await world.execute(await plan(world))
    assert await hook_refused(world) == "payee"


async def test_nothing_is_executed_while_we_execute(world: World) -> None:
    """The token is an operator, too, and would serve another borrower in between."""
    step = await liquidation(world, world.borrowers[1])
    inner = await plan(world, liquidations=(step,), swaps=(swap(world, StepKind.PAIR_V2),), least_gain_raw=0)
    await world.send(OWNER, "set_operator", world.usdc, True)
    await hooked(world, world.pool, world.executor, world.encoded(inner))
    await world.execute(await plan(world, source="morpho"))
    assert await hook_refused(world) == "0x"


async def test_nothing_is_withdrawn_while_we_execute(world: World) -> None:
    """The token owns the executor."""
    owned = await with_executor(world, world.contract, owner=world.usdc)
    await stocked(owned)
    await hooked(owned, owned.pool, owned.executor, owned.own_call("withdraw", owned.weth, 1))
    await owned.execute(await plan(owned))
    assert await hook_refused(owned) == "0x"


@pytest.mark.parametrize("token", ["usdc", "weth"])
@pytest.mark.parametrize("kind", [StepKind.POOL_V3, StepKind.PAIR_V2])
async def test_a_token_that_keeps_a_part_of_what_is_moved(world: World, kind: StepKind, token: str) -> None:
    await world.corrupt(getattr(world, token))
    await world.tell(getattr(world, token), "takeFee", 100)
    reason = await refusal(world.execute(await plan(world, swaps=(swap(world, kind),), least_gain_raw=0)))
    assert reason
    assert await world.balance_raw(world.usdc) == 0


DECEIVED = {
    "approve": [("market", StepKind.POOL_V3), ("morpho", StepKind.ROUTER)],
    "transfer": [("pool", StepKind.POOL_V3), ("market", StepKind.PAIR_V2)],
}


@pytest.mark.parametrize("token", ["usdc", "weth"])
@pytest.mark.parametrize("refused", DECEIVED)
async def test_a_token_that_answers_false_is_believed(world: World, refused: str, token: str) -> None:
    """`approve` of dollars: the market's; of ether: a router's. `transfer` of dollars: a loan's; of ether: a pair's."""
    signature = {"approve": "approve(address,uint256)", "transfer": "transfer(address,uint256)"}[refused]
    await world.corrupt(getattr(world, token))
    await world.tell(getattr(world, token), "deceive", selector(signature), world.executor)
    place = 0 if token == "usdc" else 1
    source, kind = DECEIVED[refused][place]
    deal = await plan(world, source=source, swaps=(swap(world, kind),), least_gain_raw=0)
    assert await refusal(world.execute(deal)) == refused


async def test_a_withdrawal_that_a_token_denies_is_none(world: World) -> None:
    await world.corrupt(world.usdc)
    await world.tell(world.usdc, "deceive", selector("transfer(address,uint256)"), world.executor)
    assert await refusal(world.send(OWNER, "withdraw", world.usdc, 0)) == "transfer"
