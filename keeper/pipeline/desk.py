"""One market's decisions at one head: who is below 1, what would restore them, what that earns, what can be paid for.

Awaits nothing: funds and fees come in as values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.core.block import BlockRef
from keeper.core.lending import Position
from keeper.core.order import FeeQuote, Offer, Order, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan, Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.profit import price_plan
from keeper.core.standing import Funds
from keeper.core.units import HEALTH_ONE_WAD, Address
from keeper.pipeline.market import MarketFollower

SIMULATION_GAS = 3_000_000
"""What each call may burn in a simulation, or three times its estimate: a borrower may hold every asset there is. The gas
limit then follows from what it burnt."""

FundKey = tuple[Address, Address]
"""(debt asset, who pulls it)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator asks of every order of a market."""

    policy: PlanPolicy
    min_profit_base: int
    fee_cap_wei: int
    wrapped_native: Address | None
    inclusion_s: int
    """How long after its head a plan must hold."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A borrower below 1 with plans that pay, best first."""

    position: Position
    offers: tuple[Offer, ...]


@dataclass(slots=True)
class Budget:
    """What is left to spend at one head, shared by all its orders."""

    funds: Mapping[FundKey, Funds]
    gas_money_wei: int | None
    reserved_raw: dict[FundKey, int] = field(default_factory=dict)
    """Promised to orders that are under way or admitted at this head: they share the balance, and each spender's orders
    its allowance."""

    def take(self, plan: Plan, spender: Address, gas_wei: int) -> Skip | None:
        """Reserve what the plan needs; or why that is not possible."""
        for asset, needed_raw in plan.debts_raw.items():
            funds = self.funds.get((asset, spender))
            if funds is None:
                return Skip(Reason.NO_INVENTORY, f"balance of 0x{asset.hex()} is not known", plan.verdict)
            promised_raw = sum(raw for (each, _), raw in self.reserved_raw.items() if each == asset)
            refusal = shortage(asset, needed_raw, funds, promised_raw, self.reserved_raw.get((asset, spender), 0))
            if refusal is not None:
                return Skip(refusal.reason, refusal.detail, plan.verdict)
        if self.gas_money_wei is not None and self.gas_money_wei < gas_wei:
            return Skip(Reason.NO_INVENTORY, f"gas may cost {gas_wei} wei, {self.gas_money_wei} are left", plan.verdict)
        self.reserve(plan, spender)
        if self.gas_money_wei is not None:
            self.gas_money_wei -= gas_wei
        return None

    def reserve(self, plan: Plan, spender: Address) -> None:
        """Promise what the plan may pull."""
        for asset, needed_raw in plan.debts_raw.items():
            self.reserved_raw[asset, spender] = self.reserved_raw.get((asset, spender), 0) + needed_raw


def shortage(asset: Address, needed_raw: int, funds: Funds, reserved_raw: int, allotted_raw: int) -> Skip | None:
    """Why `needed_raw` of an asset cannot be promised; None when it can. `reserved_raw` of the balance and `allotted_raw` of
    the allowance are promised already."""
    if funds.balance_raw is not None and funds.balance_raw - reserved_raw < needed_raw:
        if funds.balance_raw >= needed_raw:
            return Skip(Reason.RESERVED, f"{reserved_raw} of {funds.balance_raw} raw of 0x{asset.hex()} are promised")
        return Skip(Reason.NO_INVENTORY, f"needs {needed_raw} raw of 0x{asset.hex()}, has {funds.balance_raw}")
    if funds.allowance_raw is not None and funds.allowance_raw - allotted_raw < needed_raw:
        return Skip(
            Reason.NO_ALLOWANCE, f"needs an allowance of {needed_raw} raw of 0x{asset.hex()}, has {funds.allowance_raw}"
        )
    return None


