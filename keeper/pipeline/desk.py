"""One market's decisions at one head: who is below 1, what would restore them, what that earns, what can be paid for.

Awaits nothing: funds and fees come in as values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from keeper.core.bidding import with_profit_share
from keeper.core.block import BlockRef
from keeper.core.lending import Health, Position
from keeper.core.order import Behind, FeeQuote, Offer, Order, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan, Window
from keeper.core.planner import Planner, PlanPolicy, Unfinished
from keeper.core.prepared import Prepared
from keeper.core.price_policy import Concern, PricePolicies
from keeper.core.profit import gas_cost_base, is_above_cap
from keeper.core.screening import ScreenTerms
from keeper.core.steps import Steps, finished
from keeper.core.units import HEALTH_ONE_WAD, Address
from keeper.pipeline.budget import Budgets, FundKey
from keeper.pipeline.carrying import Carrier, Pricing
from keeper.pipeline.joining import told_apart
from keeper.pipeline.market import MarketFollower
from keeper.pipeline.price_judge import PriceJudge
from keeper.pipeline.ready import Ready
from keeper.pipeline.round import Moment
from keeper.pipeline.trade import DataFee, Posting
from keeper.ports import Chain

SIMULATION_GAS = 3_000_000
"""What each call may burn in a simulation, or three times its estimate: a borrower may hold every asset there is. The gas
limit then follows from what it burnt."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator asks of every order of a market."""

    policy: PlanPolicy
    min_profit_base: int
    fee_cap_wei: int
    """The highest that any transaction may bid, a replacement too."""
    wrapped_native: Address | None
    inclusion_s: int
    """How long after its head a plan must hold."""
    block_s: int = 0
    """The next block is never stamped less than that after its parent, as far as is known."""
    prices: PricePolicies = field(default_factory=PricePolicies)
    priority_share_bps: int = 0
    """So much of the profit above the least is bid as priority."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A borrower below 1 with plans that pay, best first."""

    position: Position
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Admitted:
    """An offer whose money is set aside, with the signer whose money it is."""

    offer: Offer
    signer: Address


