"""Orders that the executor carries, on the real Aave, Uniswap and Morpho: the signer has gas and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from keeper.app.build import built_chain
from keeper.app.keys import KeyRing
from keeper.app.modes import Acting
from keeper.core.executor import ExecutorPlan, ExecutorRole, Loan, LoanSource
from keeper.core.swap import StepKind
from keeper.core.units import WAD, to_hex
from keeper.devnet import admin
from keeper.devnet.chain import salted_address
from keeper.devnet.openings import Leg, Opening, amount_of
from keeper.devnet.positions import open_all
from keeper.devnet.spec import USD
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.devnet.throwaway import write_throwaway
from keeper.devnet.uniswap import open_v3_pool
from keeper.execution.executor_calls import EXECUTE, decode_execute
from keeper.store import JournalRow, Store, StoreReader
from keeper.telemetry.redact import Redactor
from tests.devnet.aggregator import Aggregator
from tests.devnet.chain_facts import below_one, coins_wei, mined_by, nonce
from tests.devnet.executor_stage import Stage, more_borrowers, restored_at_a_profit, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("owner")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(built: Stage) -> AsyncIterator[Stage]:
    snapshot = await fresh_snapshot(built.world.bed)
    yield built
    await revert_to(built.world.bed, snapshot)


async def test_a_crash_is_worked_off_with_gas_alone(stage: Stage, tmp_path: Path) -> None:
    world, me, kept = stage.world, stage.account.address, await stage.kept(tmp_path)
    kept.tables["fees"] = {"priority_profit_share": "0.5"}
    borrowers = [*world.borrowers, *await more_borrowers(world, 6)]
    sick = await below_one(world.bed, borrowers)
    assert len(sick) == len(borrowers) == 12
    first_block, used = await world.bed.chain.block_number() + 1, await nonce(world.bed, me)
    before_raw, before_wei = await stage.holds_raw(stage.executor), await coins_wei(world.bed, me)
    assert not any((await stage.holds_raw(me)).values())

    ended = await kept.run_once("--live", fresh=True)

    assert ended.code == 0, ended.err
    assert kept.events("not_restored", "reverted", "alert", "trouble") == []
    restored = kept.events("restored")
    assert {row.borrower for row in restored} == {to_hex(each) for each in sick}
    assert all(row.fields["model_error_wad"] == "0" and row.fields["amounts_match"] for row in restored)
    assert not await below_one(world.bed, borrowers)

    # The first alone, the others together: a wave of four and the rest. Nobody twice, no nonce left out, nothing but the
    # executor called.
    mined = await mined_by(world.bed, me, first_block)
    assert [each.nonce for each in mined] == list(range(used, used + 3))
    plans = [decode_execute(await stage.calldata(each.hash)) for each in mined]
    assert [len(plan.liquidations) for plan in plans] == [1, 4, 7]
    assert sorted(step.borrower for plan in plans for step in plan.liquidations) == sorted(sick)
    alone, *together = [each.gas_used // len(plan.liquidations) for each, plan in zip(mined, plans, strict=True)]
    assert all(gas < alone // 2 for gas in together)
    assert all(each.succeeded and each.selector == "0x" + EXECUTE.hex() for each in mined)

    # Each was to earn its gas, whatever becomes of the pools on the way.
    weth_base, usdc_base = await world.bed.price_base("WETH"), await world.bed.price_base("USDC")
    for each, plan in zip(mined, plans, strict=True):
        gas_raw = each.cost_wei * weth_base * 10**6 // (usdc_base * WAD)
        if len(plan.liquidations) == 1:  # of several some may be left out
            assert plan.least_gain_raw >= gas_raw * 8 // 10, "mined in a block of its own it burns a little more"
        assert plan.least_gain_raw > 0

    # To the wei: the signer paid gas, the executor has gained the debt asset and holds nothing else.
    assert before_wei - await coins_wei(world.bed, me) == sum(each.cost_wei for each in mined)
    after_raw = await stage.holds_raw(stage.executor)
    gained_raw = {token: after_raw[token] - raw for token, raw in before_raw.items() if after_raw[token] != raw}
    assert gained_raw.keys() == {world.usdc} and gained_raw[world.usdc] > 0
    assert not any((await stage.holds_raw(me)).values())
    report = json.loads((await kept.run("report", "--format", "json", "--store", str(kept.store))).out)
    [account] = report["accounts"]
    assert {token.lower(): int(raw) for token, raw in account["tokens"].items()} == {
        to_hex(token): raw for token, raw in gained_raw.items()
    }
    assert int(account["native_change_wei"]) == await coins_wei(world.bed, me) - before_wei

    # The limits on losses count what was kept, not what was seized.
    with StoreReader.open(kept.store) as reader:
        kept_base = sum(each.value.kept_base for each in reader.accounts() if each.value is not None)
    gained_base = gained_raw[world.usdc] * await world.bed.price_base("USDC") // 10**6
    assert gained_base - len(sick) <= kept_base <= gained_base

    # What each brought adds up to what came in: a dollar is a dollar here. Aave's premium is 5 bps.
    assert sum(int(each["revenue_wad"]) for each in report["days"]) > 0
    [day] = report["days"]
    revenue, premium, slippage, gas, net = (
        int(day[name]) for name in ("revenue_wad", "premium_wad", "slippage_wad", "gas_wad", "net_wad")
    )
    assert revenue - premium - slippage - gas == net
    assert abs(revenue - premium - slippage - gained_raw[world.usdc] * WAD // 10**6) < len(sick) * WAD // 10**6
    repaid_raw = sum(int(each["repaid_raw"]) for row in restored for each in row.fields["liquidations"])
    assert abs(premium - repaid_raw * 5 * WAD // 10**10) < len(sick) * WAD // 10**5
    assert all(int(row.fields["net_base"]) > 0 for row in restored)
    for row in kept.events("sent"):
        [done] = [each for each in restored if each.attempt == row.attempt]
        least = int(row.fields["expected_net_base"]) - int(row.fields["expected_gas_base"]) // 5 - 10**6
        assert int(done.fields["net_base"]) >= least, (
            "but for the gas of blocks of their own, what the simulation showed"
        )


async def test_whoever_lends_for_least_is_asked(stage: Stage, tmp_path: Path) -> None:
    """A pool for a hundredth of a percent, though the market would for five; then the executor, which has money by now."""
    world, me = stage.world, stage.account.address
    lender = await open_v3_pool(world.bed, world.uniswap, "DAI", "USDC", 100, 5_000_000)
    await stage.allow(lender, ExecutorRole.POOL_V3)

    async def plans_of(folder: Path) -> tuple[list[ExecutorPlan], Mapping[str, Any]]:
        kept, block = await stage.kept(folder), await world.bed.chain.block_number()
        before_raw = (await stage.holds_raw(stage.executor))[world.usdc]
        ended = await kept.run_once("--live", fresh=True)
        assert ended.code == 0 and kept.events("not_restored", "reverted", "alert") == [], ended.err
        mined = await mined_by(world.bed, me, block + 1)
        report = json.loads((await kept.run("report", "--format", "json", "--store", str(kept.store))).out)
        gained_raw = (await stage.holds_raw(stage.executor))[world.usdc] - before_raw
        [account] = report["accounts"]
        assert {token.lower(): int(raw) for token, raw in account["tokens"].items()} == {to_hex(world.usdc): gained_raw}
        return [decode_execute(await stage.calldata(each.hash)) for each in mined], report["days"][0]

    first, second = tmp_path / "pool", tmp_path / "inventory"
    first.mkdir()
    second.mkdir()
    plans, day = await plans_of(first)
    lends_token0 = world.usdc < world.bed.asset("DAI").token
    assert {plan.loan for plan in plans} == {Loan(LoanSource.POOL_V3, lender, lends_token0)}
    fees_raw = sum(-(-plan.needed_raw // 10_000) for plan in plans)
    assert 0 <= int(day["premium_wad"]) - fees_raw * WAD // 10**6 < len(plans) * WAD // 10**7

    await world.give(world.usdc, 10**6 * 10**6, stage.executor)
    await admin.set_answer(world.bed, "WETH", 1_800 * USD)
    plans, day = await plans_of(second)
    assert {plan.loan for plan in plans} == {Loan(LoanSource.INVENTORY)}
    assert int(day["premium_wad"]) == 0
    assert all(plan.least_gain_raw > 0 for plan in plans), "what it spends comes back in the same transaction"


async def test_the_most_profit_with_a_free_loan_in_a_rehearsal(stage: Stage, tmp_path: Path) -> None:
    used = await nonce(stage.world.bed, stage.account.address)

    async def expected_base(kind: str) -> dict[str | None, int]:
        """By borrower, what its simulated order would net."""
        folder = tmp_path / kind
        folder.mkdir()
        kept = await stage.kept(folder, morpho=to_hex(stage.world.morpho.address), assert_health=kind == "restore")
        kept.account, kept.tables["objective"] = None, {"kind": kind}
        assert (await kept.run_once()).code == 3, "nothing is proven by what was only simulated"
        sent = kept.events("sent")
        assert {row.fields["expected_premium_base"] for row in sent} == {"0"}
        return {row.borrower: int(row.fields["expected_net_base"]) for row in sent}

    least_base, most_base = await expected_base("restore"), await expected_base("max_profit")
    assert least_base.keys() == most_base.keys() == {to_hex(each) for each in stage.world.borrowers}
    assert all(most_base[borrower] > net_base for borrower, net_base in least_base.items())
    assert await nonce(stage.world.bed, stage.account.address) == used


async def test_what_reverts_in_one_pool_goes_through_another_at_the_next_head(stage: Stage, tmp_path: Path) -> None:
    world = stage.world
    await stage.allow(world.other_pool, ExecutorRole.POOL_V3)
    kept = await stage.kept(tmp_path)
    kept.account = None
    settings = kept.settings()
    acting = Acting("dry", KeyRing(Redactor()))
    async with (
        Store.open(tmp_path / "keeper.db") as store,
        built_chain("devnet", settings, settings.chains["devnet"], acting, store, store, store) as (ground, _, loop),
    ):
        await stage.allow(world.pool, ExecutorRole(0))
        first = await loop.on_head(await ground.client.latest())
        assert {each.reason for each in first.standings.values()} == {"simulation_reverted"}
        assert all("not on the executor's list" in each.detail for each in first.standings.values())
        for _ in range(3):  # where several pools failed together the wrong one may be suspected first
            await world.bed.chain.rpc.request("evm_mine", [])
            await loop.on_head(await ground.client.latest())
    sent = {row.borrower for row in kept.events("sent")}
    assert sent == {to_hex(each) for each in world.borrowers}, "sent is what the simulation confirmed"


@pytest.mark.long
async def test_solvency_restores_at_a_loss_until_the_days_allowance_is_used_up(stage: Stage, tmp_path: Path) -> None:
    world, inventory_raw = stage.world, 20_000 * 10**6
    await stage.allow(world.pool, ExecutorRole(0))
    await stage.allow(
        await open_v3_pool(world.bed, world.uniswap, "WETH", "USDC", 10_000, 600_000), ExecutorRole.POOL_V3
    )
    await world.give(world.usdc, inventory_raw, stage.executor)
    owner, contract = stage.account.address, world.contract
    await world.bed.chain.send(owner, stage.executor, contract, "set_loss_left", world.usdc, inventory_raw)
    kept = await stage.kept(tmp_path)
    kept.tables |= {
        "objective": {"kind": "solvency", "most_loss_per_day": 20_000},
        "rails": {"price_deviation_percent": 50},
    }
    before_raw = await world.balance_raw(world.usdc, stage.executor)

    await kept.run_once("--live")

    lost_base = [-int(row.fields["net_base"]) for row in kept.events("restored")]
    assert len(lost_base) >= 2 and all(each > 0 for each in lost_base)
    assert sum(lost_base) <= 20_000 * 10**8
    assert len(lost_base) < len(world.borrowers)
    spent_raw = before_raw - await world.balance_raw(world.usdc, stage.executor)
    assert 0 < spent_raw * 100 <= sum(lost_base), "gas comes on top"


@pytest.mark.parametrize("venue", ["hold", "hold_a_token"])
async def test_the_inventory_repays_as_far_as_it_may_be_spent_and_the_collateral_is_kept(
    stage: Stage, tmp_path: Path, venue: str
) -> None:
    world, inventory_raw = stage.world, 10**13
    weth = world.bed.asset("WETH")
    kept_token = weth.a_token if venue == "hold_a_token" else weth.token
    await world.give(world.usdc, inventory_raw, stage.executor)
    kept = await stage.kept(tmp_path, venues=venue, v3_factories=[])
    assert (await kept.run_once("--live")).code == 3
    assert {row.fields["reason"] for row in kept.events("refused")} == {"no_allowance"}, (
        "its owner lets nothing be spent"
    )

    owner, contract = stage.account.address, world.contract
    await world.bed.chain.send(owner, stage.executor, contract, "set_loss_left", world.usdc, inventory_raw)
    ended = await kept.run_once("--live")

    assert ended.code == 0, ended.err
    restored = restored_at_a_profit(kept, world)
    done = [each for row in restored for each in row.fields["liquidations"]]
    repaid_raw = sum(int(each["repaid_raw"]) for each in done)
    received_raw = sum(int(each["received_raw"]) for each in done)
    assert await world.balance_raw(world.usdc, stage.executor) == inventory_raw - repaid_raw
    report = json.loads((await kept.run("report", "--format", "json", "--store", str(kept.store))).out)
    [account] = report["accounts"]
    told = {token.lower(): int(raw) for token, raw in account["tokens"].items()}
    assert told == {to_hex(world.usdc): -repaid_raw, to_hex(kept_token): received_raw}
    interest_raw = await world.balance_raw(kept_token, stage.executor) - received_raw
    assert interest_raw == 0 if venue == "hold" else 0 <= interest_raw < received_raw // 10**6


@pytest.mark.long
async def test_of_two_debts_repaid_apart_the_sum_earns_what_was_asked(stage: Stage, tmp_path: Path) -> None:
    """Each transaction by itself would be held to the limits of its swaps: both at their limits bring less than that."""
    world, bed = stage.world, stage.world.bed
    who = salted_address("two debts")
    prices = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
    owed = tuple(Leg(symbol, amount_of(39_000 * USD, USD, decimals)) for symbol, decimals in (("USDC", 6), ("DAI", 18)))
    opening = Opening(who, "long", (Leg("WETH", amount_of(100_000 * USD, prices["WETH"], 18)),), owed)
    await open_all(bed, [opening], prices)
    await admin.set_answer(bed, "WETH", 1_600 * USD)
    await stage.allow(world.pool, ExecutorRole(0))
    for symbol in ("USDC", "DAI"):
        pool = await open_v3_pool(bed, world.uniswap, "WETH", symbol, 10_000, 50_000_000)
        await stage.allow(pool, ExecutorRole.POOL_V3)
    kept = await stage.kept(tmp_path)
    kept.tables["policy"] = {"only_borrowers": [to_hex(who)]}

    async def sent(*flags: str) -> JournalRow:
        await kept.run_once(*flags)
        [row] = [row for row in kept.events("sent") if row.fields["mode"] == ("live" if flags else "dry")]
        assert len(row.fields["calls"]) == 2, "one for each debt"
        return row

    expected_base = int((await sent()).fields["expected_net_base"])
    asked_base = expected_base * 9_950 // 10_000
    kept.tables["policy"]["min_profit"] = f"{asked_base // USD}.{asked_base % USD:08}"
    row = await sent("--live")
    plans = [decode_execute(await stage.calldata(call["transaction_hash"])) for call in row.fields["calls"]]
    base = {bed.asset(symbol).token: USD * 10 ** (18 - bed.asset(symbol).decimals) for symbol in ("USDC", "DAI")}
    least_base = sum(plan.least_gain_raw * base[plan.debt_asset] // WAD for plan in plans)
    assert least_base >= asked_base + int(row.fields["expected_gas_base"]) - 4
    [restored] = kept.events("restored")
    assert int(restored.fields["net_base"]) >= asked_base


async def test_an_aggregator_is_asked_beside_the_heads_for_whom_the_pools_do_not_serve(
    stage: Stage, tmp_path: Path
) -> None:
    world, router = stage.world, stage.world.uniswap.router
    first_block = await world.bed.chain.block_number() + 1
    aggregator = Aggregator(world)
    async with aggregator.serving():
        kept = await stage.kept(tmp_path, venues="kyber", v3_factories=[])
        kept.tables["routes.kyber"] = {"url": aggregator.url, "routers": [to_hex(router)]}
        ended = await kept.run_once("--live")
        assert ended.code == 2 and "as router" in ended.err and ended.err.count("\n") == 1, ended.err
        await stage.allow(router, ExecutorRole.ROUTER)

        # Calldata that pays somebody else brings nothing: the simulation shows it, and nothing is sent.
        aggregator.pays = lambda recipient: world.market
        assert (await kept.run_once("--live")).code == 3
        reasons = {row.fields["reason"] for row in kept.events("refused")}
        assert reasons == {"no_route", "simulation_reverted"} and kept.events("sent") == []

        aggregator.pays, before = lambda recipient: recipient, aggregator.asked
        ended = await kept.run_once("--live")
    assert ended.code == 0, ended.err
    assert aggregator.asked > before
    assert restored_at_a_profit(kept, world)
    mined = await mined_by(world.bed, stage.account.address, first_block)
    plans = [decode_execute(await stage.calldata(each.hash)) for each in mined if each.selector == "0x" + EXECUTE.hex()]
    assert [[swap.kind for swap in plan.swaps] for plan in plans] == [[StepKind.ROUTER]] * len(world.borrowers)


@pytest.mark.long
async def test_a_fork_does_what_the_chain_would(stage: Stage, tmp_path: Path) -> None:
    kept = await stage.kept(tmp_path)
    kept.account = None
    assert (await kept.run_once("--fork")).code == 0
    restored = kept.events("restored")
    assert {row.borrower for row in restored} == {to_hex(each) for each in stage.world.borrowers}
    assert all(row.fields["model_error_wad"] == "0" and row.fields["amounts_match"] for row in restored)
    assert all(int(row.fields["premium_base"]) > 0 < int(row.fields["net_base"]) for row in restored)


async def test_a_thin_pool_is_refused_with_figures_and_one_that_is_not_allowed_is_left_out(
    stage: Stage, tmp_path: Path
) -> None:
    world = stage.world
    used = await nonce(world.bed, stage.account.address)
    await stage.allow(world.pool, ExecutorRole(0))
    kept = await stage.kept(tmp_path)
    ended = await kept.run_once("--live")
    assert ended.code == 2 and "as pool" in ended.err and ended.err.count("\n") == 1, ended.err

    thin = await open_v3_pool(world.bed, world.uniswap, "WETH", "USDC", 10_000, 200_000)
    await stage.allow(thin, ExecutorRole.POOL_V3)
    assert (await kept.run_once("--live")).code == 0
    refused = kept.events("refused")
    assert {row.borrower for row in refused} == {to_hex(each) for each in world.borrowers}
    assert {row.fields["reason"] for row in refused} <= {"unprofitable", "no_route"}
    assert any(
        "brings" in str(row.fields["detail"]) and "the loan costs" in str(row.fields["detail"]) for row in refused
    )
    assert await nonce(world.bed, stage.account.address) == used + 2, "the owner's two orders"


@pytest.mark.long
async def test_two_operators_share_the_work_with_gas_alone(stage: Stage, tmp_path: Path) -> None:
    """Each with its own nonces; what the executor gains adds up over both."""
    world, kept = stage.world, await stage.kept(tmp_path)
    folder = tmp_path / "second"
    folder.mkdir()
    second = write_throwaway(folder)
    await world.bed.chain.fund([second.address])
    kept.others, kept.signing["most_in_flight"] = [second], 1
    ended = await kept.run_once("--live")
    assert ended.code == 2 and f"{to_hex(second.address)} is none of the operators" in ended.error_line

    await world.bed.chain.send(
        stage.account.address, stage.executor, world.contract, "set_operator", second.address, True
    )
    before_raw, first_block = await stage.holds_raw(stage.executor), await world.bed.chain.block_number() + 1
    before = {each.address: await coins_wei(world.bed, each.address) for each in kept.accounts}
    used = {each.address: await nonce(world.bed, each.address) for each in kept.accounts}
    ended = await kept.run_once("--live")
    assert ended.code == 0, ended.err
    assert not await below_one(world.bed, world.borrowers)
    assert {row.fields["model_error_wad"] for row in kept.events("restored")} == {"0"}

    report = json.loads((await kept.run("report", "--format", "json", "--store", str(kept.store))).out)
    told = {account["signer"].lower(): account for account in report["accounts"]}
    assert set(told) == {to_hex(each.address) for each in kept.accounts}, "both were at work"
    gained_raw: dict[str, int] = {}
    for each in kept.accounts:
        mined = await mined_by(world.bed, each.address, first_block)
        assert [one.nonce for one in mined] == list(range(used[each.address], await nonce(world.bed, each.address)))
        assert all(one.succeeded and one.selector == "0x" + EXECUTE.hex() for one in mined)
        account = told[to_hex(each.address)]
        assert int(account["native_change_wei"]) == await coins_wei(world.bed, each.address) - before[each.address]
        for token, raw in account["tokens"].items():
            gained_raw[token.lower()] = gained_raw.get(token.lower(), 0) + int(raw)
    after_raw = await stage.holds_raw(stage.executor)
    assert gained_raw == {
        to_hex(token): after_raw[token] - raw for token, raw in before_raw.items() if after_raw[token] != raw
    }