class Desk:
    """Decides for one market; keeps nothing between heads."""

    def __init__(self, follower: MarketFollower[Any, Any], terms: Terms, chain_id: int, liquidator: Address) -> None:
        self.follower = follower
        self.terms = terms
        self._chain_id = chain_id
        self._liquidator = liquidator

    @property
    def market(self) -> Address:
        return self.follower.entry

    def below_one(self) -> dict[Address, int | Skip]:
        """Every borrower below 1 at the applied block with its health; `Skip` for one that cannot be valued."""
        block = self.follower.applied
        assert block is not None, "a market is judged after it was followed"
        adapter, state = self.follower.adapter, self.follower.state
        sick: dict[Address, int | Skip] = {}
        for position in self.follower.book.positions():
            health = adapter.health(state, position, block.timestamp_s)
            if isinstance(health, Skip):
                sick[position.borrower] = health
            elif health.health_factor_wad < HEALTH_ONE_WAD:
                sick[position.borrower] = health.health_factor_wad
        return sick

    def latest_s(self, head: BlockRef, now_s: int) -> int:
        """Until when the plans of a head must hold; fixed before the head is read, because prices are read as of it."""
        return max(head.timestamp_s, now_s) + self.terms.inclusion_s

    def candidate(self, borrower: Address, head: BlockRef, now_s: int, fees: FeeQuote) -> Candidate | Skip:
        """Plans for one borrower that pay; or why there are none.

        They hold from the head's own time until the inclusion window after now: a chain that mines on demand may stamp
        its next block long after its head."""
        adapter, state = self.follower.adapter, self.follower.state
        position = self.follower.book.position(borrower)
        window = Window(head.timestamp_s, self.follower.latest_s or self.latest_s(head, now_s))
        planner = Planner(adapter, state, self.market, head, window, self._liquidator, self.terms.policy)
        plans = planner.plan(position)
        if isinstance(plans, Skip):
            return plans
        native_price_base = self._native_price_base()
        if native_price_base is None:
            return Skip(Reason.UNPRICEABLE, "the native coin has no price: set wrapped_native to one of the reserves")
        gas = adapter.estimated_gas(position)
        offers: list[Offer] = []
        refusal: Skip | None = None
        for plan in plans:
            priced = self._price(plan, (gas,) * len(plan.calls), fees, native_price_base)
            if isinstance(priced, Skip):
                refusal = refusal or priced
            else:
                offers.append(priced)
        if not offers:
            assert refusal is not None, "a planned borrower has at least one plan"
            return refusal
        return Candidate(position, tuple(offers))

    def admit(self, candidate: Candidate, budget: Budget) -> Offer | Skip:
        """The first offer that the budget can pay for, its money reserved; or why the best one cannot be paid for."""
        spender = self.follower.adapter.spender(self.follower.market)
        refusal: Skip | None = None
        for offer in candidate.offers:
            taken = budget.take(offer.plan, spender, self.gas_wei(offer))
            if taken is None:
                return offer
            refusal = refusal or taken
        assert refusal is not None, "a candidate has at least one offer"
        return refusal

    def order(self, offer: Offer, attempt: str) -> Order:
        """The exact calls of an offer."""
        adapter, market = self.follower.adapter, self.follower.market
        plan = offer.plan
        return Order(
            attempt=attempt,
            chain_id=self._chain_id,
            offer=offer,
            spender=adapter.spender(market),
            calls=tuple(
                adapter.encode_liquidation(market, plan.borrower, call.pair, call.debt_to_cover_raw)
                for call in plan.calls
            ),
            gas_limits=tuple(max(SIMULATION_GAS, 3 * gas) for gas in offer.gas),
        )

    def reprice(self, order: Order, simulation: Simulation) -> Order | Skip:
        """The order with its simulated gas: the same price function once more, and the gas limits."""
        plan = order.plan
        native_price_base = self._native_price_base()
        assert native_price_base is not None, "an order was priced before"
        mismatch = differs(plan, simulation)
        if mismatch is not None:
            return Skip(Reason.MARKET_UNVERIFIED, mismatch, plan.verdict)
        gas = tuple(call.gas_used for call in simulation.calls)
        priced = self._price(plan, gas, order.offer.fees, native_price_base)
        if isinstance(priced, Skip):
            return priced
        limits = tuple(gas_limit(used) for used in gas)
        return Order(order.attempt, order.chain_id, priced, order.spender, order.calls, limits)

    def gas_wei(self, offer: Offer) -> int:
        """What a node wants to see in the account before it takes the order's transactions."""
        return sum(gas_limit(gas) for gas in offer.gas) * offer.fees.max_fee_wei

    def fund_keys(self, candidates: Sequence[Candidate]) -> list[FundKey]:
        spender = self.follower.adapter.spender(self.follower.market)
        assets = {asset for candidate in candidates for offer in candidate.offers for asset in offer.plan.debts_raw}
        return [(asset, spender) for asset in sorted(assets)]

    def _price(self, plan: Plan, gas: tuple[int, ...], fees: FeeQuote, native_price_base: int) -> Offer | Skip:
        return price_plan(plan, gas, fees, native_price_base, self.terms.min_profit_base, self.terms.fee_cap_wei)

    def _native_price_base(self) -> int | None:
        if self.terms.wrapped_native is None:
            return None
        one_coin_wei = 10**18
        return self.follower.adapter.value_base_floor(self.follower.state, self.terms.wrapped_native, one_coin_wei)


def gas_limit(gas_used: int) -> int:
    """Room for refunds (up to a fifth of what is burnt comes back only afterwards) and for a warmer or colder block."""
    return gas_used * 3 // 2 + 50_000


def differs(plan: Plan, simulation: Simulation) -> str | None:
    """In words, where the simulated liquidations are not the planned ones to the wei."""
    measured = [event for call in simulation.calls for event in call.liquidations]
    planned = [(call.at_latest.repaid_raw, call.at_latest.received_raw) for call in plan.calls]
    found = [(event.repaid_raw, event.received_raw) for event in measured]
    if found != planned:
        return f"the simulation repays and receives {found}, our arithmetic says {planned}"
    expected_wad = plan.calls[-1].at_latest.health_after.health_factor_wad
    if simulation.health_factor_after_wad != expected_wad:
        return f"the simulation ends at health {simulation.health_factor_after_wad}, our arithmetic at {expected_wad}"
    for asset, gained_raw in (simulation.gained_raw or {}).items():
        expected_raw = sum(
            call.at_latest.received_raw * (call.pair.collateral_asset == asset)
            - call.at_latest.repaid_raw * (call.pair.debt_asset == asset)
            for call in plan.calls
        )
        if gained_raw < expected_raw:
            return f"of {expected_raw} raw of 0x{asset.hex()} that are paid out, {gained_raw} arrive"
    return None
