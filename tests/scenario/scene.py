"""A stage for stories: a toy chain, one chain's loop over it, and words for what happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keeper.core.block import BlockRef
from keeper.core.events import Event, Kind
from keeper.core.lending import Side
from keeper.core.order import Submission
from keeper.core.planner import PlanPolicy
from keeper.core.rails import Limits
from keeper.core.standing import Standing
from keeper.core.units import RAY, Address
from keeper.execution.dry import DrySubmitter
from keeper.pipeline.carrying import ByInventory
from keeper.pipeline.desk import Desk, Terms
from keeper.pipeline.loop import ChainLoop, Round
from keeper.pipeline.market import MarketFollower
from keeper.pipeline.railing import Railing
from keeper.pipeline.rails import Rails, SharedPurse
from keeper.ports import Submitter
from tests.toy_arithmetic import ToyMarket, ToyReserve, ToyRules, ToyState
from tests.toy_market import ToyAdapter
from tests.toy_ports import (
    Faults,
    ToyChain,
    ToyFork,
    ToyFunding,
    ToyLive,
    ToySimulator,
)
from tests.toy_records import MemoryCheckpoints, MemoryJournal, MemoryLedger, MemoryPauses
from tests.toy_world import BLOCK_S, Action, Draft, Pool, World, rich

WETH, WBTC, USDC, DAI = range(4)
UNITS = {WETH: 10**18, WBTC: 10**8, USDC: 10**6, DAI: 10**18}
DOLLAR = 10**8
PRICES = {WETH: 2_000 * DOLLAR, WBTC: 50_000 * DOLLAR, USDC: DOLLAR, DAI: DOLLAR}
LIQUIDATOR = Address(b"\x11" * 20)
CHAIN = "toy"
CHAIN_ID = 77


def borrower(number: int) -> Address:
    return Address(b"\xb0" + number.to_bytes(19, "big")[::-1])


def asset(reserve_id: int) -> Address:
    return Address(bytes([0xA0 + reserve_id]) * 20)


def entry_of(market: int) -> Address:
    return Address(bytes([0xE0 + market]) * 20)


def pool_address(market: int) -> Address:
    return Address(bytes([0xC0 + market]) * 20)


def toy_pool(market: int = 0, rules: ToyRules | None = None, **reserve: Any) -> Pool:
    reserves = {
        reserve_id: ToyReserve(reserve_id, asset(reserve_id), unit, **reserve) for reserve_id, unit in UNITS.items()
    }
    return Pool(entry_of(market), pool_address(market), reserves, dict(PRICES), rules or ToyRules())


# -- what happens on the chain ---------------------------------------------------------------------------------------


def opens(who: Address, collateral: Mapping[int, float], debt: Mapping[int, float], *, market: int = 0) -> Action:
    """Whole tokens of collateral and debt."""

    def act(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(market)]
        for reserve_id, tokens in collateral.items():
            raw = int(tokens * UNITS[reserve_id])
            draft.move(pool, who, Side.COLLATERAL, reserve_id, raw)
            draft.flag(pool, who, reserve_id, enabled=True)
        for reserve_id, tokens in debt.items():
            draft.move(pool, who, Side.DEBT, reserve_id, int(tokens * UNITS[reserve_id]), log="Borrow")

    return act


def moves(who: Address, side: Side, reserve_id: int, tokens: float, *, market: int = 0) -> Action:
    """Deposits or repays (or, below 0, the contrary of the first: withdraws; repays)."""

    def act(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(market)]
        draft.move(pool, who, side, reserve_id, int(tokens * UNITS[reserve_id]))

    return act


def price(reserve_id: int, dollars: float | None, *, market: int = 0) -> Action:
    def act(draft: Draft) -> None:
        base = None if dollars is None else int(dollars * DOLLAR)
        draft.state.pools[pool_address(market)].prices_base[reserve_id] = base

    return act


def changes(*, market: int = 0, code: bool = False, **to: Any) -> Action:
    """The pool's configuration changes, and says so."""

    def act(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(market)]
        for name, value in to.items():
            setattr(pool, name, value)
        draft.emit(pool.address, "Changed", code=code)

    return act


def holds(reserve_id: int, tokens: float, *, allowed: float | None = None, market: int = 0) -> Action:
    """What the keeper has of an asset, and may spend."""

    def act(draft: Draft) -> None:
        money = draft.state.tokens
        money.balances_raw[asset(reserve_id), LIQUIDATOR] = int(tokens * UNITS[reserve_id])
        allowance_raw = int((tokens if allowed is None else allowed) * UNITS[reserve_id])
        money.allowances_raw[asset(reserve_id), LIQUIDATOR, pool_address(market)] = allowance_raw

    return act


def accrues(reserve_id: int, per_second: float, *, market: int = 0) -> Action:
    def act(draft: Draft) -> None:
        pool = draft.state.pools[pool_address(market)]
        pool.rate_ray_s[reserve_id] = int(per_second * RAY)

    return act


# -- the stage -------------------------------------------------------------------------------------------------------


