"""Plans executed on a bed, call by call at chosen seconds of their window, each held against the model to the wei."""

from __future__ import annotations

import random
from dataclasses import dataclass

from keeper.core.lending import Health, Position, Quote
from keeper.core.plan import Plan, PlannedCall, Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.target import TargetPolicy
from keeper.devnet.market import Bed
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from tests.protocols.liquidator import LIQUIDATOR, Executed, Liquidator, equipped_liquidator
from tests.protocols.onchain import Watcher


@dataclass(frozen=True)
class Restored:
    """One plan after its last call."""

    plan: Plan
    health_after: Health
    """As the chain answers in the last inclusion block."""


class Executor:
    """Plans on the newest block of a bed, and executes what it planned."""

    def __init__(self, bed: Bed, watcher: Watcher, market: Market, liquidator: Liquidator) -> None:
        self._bed = bed
        self._watcher = watcher
        self._market = market
        self._liquidator = liquidator

    @classmethod
    async def on(cls, bed: Bed) -> Executor:
        watcher = Watcher(bed)
        market = await watcher.discover()
        return cls(bed, watcher, market, await equipped_liquidator(bed, market))

    def planner(self, state: State, window_s: int, policy: PlanPolicy) -> Planner[Market, State]:
        block = state.block
        window = Window(block.timestamp_s, block.timestamp_s + window_s)
        return Planner(self._watcher.adapter, state, self._market.provider, block, window, LIQUIDATOR, policy)

    async def execute(self, plan: Plan, rng: random.Random) -> Restored:
        """Send every call at a random second of the window, the last one sometimes at its very end."""
        look = await self._watcher.look(self._market, [plan.borrower])
        position, health = look.positions[plan.borrower], look.healths[plan.borrower]
        room_s = plan.window.latest_s - plan.window.earliest_s
        moments = sorted(rng.sample(range(1, room_s + 1), len(plan.calls)))
        if rng.random() < 0.3:
            moments[-1] = room_s
        for call, moment in zip(plan.calls, moments, strict=True):
            mined = await self._liquidator.execute(
                plan.borrower, call.pair, call.debt_to_cover_raw, plan.window.earliest_s + moment
            )
            position, health = await self._same_as_model(plan, call, position, mined)
        return Restored(plan, health)

    async def _same_as_model(
        self, plan: Plan, call: PlannedCall, before: Position, mined: Executed
    ) -> tuple[Position, Health]:
        """Amounts, row and health after one call: the chain's and the model's, without a difference."""
        adapter = self._watcher.adapter
        look = await self._watcher.look(self._market, [plan.borrower], mined.block.number)
        quote = adapter.quote_liquidation(
            look.state, before, call.pair, call.debt_to_cover_raw, mined.block.timestamp_s
        )
        assert isinstance(quote, Quote)
        [event] = adapter.decode_liquidation(self._market, mined.logs, plan.borrower)
        assert (event.repaid_raw, event.received_raw) == (quote.repaid_raw, quote.received_raw)
        after, health = look.positions[plan.borrower], look.healths[plan.borrower]
        assert (after.debt_scaled, after.collateral_scaled) == (
            quote.position_after.debt_scaled,
            quote.position_after.collateral_scaled,
        )
        assert health.health_factor_wad == quote.health_after.health_factor_wad
        return after, health


def random_policy(rng: random.Random) -> PlanPolicy:
    """The default target, or one between 1.001 and 1.1."""
    if rng.random() < 0.5:
        return PlanPolicy()
    return PlanPolicy(target=TargetPolicy(market_wad=10**18 + rng.randint(1, 100) * 10**15))
