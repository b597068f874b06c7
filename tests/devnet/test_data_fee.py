"""What a rollup asks for posting a transaction counts in an order: in its profit, in what it may cost, in what must be left."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from keeper.app.build import built_chain
from keeper.app.carriage import EXECUTOR_BYTES, INVENTORY_BYTES
from keeper.app.keys import KeyRing
from keeper.app.modes import Acting
from keeper.core.block import Call
from keeper.core.executor import MOST_SWAPS, ExecutorPlan, LiquidationStep, Loan, LoanSource
from keeper.core.swap import StepKind, SwapStep
from keeper.core.units import WAD, Address, to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.execution.executor_calls import encode_execute
from keeper.execution.signing.envelope import assemble
from keeper.execution.signing.signer import TransactionFields
from keeper.routes.data_fee import OP_STACK_ORACLE
from keeper.settings import Policy
from keeper.store import Store
from keeper.telemetry.redact import Redactor
from tests.devnet.chain_facts import below_one, nonce
from tests.devnet.keeping import keeping

FEE_WEI = WAD // 10
"""Two hundred dollars: more than the smaller orders earn."""
REVERTS = "0x5f5ffd"


def answers(fee_wei: int) -> str:
    """Code that returns the number, whatever it is asked."""
    return f"0x7f{fee_wei:064x}5f5260205ff3"


async def place(bed: Bed, code: str) -> None:
    await bed.chain.rpc.request("anvil_setCode", [to_hex(OP_STACK_ORACLE), code])


def test_no_order_is_longer_than_what_the_fee_is_asked_for() -> None:
    one, most_calls = Address(b"\x11" * 20), 5
    steps = (LiquidationStep(one, one, one, 2**127, 2**127, target_wad=2 * WAD),) * most_calls
    swaps = (SwapStep(StepKind.POOL_V3, one, one, one, 2**127, 2**127, True),) * MOST_SWAPS
    longest = encode_execute(one, ExecutorPlan(one, one, steps, swaps, Loan(LoanSource.MARKET, one), 2**32, 2**127))
    signed = TransactionFields(2**32, 2**32, longest, 10**8, 10**13, 10**13)
    with pytest.raises(ValidationError):
        Policy(most_calls=most_calls + 1)
    assert len(assemble(signed, 1, 2**255, 2**254).raw) <= EXECUTOR_BYTES
    single = replace(signed, call=Call(one, bytes(4 + 5 * 32)))
    assert len(assemble(single, 1, 2**255, 2**254).raw) <= INVENTORY_BYTES


async def test_orders_from_inventory_pay_the_data_fee(bed36: Bed, tmp_path: Path) -> None:
    bed, kept = bed36, await keeping(bed36, tmp_path, funded=True)
    kept.unlimited = ("gas", *kept.unlimited)
    await place(bed, answers(FEE_WEI))
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 80 // 100)
    coin_base = await bed.price_base("WETH")
    sick = await below_one(bed, [opening.borrower for opening in bed.openings])

    ended = await kept.run_once("--live")

    assert ended.code == 0, ended.err
    sent = kept.events("sent")
    fee_base = FEE_WEI * coin_base // WAD
    refused = {row.borrower for row in kept.events("refused") if row.fields["reason"] == "unprofitable"}
    assert sent and refused, "some bring more than that, some do not"
    assert refused <= {to_hex(each) for each in sick}
    for row in sent:
        assert int(row.fields["expected_gas_base"]) > fee_base * len(row.fields["calls"])
        assert int(row.fields["expected_net_base"]) >= 0
    with closing(sqlite3.connect(kept.store)) as connection:
        stakes = connection.execute(
            "SELECT worst_gas_wei, worst_loss_wad FROM intents WHERE purpose = 'liquidation'"
        ).fetchall()
    assert stakes and all(int(gas_wei) > 2 * FEE_WEI for gas_wei, _ in stakes), "it may double until the order is mined"
    assert all(int(loss_wad) > 2 * fee_base * WAD // 10**8 for _, loss_wad in stakes)


async def test_nothing_is_priced_while_the_fee_cannot_be_read(bed36: Bed, tmp_path: Path) -> None:
    bed, kept = bed36, await keeping(bed36, tmp_path)
    await place(bed, answers(10**12))
    settings = kept.settings()
    acting = Acting("dry", KeyRing(Redactor()))
    async with (
        Store.open(tmp_path / "keeper.db") as store,
        built_chain("devnet", settings, settings.chains["devnet"], acting, store, store, store) as (ground, _, loop),
    ):
        await loop.on_head(await ground.client.latest())
        await place(bed, REVERTS)
        await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 80 // 100)
        blind = await loop.on_head(await ground.client.latest())
        assert blind.standings and not blind.submitted
        assert {each.reason for each in blind.standings.values()} <= {"unpriceable", "toxic", "bad_debt"}
        assert any(each.detail == "the rollup's data fee cannot be read" for each in blind.standings.values())
        await place(bed, answers(10**12))
        await bed.chain.rpc.request("evm_mine", [])
        assert (await loop.on_head(await ground.client.latest())).submitted


async def test_an_oracle_that_tells_no_fee_is_waited_for(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    before = await nonce(bed36, kept.account.address)
    await place(bed36, REVERTS)
    ended = await kept.run_once("--live")
    assert ended.code == 1 and "the rollup's oracle tells no fee" in ended.err
    assert await nonce(bed36, kept.account.address) == before


@pytest.mark.long  # two runs, the first for the approvals
async def test_gas_money_must_hold_for_the_data_fee_too(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    assert (await kept.run_once("--live")).code == 0  # the approvals, while there is nobody to liquidate
    before = await nonce(bed36, kept.account.address)
    await place(bed36, answers(10**15))
    await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 80 // 100)
    await bed36.chain.rpc.request("anvil_setBalance", [to_hex(kept.account.address), hex(WAD // 100 + 2 * 10**15)])
    await kept.run_once("--live")
    reasons = [row.fields for row in kept.events("refused")]
    assert any(each["reason"] == "no_inventory" and "gas may cost" in each["detail"] for each in reasons)
    assert await nonce(bed36, kept.account.address) == before
