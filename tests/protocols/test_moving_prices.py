"""Prices that move by the second, on the real contracts: what is planned on a head holds at every second of its window."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keeper.chain.after import ReadsAfter
from keeper.chain.rpc import Entry, Rpc
from keeper.core.block import Call
from keeper.core.errors import ChainError, MethodUnavailable
from keeper.core.lending import Health
from keeper.core.outcome import Skip, Verdict
from keeper.core.plan import Plan
from keeper.core.planner import PlanPolicy
from keeper.core.units import HEALTH_ONE_WAD
from keeper.devnet import admin
from keeper.devnet.feeds import let_move
from keeper.devnet.market import Bed
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from tests.protocols.executing import Executor
from tests.protocols.liquidator import Liquidator, equipped_liquidator
from tests.protocols.onchain import Look, Watcher, cases

WINDOW_S = 24
BP_WAD = 10**14
MOVING = {"WETH": -3 * BP_WAD, "USDC": BP_WAD // 10, "DAI": 2 * BP_WAD, "WBTC": BP_WAD}
"""Of itself, each second: far more than any real source, so that a second matters."""


@dataclass(frozen=True)
class Moving:
    """A bed on which some prices move, some borrowers below 1, and the market as a head has it."""

    bed: Bed
    watcher: Watcher
    market: Market
    look: Look
    state: State
    """With the prices at the window's end."""


async def moving(bed: Bed) -> Moving:
    for symbol, per_second_wad in MOVING.items():
        await let_move(bed, symbol, per_second_wad)
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 93 // 100)
    watcher = Watcher(bed)
    market = await watcher.discover()
    look = await watcher.look(market, [opening.borrower for opening in bed.openings])
    later_s = look.state.block.timestamp_s + WINDOW_S
    answers = await ReadsAfter(bed.chain.rpc).read(watcher.adapter.encode_prices(market), look.state.block, later_s)
    assert answers is not None
    prices_base = watcher.adapter.decode_prices(market, answers)
    state = watcher.adapter.with_later_prices(look.state, later_s, prices_base)
    return Moving(bed, watcher, market, look, state)


async def test_health_between_the_two_readings_is_never_more_than_the_contracts(bed: Bed) -> None:
    """Equal at the head and at the window's end, for everybody; in between a lower bound."""
    scene = await moving(bed)
    accounts = list(scene.look.healths)
    start_s = scene.state.block.timestamp_s
    for second in (start_s, *random.Random(5).sample(range(start_s + 1, start_s + WINDOW_S), 4), start_s + WINDOW_S):
        snapshot = await fresh_snapshot(bed)
        if second > start_s:
            await bed.chain.mine(1, seconds=second - start_s)
        truth = (await scene.watcher.look(scene.market, accounts)).healths
        await revert_to(bed, snapshot)
        for account in accounts:
            ours = scene.watcher.adapter.health(scene.state, scene.look.positions[account], second)
            assert isinstance(ours, Health)
            chain_wad = truth[account].health_factor_wad
            if second in (start_s, start_s + WINDOW_S):
                assert ours.health_factor_wad == chain_wad
            else:
                assert ours.health_factor_wad <= chain_wad


async def test_a_plan_reaches_its_target_at_every_second_of_its_window(bed: Bed) -> None:
    scene = await moving(bed)
    executor = await Executor.on(bed)
    liquidator = await equipped_liquidator(bed, scene.market)
    planner = executor.planner(scene.state, WINDOW_S, PlanPolicy())
    rng = random.Random(11)
    tried = 0
    for account, health in scene.look.healths.items():
        if health.health_factor_wad >= HEALTH_ONE_WAD:
            continue
        plans = planner.plan(scene.look.positions[account])
        if isinstance(plans, Skip) or plans[0].verdict is not Verdict.REACHES_TARGET or len(plans[0].calls) > 1:
            continue
        tried += 1
        for after_s in (1, rng.randint(2, WINDOW_S - 1), WINDOW_S):
            await holds(scene, liquidator, plans[0], after_s)
        if tried == cases(4, 40):
            break
    assert tried >= 3


async def holds(scene: Moving, liquidator: Liquidator, plan: Plan, after_s: int) -> None:
    """Mined so many seconds after the head, the plan's call restores; at the window's end to the wei as planned."""
    [call] = plan.calls
    snapshot = await fresh_snapshot(scene.bed)
    mined = await liquidator.execute(plan.borrower, call.pair, call.debt_to_cover_raw, plan.window.earliest_s + after_s)
    look = await scene.watcher.look(scene.market, [plan.borrower], mined.block.number)
    health_wad = look.healths[plan.borrower].health_factor_wad
    assert health_wad >= plan.target_wad
    if after_s == WINDOW_S:
        [event] = scene.watcher.adapter.decode_liquidation(scene.market, mined.logs, plan.borrower)
        assert (event.repaid_raw, event.received_raw) == (call.at_latest.repaid_raw, call.at_latest.received_raw)
        assert health_wad == call.at_latest.health_after.health_factor_wad
    await revert_to(scene.bed, snapshot)


class WithoutSimulation:
    """A node that does not offer `eth_simulateV1`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method == "eth_simulateV1":
            raise MethodUnavailable(method)
        return await self._rpc.request(method, params)

    async def batch(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        return await self._rpc.batch(entries)


async def test_a_node_that_does_not_simulate_tells_the_same_later_prices(bed36: Bed) -> None:
    scene = await moving(bed36)
    block, later_s = scene.state.block, scene.state.block.timestamp_s + WINDOW_S
    calls = [*scene.watcher.adapter.encode_prices(scene.market), Call(bed36.deployment.pool, b"\x01\x02\x03\x04")]
    simulated = await ReadsAfter(bed36.chain.rpc).read(calls, block, later_s)
    called = await ReadsAfter(WithoutSimulation(bed36.chain.rpc)).read(calls, block, later_s)
    assert simulated is not None and called == simulated
    assert [each.ok for each in called] == [True] * (len(calls) - 1) + [False]
