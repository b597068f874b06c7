"""What is planned and what the executor's transaction then does, on the real Aave and Uniswap: equal to the unit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from keeper.chain.blocks import read_header
from keeper.core.executor import ExecutorRole, Loan, LoanSource
from keeper.core.lending import Position
from keeper.core.plan import Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.selling.costs import AssetPrice, Costs
from keeper.core.selling.deal import Deal, Dealt, Terms, prices_of
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.objective import MaxProfit, Objective, Restore, choose
from keeper.core.selling.order import executor_plan
from keeper.core.swap import Selling, StepKind
from keeper.core.units import Address
from keeper.devnet.chain import Tx
from keeper.devnet.errors import Reverted
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.devnet.uniswap import open_v3_pool
from keeper.execution.executor_calls import encode_execute, explain_refusal
from keeper.protocols.aave_v3.adapter import AaveV3
from tests.contracts.world import OPERATOR, OWNER, World, started_world
from tests.protocols.onchain import Watcher
from tests.routes.on_chain import Following, equip, following, pool_at, swap

pytestmark = pytest.mark.asyncio(loop_scope="module")
FREE, AAVE = 0, 500
"""Premiums of the lenders, in millionths."""


@dataclass
class Scene:
    """The executor's world with more pools, and the pools as the keeper follows them."""

    world: World
    watch: Following

    async def exchange(self) -> Exchange:
        return await self.watch.look(("WETH", "USDC"))

    async def deal(self, number: int, objective: Objective, terms: Terms) -> tuple[Deal, Position]:
        """What the objective does about one borrower at the newest block."""
        bed = self.world.bed
        watcher = Watcher(bed)
        market = await watcher.discover()
        borrower = self.world.borrowers[number]
        look = await watcher.look(market, [borrower])
        head = await read_header(bed.chain.rpc, "latest")
        window = Window(head.timestamp_s, head.timestamp_s + 600)
        planner = Planner(AaveV3(), look.state, self.world.market, head, window, self.world.executor, PlanPolicy())
        found = choose(objective, planner, look.positions[borrower], terms)
        assert isinstance(found, Dealt), found
        (deal,) = found.deals
        return deal, look.positions[borrower]

    async def terms(self, premium: int, selling: Selling = Selling.ALL, exchange: Exchange | None = None) -> Terms:
        watcher = Watcher(self.world.bed)
        market = await watcher.discover()
        prices = prices_of(watcher.adapter, (await watcher.look(market, [])).state, watcher.adapter.assets(market))
        assert prices[self.world.usdc] == AssetPrice(await self.world.bed.price_base("USDC"), 10**6)
        costs = Costs(400_000, 250_000, 10**8, 0, premium, prices[self.world.weth])
        receipts = {reserve.asset: reserve.a_token for reserve in market.reserves}
        return Terms(exchange or await self.exchange(), prices, costs, selling=selling, receipts=receipts)

    async def execute(self, deal: Deal, position: Position, loan: Loan) -> None:
        """As the operator would. Raises Reverted."""
        debt_token = self.world.bed.asset("USDC").v_token
        head = await read_header(self.world.bed.chain.rpc, "latest")
        plan = executor_plan(deal, position, self.world.market, debt_token, loan, head.timestamp_s + 600)
        call = encode_execute(self.world.executor, plan)
        await self.world.bed.chain.transact(Tx(OPERATOR, call.target, call.calldata, gas=6_000_000), "execute")

    async def gained_raw(self, deal: Deal, position: Position, loan: Loan, token: Address) -> int:
        before = await self.world.balance_raw(token)
        await self.execute(deal, position, loan)
        return await self.world.balance_raw(token) - before

    @property
    def by_market(self) -> Loan:
        return Loan(LoanSource.MARKET, self.world.market)

    @property
    def by_morpho(self) -> Loan:
        return Loan(LoanSource.MORPHO, self.world.morpho.address)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_scene() -> AsyncIterator[Scene]:
    async with started_world() as world:
        for first, second, fee in (("WETH", "DAI", 3_000), ("DAI", "USDC", 100)):
            pool = await open_v3_pool(world.bed, world.uniswap, first, second, fee, 3_000_000)
            await world.allow(pool, ExecutorRole.POOL_V3)
        watch = following(world.bed, world.uniswap, ("WETH", "USDC"), ("DAI",))
        await watch.discover()
        await equip(world.bed, world.uniswap, ("WETH", "USDC"))
        for address in watch.pools.pools:
            role = ExecutorRole.PAIR_V2 if address == world.pair else ExecutorRole.POOL_V3
            await world.allow(address, role)
        yield Scene(world, watch)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(whole_scene: Scene) -> AsyncIterator[Scene]:
    snapshot = await fresh_snapshot(whole_scene.world.bed)
    yield whole_scene
    await revert_to(whole_scene.world.bed, snapshot)