class Scene:
    """`mode`: live, dry or fork. Everybody's money is without bound unless a story says what the keeper holds."""

    def __init__(
        self,
        mode: str = "live",
        *,
        pools: Sequence[Pool] | None = None,
        known: Mapping[int, Sequence[ToyRules]] | None = None,
        policy: PlanPolicy | None = None,
        min_profit_base: int = 0,
        fee_cap_wei: int = 10**12,
        priority_share_bps: int = 0,
        wealthy: bool = True,
    ) -> None:
        pools = pools or [toy_pool()]
        self.mode = mode
        self.known = known or {1: [pools[0].rules]}
        self.policy = policy or PlanPolicy()
        self.min_profit_base = min_profit_base
        self.fee_cap_wei = fee_cap_wei
        self.priority_share_bps = priority_share_bps
        self.entries = [pool.entry for pool in pools]
        self.age_s = 0.0
        self.world = World(*pools)
        if wealthy:
            self.world.mine(rich(LIQUIDATOR))
        else:
            self.world.mine(_gas_money)
        self.faults = Faults()
        self.journal = MemoryJournal(self.faults)
        self.checkpoints = MemoryCheckpoints(self.faults)
        self.ledger, self.pauses = MemoryLedger(), MemoryPauses()
        self.limits, self.together, self.least_native_wei = Limits(), Limits(), 0
        self.kill_file: Path | None = None
        self.start()

    def start(self) -> None:
        """A fresh process: only journal, checkpoints and the world outlive it."""
        dealt = self.mode != "live"
        self.chain = ToyChain(self.world, self.faults)
        self.live = ToyLive(self.world, self.faults, LIQUIDATOR)
        self.fork = ToyFork(self.world, self.faults, LIQUIDATOR)
        submitters: dict[str, Submitter] = {"live": self.live, "fork": self.fork, "dry": DrySubmitter()}
        self.adapters = [ToyAdapter(self.known) for _ in self.entries]
        self.followers = [
            self._follower(adapter, entry) for adapter, entry in zip(self.adapters, self.entries, strict=True)
        ]
        self.simulator = ToySimulator(self.world, self.faults, LIQUIDATOR, dealt)
        terms = Terms(
            self.policy,
            self.min_profit_base,
            self.fee_cap_wei,
            asset(WETH),
            2 * BLOCK_S,
            block_s=BLOCK_S,
            priority_share_bps=self.priority_share_bps,
        )
        self.loop = ChainLoop(
            CHAIN,
            self.chain,
            [Desk(follower, terms, 31_337, ByInventory(LIQUIDATOR)) for follower in self.followers],
            {LIQUIDATOR: ToyFunding(self.world, self.faults, LIQUIDATOR, dealt)},
            self.simulator,
            submitters[self.mode],
            self.journal,
            lambda: self.world.tip.ref.timestamp_s + self.age_s,
            60.0,
            dict.fromkeys(self.entries, ()),
            Railing({LIQUIDATOR: self._rails()}),
        )

    def _rails(self) -> Rails:
        purse = SharedPurse(self.ledger, self.together, self.kill_file)
        least_wei = self.least_native_wei
        return Rails(CHAIN, 31_337, LIQUIDATOR, self.limits, least_wei, purse, self.pauses, self.journal)

    def _follower(self, adapter: ToyAdapter, entry: Address) -> MarketFollower[ToyMarket, ToyState]:
        async def first_block(entry: Address) -> int:
            return 1

        return MarketFollower(self.chain, CHAIN, adapter, entry, self.checkpoints, first_block, chain_id=CHAIN_ID)

    # -- heads ---------------------------------------------------------------------------------------------------

    async def head(self, *actions: Action, include: bool = True) -> Round:
        """One more block with these actions, seen by the keeper."""
        self.world.mine(*actions, include=include)
        return await self.see()

    async def see(self) -> Round:
        """The keeper sees the newest block."""
        return await self.loop.on_head(self.world.tip.ref)

    # -- what came of it -----------------------------------------------------------------------------------------

    @property
    def tip(self) -> BlockRef:
        return self.world.tip.ref

    @property
    def submitted(self) -> list[Submission]:
        return self.live.submitted if self.mode == "live" else self.fork.submitted

    def standing(self, who: Address, market: int = 0) -> Standing | None:
        """As recorded at the last judged head of the market."""
        recorded = [row for entry, _, row in self.journal.standings if entry == entry_of(market)]
        return recorded[-1].get(who) if recorded else None

    def reason(self, who: Address, market: int = 0) -> str | None:
        stands = self.standing(who, market)
        return None if stands is None else stands.reason

    def reasons_over_time(self, who: Address, market: int = 0) -> list[str | None]:
        """The reasons at the judged heads, without repetition."""
        found: list[str | None] = []
        for entry, _, row in self.journal.standings:
            reason = row[who].reason if who in row else None
            if entry == entry_of(market) and (not found or found[-1] != reason):
                found.append(reason)
        return found

    def story(self, who: Address) -> list[str]:
        """The kinds of the events about a borrower."""
        return [event.kind.value for event in self.journal.events if event.borrower == who]

    def events(self, *kinds: Kind) -> list[Event]:
        return self.journal.of(*kinds)

    def health_wad(self, who: Address, market: int = 0) -> int:
        """As the chain answers at its newest block."""
        answer = self.world.tip.state.pools[pool_address(market)].answer(
            "health", {"account": who.hex()}, self.tip.timestamp_s
        )
        assert isinstance(answer, list)
        return int(answer[0])

    def orders_for(self, who: Address) -> int:
        return sum(submission.order.borrower == who for submission in self.submitted)


def _gas_money(draft: Draft) -> None:
    draft.state.tokens.native_wei[LIQUIDATOR] = 10**24