class Desk:
    """Decides for one market; keeps nothing between heads."""

    def __init__(
        self,
        follower: MarketFollower[Any, Any],
        terms: Terms,
        chain_id: int,
        carrier: Carrier,
        data_fee: DataFee | None = None,
    ) -> None:
        self.follower = follower
        self.terms = terms
        self.prices = PriceJudge(terms.prices, follower.reader.watch)
        self.ready = Ready()
        """Plans for prices that are about to come."""
        self._chain_id = chain_id
        self.carrier = carrier
        follower.reader.carrier = carrier
        follower.reader.posting = Posting(data_fee)

    @property
    def market(self) -> Address:
        return self.follower.entry

    def naming(self) -> Steps[Sequence[Address]]:
        """Everybody who may be below 1 at the applied block or by the next, the largest debt first; `below_one_from_s` says who
        is. In steps of about a millisecond, between which the book must not change."""
        named = yield from self.follower.book.naming(self._screen_terms())
        return named.accounts

    def tidying(self) -> Steps[None]:
        """Idle work, in steps of a few milliseconds: order the book so that `naming` need not look at everybody."""
        terms = self._screen_terms()
        while self.follower.book.reorder(terms):
            yield

    def _screen_terms(self) -> ScreenTerms:
        block = self.follower.applied
        assert block is not None, "a market is judged after it was followed"
        adapter, state = self.follower.adapter, self.follower.state
        return adapter.screen_terms(state, self.follower.book.columns, block.timestamp_s, self._next_s(block))

    def _next_s(self, block: BlockRef) -> int:
        """The earliest that the next block can be stamped: what is sent now is judged there, or later."""
        return block.timestamp_s + self.terms.block_s

    def health_of(self, borrower: Address) -> Health | Skip:
        """At the applied block's own timestamp, exactly; `Skip` for one that cannot be valued."""
        block = self.follower.applied
        assert block is not None, "a market is judged after it was followed"
        return self.follower.adapter.health(
            self.follower.state, self.follower.book.position(borrower), block.timestamp_s
        )

    def below_one_from_s(self, borrower: Address, health: Health | Skip) -> int | None:
        """The second from which a borrower of this `health_of` is below 1: the block's own where it is already, or cannot be
        valued; the next block's where interest, or a price that moves by itself, brings it there by then. None for others."""
        block = self.follower.applied
        assert block is not None, "a market is judged after it was followed"
        if isinstance(health, Skip) or health.health_factor_wad < HEALTH_ONE_WAD:
            return block.timestamp_s
        next_s = self._next_s(block)
        position = self.follower.book.position(borrower)
        then = self.follower.adapter.health(self.follower.state, position, next_s)
        return next_s if isinstance(then, Health) and then.health_factor_wad < HEALTH_ONE_WAD else None

    def doubts(self, head: BlockRef) -> list[Concern]:
        """What is newly wrong with the prices of this head, by the operator's policies."""
        return self.prices.judge(self.follower.adapter.prices(self.follower.state), head)

    def latest_s(self, head: BlockRef, now_s: int) -> int:
        """Until when the plans of a head must hold; fixed before the head is read, because prices are read as of it.

        They hold from the head's own time on: a chain that mines on demand may stamp its next block long after its head."""
        return max(head.timestamp_s, now_s) + self.terms.inclusion_s

    def window(self, moment: Moment, since_s: int | None = None) -> Window:
        """The one window of a head: every wave is planned in it, and simulated at its end. For whoever is below 1 only from
        `since_s` on it begins then."""
        head = moment.head
        latest_s = self.follower.latest_s or self.latest_s(head, int(moment.now_s))
        return Window(min(latest_s, since_s or head.timestamp_s), latest_s)

    def begin(self, borrower: Address, moment: Moment, since_s: int) -> Steps[Candidate | Skip | Unfinished]:
        """What one call each can do for a borrower below 1 from `since_s` on, and pays; or why nothing does; or that only a
        sequence may. Where sizes are compared on the true curves it is long, so it yields between its steps."""
        adapter, state = self.follower.adapter, self.follower.state
        position = self.follower.book.position(borrower)
        doubted = self.prices.refusal(adapter.relevant_prices(state, position))
        if doubted is not None:
            return doubted
        window, target = self.window(moment, since_s), self.terms.policy.target
        if self.carrier.takes_least:
            ready = self.ready.find(adapter, state, position, moment.head, window, target)
            if ready is not None:
                return (yield from self._candidate(position, ready, moment.fees))
        least_gain_base = self._least_gain_base(position, moment.fees)
        planner = self._planner(moment, since_s)
        pricing = self._pricing(moment.fees)
        begun = yield from self.carrier.begin(
            planner, position, least_gain_base, pricing if isinstance(pricing, Pricing) else None
        )
        if isinstance(begun, Skip | Unfinished):
            return begun
        return (yield from self._candidate(position, begun, moment.fees))

    def candidate_behind(self, prepared: Prepared, fees: FeeQuote) -> Candidate | Skip:
        """What was planned for prices that a pending transaction will bring, where it pays; gas is priced as of now."""
        adapter, state = self.follower.adapter, self.follower.state
        doubted = self.prices.refusal(adapter.relevant_prices(state, prepared.position))
        return doubted or finished(self._candidate(prepared.position, prepared.plans, fees))

    def finish(self, begun: Unfinished, moment: Moment, since_s: int) -> Steps[Candidate | Skip]:
        """Sequences for a borrower whom no single call restores; long, so it yields between its steps."""
        plans = yield from self._planner(moment, since_s).finish(begun)
        return plans if isinstance(plans, Skip) else (yield from self._candidate(begun.position, plans, moment.fees))

    def _planner(self, moment: Moment, since_s: int) -> Planner[Any, Any]:
        return self.planner(self.follower.state, moment.head, self.window(moment, since_s))

    def planner(self, state: Any, block: BlockRef, window: Window) -> Planner[Any, Any]:
        """Plans on a state that need not be the follower's."""
        adapter, policy = self.follower.adapter, self.terms.policy
        return Planner(adapter, state, self.market, block, window, self.carrier.liquidator, policy)

    def _least_gain_base(self, position: Position, fees: FeeQuote) -> int | None:
        """What even the smallest order must bring: the gas of one call, and the profit asked for. None while the fees are
        not to be paid anyhow, or nothing prices gas: then that is the reason, not the size."""
        pricing = self._pricing(fees)
        if isinstance(pricing, Skip) or is_above_cap(fees, pricing.fee_cap_wei):
            return None
        gas = self.follower.adapter.estimated_gas(position)
        cost_base = gas_cost_base(gas, fees.max_fee_wei, pricing.native_price_base, pricing.data_fee_wei)
        return cost_base + self.terms.min_profit_base

    def _candidate(self, position: Position, plans: Sequence[Plan], fees: FeeQuote) -> Steps[Candidate | Skip]:
        """Those of the plans that pay."""
        pricing = self._pricing(fees)
        if isinstance(pricing, Skip):
            return pricing
        offers = yield from self.carrier.offers(position, plans, pricing)
        return offers if isinstance(offers, Skip) else Candidate(position, offers)

    def admit(
        self, candidate: Candidate, budgets: Budgets, rooms: Mapping[Address, int | None], moment: Moment
    ) -> Admitted | Skip:
        """The first offer that a signer can pay for, its money reserved; or why the best one cannot be paid for. `rooms`: see
        `Budgets.take`."""
        spender = self.follower.adapter.spender(self.follower.market)
        refusal: Skip | None = None
        for offer in candidate.offers:
            taken = budgets.take(offer, spender, self.gas_wei(offer), rooms, moment.reserved)
            if not isinstance(taken, Skip):
                return Admitted(offer, taken)
            refusal = refusal or taken
        assert refusal is not None, "a candidate has at least one offer"
        return refusal

    def order(self, admitted: Admitted, attempt: str, behind: Behind | None = None) -> Order:
        """The exact calls of an offer."""
        offer = admitted.offer
        pricing = self._pricing(offer.fees)
        assert isinstance(pricing, Pricing), "an offer was priced at this very head"
        position = self.follower.book.position(offer.plan.borrower)
        return Order(
            attempt=attempt,
            chain_id=self._chain_id,
            offer=offer,
            signer=admitted.signer,
            spender=self.follower.adapter.spender(self.follower.market),
            calls=self.carrier.calls(offer, position, pricing),
            gas_limits=_simulated_gas(offer),
            swaps=self.carrier.swaps(offer, pricing),
            behind=behind,
            executor=self.carrier.executor,
        )

    def joined(self, orders: Sequence[Order], apart: Set[Address]) -> Steps[list[tuple[Sequence[int], Order]]]:
        """The orders of a wave as they are to go, each with the places in the wave of those whom it serves. Yields between its
        steps."""
        pricing = self._pricing(orders[0].offer.fees)
        assert isinstance(pricing, Pricing), "an order was priced at this very head"
        positions = [self.follower.book.position(order.borrower) for order in orders]
        found = yield from self.carrier.joined(orders, positions, pricing, apart)
        return [(places, replace(order, gas_limits=_simulated_gas(order.offer))) for places, order in found]

    def reprice(self, order: Order, simulation: Simulation) -> Order | Skip:
        """The order with its simulated gas: the same price function once more, and the gas limits."""
        pricing = self._pricing(order.offer.fees)
        if isinstance(pricing, Skip):
            return pricing
        for part, seen in zip(order.parts, simulation.members or (simulation,), strict=True):
            mismatch = differs(part.plan, seen) or (order.executor is None and falls_short(part.plan, seen))
            if mismatch:
                return Skip(Reason.MARKET_UNVERIFIED, mismatch, part.plan.verdict)
        priced = self.carrier.measured(order, simulation, pricing)
        if isinstance(priced, Offer):
            bids = [self._bid(part.offer, pricing.native_price_base) for part in order.members]
            # Who is left out on chain pays nothing: what the others bid must be theirs, whoever they are.
            bid = (
                min(bids, key=lambda fees: fees.priority_fee_wei)
                if bids
                else self._bid(priced, pricing.native_price_base)
            )
            priced = self.carrier.measured(order, simulation, pricing.paying(bid))
        if isinstance(priced, Skip):
            return priced
        limits = tuple(gas_limit(used) for used in priced.gas)
        stakes = self.carrier.stakes(order, priced, limits, pricing)
        calls = self.carrier.final_calls(order, priced, simulation)
        return told_apart(replace(order, offer=priced, calls=calls, gas_limits=limits, stakes=stakes))

    def _bid(self, offer: Offer, native_price_base: int) -> FeeQuote:
        """With the operator's share of what the offer earns above the least."""
        spare_base = offer.profit.net_base - self.terms.min_profit_base
        share_bps, cap_wei = self.terms.priority_share_bps, self.terms.fee_cap_wei
        return with_profit_share(offer.fees, spare_base, share_bps, sum(offer.gas), native_price_base, cap_wei)

    def promise(self, order: Order, budgets: Budgets) -> None:
        """Set aside what an order may pull and burn."""
        budgets.reserve(order.signer, order.offer, order.spender, self.gas_wei(order.offer))

    def free(self, order: Order, budgets: Budgets) -> None:
        """Take that back."""
        budgets.release(order.signer, order.offer, order.spender, self.gas_wei(order.offer))

    def gas_wei(self, offer: Offer) -> int:
        """What a node wants to see in the account before it takes the order's transactions."""
        posting_wei = len(offer.gas) * offer.worst_data_fee_wei
        return sum(gas_limit(gas) for gas in offer.gas) * offer.fees.max_fee_wei + posting_wei

    def fund_keys(self) -> list[FundKey]:
        """Every asset that a plan of this market may repay, with who pulls it; none before the market is discovered."""
        if not self.follower.built:
            return []
        return self.carrier.fund_keys(self.follower.adapter, self.follower.market)

    async def tend(self, chain: Chain) -> None:
        """What no order waits for. Raises `ChainError`."""
        block = self.follower.applied
        if block is not None:
            await self.carrier.tend(chain, self.follower.adapter, self.follower.market, block)

    def _pricing(self, fees: FeeQuote) -> Pricing | Skip:
        """Or why gas cannot be priced."""
        follower, terms = self.follower, self.terms
        native_price_base, data_fee_wei = self._native_price_base(), follower.reader.posting.fee_wei
        if native_price_base is None:
            return Skip(Reason.UNPRICEABLE, "the native coin has no price: set wrapped_native to one of the reserves")
        if data_fee_wei is None:
            return Skip(Reason.UNPRICEABLE, "the rollup's data fee cannot be read")
        return Pricing(
            follower.adapter,
            follower.market,
            follower.state,
            fees,
            native_price_base,
            terms.min_profit_base,
            terms.fee_cap_wei,
            data_fee_wei,
        )

    def _native_price_base(self) -> int | None:
        if self.terms.wrapped_native is None:
            return None
        one_coin_wei = 10**18
        return self.follower.adapter.value_base_floor(self.follower.state, self.terms.wrapped_native, one_coin_wei)