@pytest.mark.parametrize("objective, premium", [(Restore(), FREE), (MaxProfit(), AAVE)])
async def test_a_split_brings_what_was_planned(scene: Scene, objective: Objective, premium: int) -> None:
    whole = await scene.exchange()
    # Without the cheapest pool those of three tenths of a percent are left, and two hops for as much.
    pools = tuple(pool for pool in whole.pools if pool.address != scene.world.pool)
    deal, position = await scene.deal(5, objective, await scene.terms(premium, exchange=replace(whole, pools=pools)))
    (route,) = deal.routes
    assert {step.token_in for step in route.steps} >= {scene.world.weth} and len(route.steps) > 1
    loan = scene.by_market if premium else scene.by_morpho
    gained_raw = await scene.gained_raw(deal, position, loan, scene.world.usdc)
    planned_raw = deal.earnings.proceeds_raw - deal.earnings.repaid_raw - deal.earnings.premium_raw
    call = deal.calls[0]
    if call.at_earliest.received_raw == call.at_latest.received_raw:
        assert gained_raw == planned_raw
    else:
        # As much as may be repaid, which grows until the block comes: planned is the worse end of the window.
        assert planned_raw <= gained_raw <= planned_raw * 10_001 // 10_000
    assert gained_raw > deal.earnings.gas_raw
    for token in (scene.world.weth, scene.world.bed.asset("DAI").token):
        assert await scene.world.balance_raw(token) == 0


async def test_two_hops_bring_what_was_planned(scene: Scene) -> None:
    whole = await scene.exchange()
    without = tuple(pool for pool in whole.pools if {*pool.tokens} != {scene.world.weth, scene.world.usdc})
    deal, position = await scene.deal(1, Restore(), await scene.terms(FREE, exchange=replace(whole, pools=without)))
    assert [step.token_out for step in deal.routes[0].steps][-1] == scene.world.usdc
    assert len(deal.routes[0].steps) == 2
    gained_raw = await scene.gained_raw(deal, position, scene.by_morpho, scene.world.usdc)
    assert gained_raw == deal.earnings.proceeds_raw - deal.earnings.repaid_raw
    assert await scene.world.balance_raw(scene.world.bed.asset("DAI").token) == 0


@pytest.mark.parametrize("hops", [1, 2])
async def test_only_the_debt_is_covered_and_the_rest_kept(scene: Scene, hops: int) -> None:
    whole = await scene.exchange()
    direct = {scene.world.weth, scene.world.usdc}
    pools = tuple(pool for pool in whole.pools if ({*pool.tokens} == direct) == (hops == 1))
    terms = await scene.terms(AAVE, Selling.COVER, replace(whole, pools=pools))
    deal, position = await scene.deal(2, Restore(), terms)
    (route,) = deal.routes
    assert {step.kind for step in route.steps} == {StepKind.POOL_V3_EXACT_OUT} and len(route.steps) == hops
    before_raw = await scene.world.balance_raw(scene.world.usdc)
    kept_raw = await scene.gained_raw(deal, position, scene.by_market, scene.world.weth)
    call = deal.calls[0]
    assert kept_raw == call.at_earliest.received_raw - route.amount_in_raw
    # The market's own premium is rounded to the nearest unit, ours up.
    assert await scene.world.balance_raw(scene.world.usdc) - before_raw in (0, 1)


@pytest.mark.parametrize("selling", [Selling.HOLD, Selling.HOLD_A_TOKEN])
async def test_collateral_is_held_and_the_inventory_repays(scene: Scene, selling: Selling) -> None:
    deal, position = await scene.deal(3, Restore(), await scene.terms(AAVE, selling))
    assert deal.routes[0].selling.needs_inventory and deal.earnings.premium_raw == 0 and not deal.routes[0].steps
    await scene.world.give(scene.world.usdc, deal.borrowed_raw)
    await scene.world.send(OWNER, "set_loss_left", scene.world.usdc, deal.borrowed_raw)
    weth = scene.world.bed.asset("WETH")
    token = weth.a_token if selling is Selling.HOLD_A_TOKEN else weth.token
    kept_raw = await scene.gained_raw(deal, position, Loan(LoanSource.INVENTORY), token)
    assert abs(kept_raw - deal.calls[0].at_earliest.received_raw) <= (1 if selling is Selling.HOLD_A_TOKEN else 0)
    assert await scene.world.balance_raw(scene.world.usdc) == deal.borrowed_raw - deal.earnings.repaid_raw


async def test_a_price_that_moved_too_far_reverts_and_leaves_nothing(scene: Scene) -> None:
    whole = await scene.exchange()
    one = replace(whole, pools=(pool_at(whole, scene.world.pool),))
    deal, position = await scene.deal(4, Restore(), await scene.terms(FREE, exchange=one))
    route = deal.routes[0]
    pool = pool_at(one, scene.world.pool)
    tolerance_bps = (route.amount_out_raw - route.least_out_raw) * 10_000 // route.amount_out_raw
    assert 10 <= tolerance_bps < 100
    # Somebody sells in front of us: a hundredth of the pool moves its price by two.
    await swap(scene.world.bed, scene.world.uniswap, pool, scene.world.weth, 260 * 10**18, exact_out=False)  # type: ignore[arg-type]
    with pytest.raises(Reverted) as refused:
        await scene.execute(deal, position, scene.by_morpho)
    assert explain_refusal(refused.value.data) == "a swap gives less than its limit"
    assert await scene.world.balance_raw(scene.world.weth) == 0 == await scene.world.balance_raw(scene.world.usdc)
