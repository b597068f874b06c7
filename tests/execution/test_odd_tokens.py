"""One listed token that answers nothing, or cannot be approved: the others go on without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.core.errors import Refused
from keeper.core.order import Simulation
from keeper.core.units import Address, to_hex
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.execution import allowance
from keeper.execution.allowance import Allowances
from keeper.execution.funding import LiveFunding
from keeper.execution.sender import Sender
from keeper.execution.simulate import NodeSimulator
from keeper.execution.tokens import read_decimals
from keeper.pipeline.desk import differs, falls_short
from keeper.store import Store
from tests.execution.rig import KEEPER, REHEARSER, WINDOW_S, rigged

ALWAYS_REVERTS = "0x60006000fd"


def refusing_approvals(code_at: Address) -> str:
    """Runtime code that reverts on `approve` and otherwise runs the code of another address on its own storage."""
    check = "60003560e01c63095ea7b314604057"
    forward = "3660006000376000600036600073" + code_at.hex() + "5af4503d600060003e3d6000f3"
    code = bytes.fromhex(check + forward)
    padding = bytes(0x40 - len(code))
    return to_hex(code + padding + bytes.fromhex("5b60006000fd"))


def halving_transfers(code_at: Address) -> str:
    """Runtime code that passes on half of every `transfer`, and otherwise runs the code of another address."""
    copy_in = "36600060003760003560e01c63a9059cbb14604057"
    forward = "5b6000600036600073" + code_at.hex() + "5af4503d600060003e3d6000f3"
    padding = "00" * (0x40 - len(copy_in + forward) // 2)
    halve = "5b60245160011c60245260" + f"{len(copy_in) // 2:02x}" + "56"
    return "0x" + copy_in + forward + padding + halve


async def test_a_token_that_keeps_a_share_of_what_is_paid_out_gets_no_order(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        orders = await rig.orders(REHEARSER)
        order = next(each for each in orders if len(each.calls) == 1)
        taxed = order.plan.calls[0].pair.collateral_asset
        simulator = NodeSimulator(rig.rpc, rig.markets, rig.dealt())
        head = await rig.head()
        [before] = await simulator.simulate([order], head, head.timestamp_s + WINDOW_S)
        assert isinstance(before, Simulation)
        assert differs(order.plan, before) is None and falls_short(order.plan, before) is None
        moved = salted_address("the token's own code")
        code = await bed36.chain.rpc.request("eth_getCode", [to_hex(taxed), "latest"])
        await bed36.chain.rpc.request("anvil_setCode", [to_hex(moved), code])
        await bed36.chain.rpc.request("anvil_setCode", [to_hex(taxed), halving_transfers(moved)])
        [after] = await simulator.simulate([order], head, head.timestamp_s + WINDOW_S)
        assert isinstance(after, Simulation)
        assert (falls_short(order.plan, after) or "").startswith("of ")


async def test_a_token_that_does_not_answer_is_left_out(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.fund(KEEPER)
        dai, weth = bed36.asset("DAI").token, bed36.asset("WETH").token
        await bed36.chain.rpc.request("anvil_setCode", [to_hex(dai), ALWAYS_REVERTS])
        await bed36.chain.mine()
        head = await rig.head()
        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)
        funds = await funding.spendable([(dai, rig.pool), (weth, rig.pool)], head)
        assert list(funds) == [(weth, rig.pool)]
        assert list(await read_decimals(rig.client.read, [dai, weth], head)) == [weth]


async def test_a_token_that_cannot_be_approved_does_not_keep_the_others_from_it(bed36: Bed, tmp_path: Path) -> None:
    told: list[str] = []

    async def listen(refused: Refused) -> None:
        told.append(str(refused))

    async with rigged(bed36) as rig, Store.open(tmp_path / "keeper.sqlite") as store:
        await rig.fund(KEEPER, approve=False)
        tokens = sorted(asset.token for asset in bed36.deployment.assets.values())
        odd, spenders = tokens[0], [(token, rig.pool) for token in tokens]
        moved = salted_address("the token's own code")
        code = await bed36.chain.rpc.request("eth_getCode", [to_hex(odd), "latest"])
        await bed36.chain.rpc.request("anvil_setCode", [to_hex(moved), code])
        await bed36.chain.rpc.request("anvil_setCode", [to_hex(odd), refusing_approvals(moved)])
        await bed36.chain.mine()
        sender = Sender(rig.rpc, rig.signer(tmp_path), store, bed36.deployment.chain_id)
        await sender.start(await rig.head())
        funding = LiveFunding(rig.client.read, rig.rpc, KEEPER)
        allowances = Allowances(rig.rpc, sender, funding, listen)
        fees = await rig.client.fees()
        done = await allowances.ensure(spenders, {}, fees, rig.client.heads(), await rig.head())
        assert {each.asset for each in done} == set(tokens[1:])
        assert len(told) == 1
        assert to_hex(odd) in told[0]
        assert await allowances.replenish(spenders, {}, fees, await rig.head()) == []
        assert len(told) == 2


async def test_an_approval_that_stays_pending_does_not_hold_up_the_start(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def listen(refused: Refused) -> None:
        told.append(str(refused))

    monkeypatch.setattr(allowance, "LONGEST_WAIT_S", 0.5)
    async with rigged(bed36) as rig, Store.open(tmp_path / "keeper.sqlite") as store:
        await rig.fund(KEEPER, approve=False)
        spenders = [(bed36.asset(symbol).token, rig.pool) for symbol in ("DAI", "WETH")]
        sender = Sender(rig.rpc, rig.signer(tmp_path), store, bed36.deployment.chain_id)
        await sender.start(await rig.head())
        allowances = Allowances(rig.rpc, sender, LiveFunding(rig.client.read, rig.rpc, KEEPER), listen)
        fees = await rig.client.fees()
        await bed36.chain.rpc.request("evm_setAutomine", [False])
        assert await allowances.ensure(spenders, {}, fees, rig.client.heads(), await rig.head()) == []
        assert len(told) == 1
        assert told[0].startswith("0 of 2 allowances")
        assert len(await store.open_intents(bed36.deployment.chain_id, KEEPER)) == 2