def fix_windows(desks: Sequence[Desk], head: BlockRef, now_s: int) -> None:
    """Until when the plans of a head must hold, for all its markets: their orders are simulated together. Where plans were
    prepared for this head, the end that they were sized for, if it is at most a third of the window from the usual one."""
    usual = [desk.latest_s(head, now_s) for desk in desks]
    ends = [
        desk.ready.window_end_s(head, usual_s, desk.terms.inclusion_s // 3)
        for desk, usual_s in zip(desks, usual, strict=True)
    ]
    prepared_s = next((end_s for end_s in ends if end_s is not None), None)
    for desk, usual_s in zip(desks, usual, strict=True):
        desk.follower.latest_s = usual_s if prepared_s is None else prepared_s


def _simulated_gas(offer: Offer) -> tuple[int, ...]:
    return tuple(max(SIMULATION_GAS, 3 * gas) for gas in offer.gas)


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
    return None


def falls_short(plan: Plan, simulation: Simulation) -> str | None:
    """In words, where less of an asset arrives in our own account than the market pays out."""
    for asset, gained_raw in (simulation.gained_raw or {}).items():
        expected_raw = sum(
            call.at_latest.received_raw * (call.pair.collateral_asset == asset)
            - call.at_latest.repaid_raw * (call.pair.debt_asset == asset)
            for call in plan.calls
        )
        if gained_raw < expected_raw:
            return f"of {expected_raw} raw of 0x{asset.hex()} that are paid out, {gained_raw} arrive"
    return None
