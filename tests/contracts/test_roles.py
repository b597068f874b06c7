"""Who may do what: strangers nothing, operators only what they are for, the owner the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.executor import ExecutorRole
from keeper.core.swap import StepKind
from keeper.core.units import WAD, Address
from keeper.devnet.chain import Tx
from keeper.devnet.state import fresh_snapshot, revert_to
from tests.contracts.compiled import EXECUTOR_SOURCE, committed_runtime
from tests.contracts.deals import INVENTORY, LEAST_GAIN_RAW, execute_values, liquidation, loan, loan_params, plan, swap
from tests.contracts.world import COVER_RAW, OPERATOR, OWNER, RECIPIENT, STRANGER, World, refusal, selector

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = Address(bytes(20))
OWNERS = {
    "set_operator": (STRANGER, True),
    "allow": (STRANGER, int(ExecutorRole.MARKET)),
    "set_loss_left": (STRANGER, 1),
    "withdraw": (STRANGER, 0),  # of a token there is
}
CALLBACKS = {
    "executeOperation": "initiator",
    "onMorphoFlashLoan": "lender",
    "uniswapV3FlashCallback": "lender",
    "uniswapV3SwapCallback": "payee",
}
EVERYTHING = {*OWNERS, *CALLBACKS, "execute"}
NO_SUCH_OPCODES = {0xF0: "CREATE", 0xF2: "CALLCODE", 0xF4: "DELEGATECALL", 0xF5: "CREATE2", 0xFF: "SELFDESTRUCT"}


def callback_args(initiator: Address) -> dict[str, tuple[object, ...]]:
    return {
        "executeOperation": (STRANGER, 1, 0, initiator, b""),
        "onMorphoFlashLoan": (1, b""),
        "uniswapV3FlashCallback": (0, 0, b""),
        "uniswapV3SwapCallback": (1, -1, b""),
    }


async def test_these_are_all_functions_and_none_takes_coin(world: World) -> None:
    entries = [entry for entry in world.contract.abi if entry["type"] == "function"]
    assert {entry["name"] for entry in entries if entry["stateMutability"] == "nonpayable"} == EVERYTHING
    assert not [entry for entry in entries if entry["stateMutability"] not in ("nonpayable", "view")]
    for calldata in (b"", world.own_call("withdraw", world.usdc, 0)):
        payment = Tx(OWNER, world.executor, calldata, value_wei=1)
        assert await refusal(world.bed.chain.transact(payment)) == "0x"


async def test_the_code_cannot_become_another(world: World) -> None:
    code, at, found = committed_runtime(), 0, set()
    while at < len(code):
        found.add(code[at])
        at += 1 + max(0, min(code[at] - 0x5F, 32)) if 0x60 <= code[at] <= 0x7F else 1
    assert not found & set(NO_SUCH_OPCODES)
    assert "delegate" not in EXECUTOR_SOURCE.read_text().replace("No delegatecall", "")


@pytest.mark.parametrize("sender", [STRANGER, OPERATOR, RECIPIENT])
@pytest.mark.parametrize("function", OWNERS)
async def test_what_the_owner_does_nobody_else_does(world: World, function: str, sender: Address) -> None:
    args = (world.usdc, 0) if function == "withdraw" else OWNERS[function]
    assert await refusal(world.send(sender, function, *args)) == "owner"


@pytest.mark.parametrize("sender", [STRANGER, OWNER, RECIPIENT])
async def test_only_operators_execute(world: World, sender: Address) -> None:
    assert await refusal(world.execute(await plan(world), sender)) == "operator"


@pytest.mark.parametrize("sender", [STRANGER, OPERATOR, OWNER])
@pytest.mark.parametrize("function", CALLBACKS)
async def test_nobody_calls_back_who_was_not_asked(world: World, function: str, sender: Address) -> None:
    args = callback_args(STRANGER)[function]
    assert await refusal(world.send(sender, function, *args)) == CALLBACKS[function]


async def test_nor_does_a_market_for_a_loan_that_it_says_is_ours(world: World) -> None:
    args = callback_args(world.executor)["executeOperation"]
    await world.bed.chain.fund([world.market])
    assert await refusal(world.send(world.market, "executeOperation", *args)) == "lender"


@pytest.mark.parametrize("roles", [(NOBODY, RECIPIENT), (OWNER, NOBODY)])
async def test_there_is_an_owner_and_a_recipient(world: World, roles: tuple[Address, Address]) -> None:
    assert await refusal(world.deploy(world.contract, *roles)) == "address"


async def test_a_router_is_nothing_else(world: World) -> None:
    both = int(ExecutorRole.ROUTER | ExecutorRole.MARKET)
    assert await refusal(world.send(OWNER, "allow", world.market, both)) == "router"
    await world.allow(world.market, int(ExecutorRole.MARKET | ExecutorRole.POOL_V3 | ExecutorRole.PAIR_V2))
    assert await world.see("allowed", world.market) == 13


async def test_a_market_that_is_not_allowed_is_not_called(world: World) -> None:
    await world.allow(world.market, 0)
    assert await refusal(world.execute(await plan(world))) == "market"


@pytest.mark.parametrize("source", ["morpho", "pool"])
async def test_a_lender_that_is_not_allowed_is_not_asked(world: World, source: str) -> None:
    lender = loan(world, source).lender
    assert lender is not None
    await world.allow(lender, int(ExecutorRole.ROUTER))
    assert await refusal(world.execute(await plan(world, source=source))) == "lender"


async def test_a_market_lends_for_itself_only(world: World) -> None:
    """Another market that would lend, and call back as it should."""
    deal = await plan(world)
    stranger = await world.puppet([])
    values = execute_values(world, deal)
    values[3] = stranger
    back = world.own_call("executeOperation", world.usdc, COVER_RAW, 0, world.executor, loan_params(world, deal))
    lends = "flashLoanSimple(address,address,uint256,bytes,uint16)"
    await world.give(world.usdc, COVER_RAW, stranger)
    pay = world.token_call("transfer", world.executor, COVER_RAW)
    await world.teach(stranger, [(lends, world.usdc, pay), (lends, world.executor, back)])
    assert await refusal(world.send(OPERATOR, "execute", *values)) == "lender"


@pytest.mark.parametrize("kind", [StepKind.POOL_V3, StepKind.POOL_V3_EXACT_OUT, StepKind.PAIR_V2, StepKind.ROUTER])
async def test_a_venue_that_is_not_allowed_gets_nothing(world: World, kind: StepKind) -> None:
    step = swap(world, kind)
    await world.allow(step.venue, int(ExecutorRole.MARKET))
    assert await refusal(world.execute(await plan(world, swaps=(step,)))) == "venue"


async def test_after_its_last_moment_nothing_happens(world: World) -> None:
    now_s = await world.bed.chain.now_s()
    assert await refusal(world.execute(await plan(world, latest_s=now_s - 1))) == "expired"
    await world.bed.chain.rpc.request("evm_setNextBlockTimestamp", [now_s + 100])
    await world.execute(await plan(world, latest_s=now_s + 100))
    assert await world.balance_raw(world.usdc) >= LEAST_GAIN_RAW


async def test_the_least_gain_is_what_is_left_to_the_unit(world: World) -> None:
    deal = await plan(world)
    snapshot = await fresh_snapshot(world.bed)
    next_s = await world.bed.chain.now_s() + 10
    await world.bed.chain.rpc.request("evm_setNextBlockTimestamp", [next_s])
    await world.execute(deal)
    gained_raw = await world.balance_raw(world.usdc)
    for least, passes in ((gained_raw + 1, False), (gained_raw, True)):
        await revert_to(world.bed, snapshot)
        snapshot = await fresh_snapshot(world.bed)
        await world.bed.chain.rpc.request("evm_setNextBlockTimestamp", [next_s])
        attempt = world.execute(replace(deal, least_gain_raw=least))
        if passes:
            await attempt
        else:
            assert await refusal(attempt) == "gain"
    assert await world.balance_raw(world.usdc) == gained_raw


async def test_operators_lose_no_more_than_they_are_left_all_together(world: World) -> None:
    await world.give(world.usdc, 3 * COVER_RAW)
    steps = [await liquidation(world, borrower) for borrower in world.borrowers[:3]]
    deals = [
        await plan(world, liquidations=(step,), loan=INVENTORY, swaps=(), least_gain_raw=-COVER_RAW) for step in steps
    ]
    assert await refusal(world.execute(deals[0])) == "loss"
    await world.send(OWNER, "set_loss_left", world.usdc, 2 * COVER_RAW)
    for deal in deals[:2]:
        await world.execute(deal)
    assert await world.see("loss_left", world.usdc) == 0
    assert await refusal(world.execute(deals[2])) == "loss"
    assert await world.balance_raw(world.usdc) == COVER_RAW


async def test_what_was_there_before_is_not_sold(world: World) -> None:
    """The operator's own router would take it; what came in of that token is nothing."""
    bitcoin = world.bed.asset("WBTC").token
    thief = await world.puppet([])
    await world.allow(thief, int(ExecutorRole.ROUTER))
    await world.give(bitcoin, 10**8)
    await world.give(world.weth, 100 * WAD)
    for token, amount_raw in ((bitcoin, 10**8), (world.weth, 100 * WAD)):
        take = world.token_call("transferFrom", world.executor, thief, amount_raw)
        await world.teach(thief, [(f"take{token.hex()}()", token, take)])
    steal = swap(world, StepKind.ROUTER, venue=thief, token_in=bitcoin, limit_raw=0)
    steal = replace(steal, calldata=selector(f"take{bitcoin.hex()}()"))
    await world.execute(await plan(world, swaps=(steal, swap(world))))
    assert (await world.balance_raw(bitcoin), await world.balance_raw(world.weth)) == (10**8, 100 * WAD)
    steal = replace(steal, token_in=world.weth, calldata=selector(f"take{world.weth.hex()}()"))
    await world.give(world.usdc, 2 * COVER_RAW)
    deal = await plan(world, swaps=(steal,), least_gain_raw=-2 * COVER_RAW)
    assert await refusal(world.execute(deal)) == "Token: allowance"
