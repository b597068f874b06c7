"""Orders that the executor carries, on the real Aave, Uniswap and Morpho: the signer has gas and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from keeper.app import executor
from keeper.core.executor import ExecutorRole
from keeper.core.units import Address, to_hex
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.devnet.throwaway import write_throwaway
from keeper.execution.executor_calls import EXECUTE, decode_execute
from keeper.store import StoreReader
from tests.contracts.world import World, started_world
from tests.devnet.chain_facts import below_one, coins_wei, mined_by, nonce
from tests.devnet.keeping import Keeping, keeping

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployed() -> AsyncIterator[World]:
    async with started_world() as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(deployed: World) -> AsyncIterator[World]:
    snapshot = await fresh_snapshot(deployed.bed)
    yield deployed
    await revert_to(deployed.bed, snapshot)


@pytest_asyncio.fixture(loop_scope="module")
async def kept(world: World, tmp_path: Path) -> Keeping:
    """A key with gas alone, and an executor of its own that may use the market and the pools."""
    made = await keeping(world.bed, tmp_path)
    made.account = write_throwaway(tmp_path)
    await world.bed.chain.fund([made.account.address])
    done = await executor.deploy(made.settings(mode="live"), None, None, None, live=True)
    assert done.executor is not None
    made.chain["executor"] = to_hex(done.executor)
    roles = {world.market: ExecutorRole.MARKET, world.morpho.address: ExecutorRole.MORPHO}
    roles |= dict.fromkeys((world.pool, world.other_pool), ExecutorRole.POOL_V3)
    for target, role in roles.items():
        await executor.allow(made.settings(mode="live"), None, target, role, None, live=True)
    await executor.allow(made.settings(mode="live"), None, made.account.address, None, True, live=True)
    made.tables["routes"] = {"v3_factories": [to_hex(world.uniswap.v3_factory)]}
    return made


def signer(kept: Keeping) -> Address:
    assert kept.account is not None
    return kept.account.address


def executor_of(kept: Keeping) -> Address:
    return Address(bytes.fromhex(kept.chain["executor"][2:]))


def ledger_base(kept: Keeping) -> int:
    """What all that was mined brought by the ledger, gas aside: what the limits on losses count with."""
    with StoreReader.open(kept.store) as reader:
        values = [account.value for account in reader.accounts() if account.value is not None]
    return sum(value.received_base - value.repaid_base for value in values)


async def holds_raw(world: World, account: Address) -> Mapping[Address, int]:
    return {
        asset.token: await world.balance_raw(asset.token, account) for asset in world.bed.deployment.assets.values()
    }


async def calldata_of(world: World, transaction: str) -> bytes:
    body = await world.bed.chain.rpc.request("eth_getTransactionByHash", [transaction])
    return bytes.fromhex(body["input"][2:])


async def test_a_crash_is_worked_off_with_gas_alone(world: World, kept: Keeping) -> None:
    me, mine = signer(kept), executor_of(kept)
    sick = await below_one(world.bed, world.borrowers)
    assert len(sick) == len(world.borrowers)
    first_block, used = await world.bed.chain.block_number() + 1, await nonce(world.bed, me)
    before_raw, before_wei = await holds_raw(world, mine), await coins_wei(world.bed, me)
    made = kept.tables.setdefault("fees", {})
    made["priority_profit_share"] = "0.5"
    assert not any((await holds_raw(world, me)).values())

    ended = await kept.run_once("--live", fresh=True)

    assert ended.code == 0, ended.err + str([row.fields for row in kept.events()])
    assert kept.events("not_restored", "reverted", "alert", "trouble") == []
    restored = kept.events("restored")
    assert {row.borrower for row in restored} == {to_hex(each) for each in sick}
    assert all(row.fields["model_error_wad"] == "0" and row.fields["amounts_match"] for row in restored)
    assert not await below_one(world.bed, world.borrowers)
    mined = await mined_by(world.bed, me, first_block)
    assert [each.nonce for each in mined] == list(range(used, used + len(sick)))
    assert all(each.succeeded and each.selector == "0x" + EXECUTE.hex() for each in mined)
    assert before_wei - await coins_wei(world.bed, me) == sum(each.cost_wei for each in mined)
    weth_base, usdc_base = await world.bed.price_base("WETH"), await world.bed.price_base("USDC")
    for each in mined:
        asked_raw = decode_execute(await calldata_of(world, each.hash)).least_gain_raw
        gas_raw = each.cost_wei * weth_base * 10**6 // (usdc_base * 10**18)
        assert asked_raw >= gas_raw, "whatever becomes of the pools on the way, its gas is paid for"
    after_raw = await holds_raw(world, mine)
    gained_raw = {token: after_raw[token] - raw for token, raw in before_raw.items() if after_raw[token] != raw}
    assert gained_raw.keys() == {world.usdc} and gained_raw[world.usdc] > 0
    assert not any((await holds_raw(world, me)).values())
    kept_base = gained_raw[world.usdc] * await world.bed.price_base("USDC") // 10**6
    assert kept_base - len(sick) <= ledger_base(kept) <= kept_base, "what is left counts, not what was seized"
