"""How orders are carried: what a plan earns that way, which transactions it makes, what these need, what must come of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.ledger import Stake, Swapped
from keeper.core.lending import LendingAdapter, Position
from keeper.core.order import FeeQuote, Offer, Order, Simulation
from keeper.core.outcome import Skip
from keeper.core.plan import Plan
from keeper.core.planner import Planner, Unfinished
from keeper.core.profit import price_plan
from keeper.core.stakes import stakes_of
from keeper.core.standing import Funds
from keeper.core.steps import Steps
from keeper.core.units import Address
from keeper.pipeline.budget import FundKey
from keeper.pipeline.elsewhere import Elsewhere
from keeper.ports import Chain


@dataclass(frozen=True, slots=True)
class Pricing:
    """What pricing the plans of one market at one head needs."""

    adapter: LendingAdapter[Any, Any]
    market: Any
    state: Any
    fees: FeeQuote
    native_price_base: int
    """Of one whole native coin."""
    min_profit_base: int
    fee_cap_wei: int
    data_fee_wei: int = 0
    """What a rollup asks for posting one transaction of the carrier's, on top of its gas."""

    def paying(self, fees: FeeQuote) -> Pricing:
        return replace(self, fees=fees)


Begun = tuple[Plan, ...] | Skip | Unfinished


class Carrier(Protocol):
    """One market's. Pure but for `tend`; what it knows of a head comes with that head's reads."""

    @property
    def liquidator(self) -> Address:
        """Whom the market sees."""
        ...

    @property
    def executor(self) -> Address | None:
        """The contract whose balances change; None: the signer's own."""
        ...

    @property
    def funds(self) -> Mapping[FundKey, Funds]:
        """What it found itself, with the head's reads, that its orders may spend."""
        ...

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Whom it asks beside the heads; None: nobody."""
        ...

    @property
    def takes_least(self) -> bool:
        """Whether what it begins is the least that restores, so that a plan made ahead of its block may take its place."""
        ...

    def encode_reads(self, adapter: LendingAdapter[Any, Any], market: Any) -> Sequence[Call]:
        """What it must know of each head, read with the market's own state."""
        ...

    def decode_reads(self, adapter: LendingAdapter[Any, Any], market: Any, results: Sequence[CallResult]) -> None: ...

    def begin(
        self,
        planner: Planner[Any, Any],
        position: Position,
        least_gain_base: int | None,
        pricing: Pricing | None,
    ) -> Steps[Begun]:
        """Plans of one call each, best first. `pricing` is None where nothing prices gas: then nothing is sold."""
        ...

    def offers(self, position: Position, plans: Sequence[Plan], pricing: Pricing) -> Steps[tuple[Offer, ...] | Skip]:
        """Those of the plans that pay, in their order; or why none does."""
        ...

    def calls(self, offer: Offer, position: Position, pricing: Pricing) -> tuple[Call, ...]:
        """Its transactions, in order. Whoever is priced next at the same head finds the venues as these leave them."""
        ...

    def joined(
        self, orders: Sequence[Order], positions: Sequence[Position], pricing: Pricing, apart: Set[Address]
    ) -> Steps[list[tuple[Sequence[int], Order]]]:
        """The orders of a wave as they are to go, each with the places in the wave of those whom it serves: several borrowers
        in one transaction where that pays, at the place of the most urgent. `apart`: borrowers who go alone. The gas limits of
        what is new are still to be set."""
        ...

    def swaps(self, offer: Offer, pricing: Pricing) -> tuple[Swapped, ...]: ...

    def measured(self, order: Order, simulation: Simulation, pricing: Pricing) -> Offer | Skip:
        """The order's offer as the simulation shows it; or what did not arrive, or that it does not pay any more."""
        ...

    def final_calls(self, order: Order, offer: Offer, simulation: Simulation) -> tuple[Call, ...]:
        """The order's, asking the contract for as much as the offer needs by now. They do what was simulated, or revert."""
        ...

    def stakes(self, order: Order, offer: Offer, gas_limits: tuple[int, ...], pricing: Pricing) -> tuple[Stake, ...]:
        """What each transaction of the order can cost at worst."""
        ...

    def fund_keys(self, adapter: LendingAdapter[Any, Any], market: Any) -> list[FundKey]:
        """What must be known of the signer's own tokens."""
        ...

    def failed(self, order: Order) -> None:
        """The order reverted in its simulation."""
        ...

    async def tend(self, chain: Chain, adapter: LendingAdapter[Any, Any], market: Any, head: BlockRef) -> None:
        """What no order waits for. Raises `ChainError`."""
        ...


class ByInventory:
    """Each call is a transaction that repays from the signer's own balance and keeps the collateral."""

    executor: Address | None = None
    elsewhere: Elsewhere | None = None
    takes_least = True
    funds: Mapping[FundKey, Funds] = MappingProxyType({})

    def __init__(self, liquidator: Address) -> None:
        self.liquidator = liquidator

    def encode_reads(self, adapter: LendingAdapter[Any, Any], market: Any) -> Sequence[Call]:
        return ()

    def decode_reads(self, adapter: LendingAdapter[Any, Any], market: Any, results: Sequence[CallResult]) -> None:
        return None

    def begin(
        self,
        planner: Planner[Any, Any],
        position: Position,
        least_gain_base: int | None,
        pricing: Pricing | None,
    ) -> Steps[Begun]:
        yield from ()
        return planner.begin(position, least_gain_base)

    def offers(self, position: Position, plans: Sequence[Plan], pricing: Pricing) -> Steps[tuple[Offer, ...] | Skip]:
        yield from ()
        gas = pricing.adapter.estimated_gas(position)
        priced = [_priced(plan, (gas,) * len(plan.calls), pricing) for plan in plans]
        found = tuple(each for each in priced if isinstance(each, Offer))
        refusals = [each for each in priced if isinstance(each, Skip)]
        return found or refusals[0]

    def calls(self, offer: Offer, position: Position, pricing: Pricing) -> tuple[Call, ...]:
        encode = pricing.adapter.encode_liquidation
        return tuple(
            encode(pricing.market, position.borrower, call.pair, call.debt_to_cover_raw) for call in offer.plan.calls
        )

    def joined(
        self, orders: Sequence[Order], positions: Sequence[Position], pricing: Pricing, apart: Set[Address]
    ) -> Steps[list[tuple[Sequence[int], Order]]]:
        yield from ()
        return [((place,), order) for place, order in enumerate(orders)]

    def swaps(self, offer: Offer, pricing: Pricing) -> tuple[Swapped, ...]:
        return ()

    def measured(self, order: Order, simulation: Simulation, pricing: Pricing) -> Offer | Skip:
        return _priced(order.plan, tuple(call.gas_used for call in simulation.calls), pricing)

    def final_calls(self, order: Order, offer: Offer, simulation: Simulation) -> tuple[Call, ...]:
        return order.calls

    def stakes(self, order: Order, offer: Offer, gas_limits: tuple[int, ...], pricing: Pricing) -> tuple[Stake, ...]:
        base_unit, data_fee_wei = pricing.adapter.base_unit(pricing.market), offer.worst_data_fee_wei
        fee_wei, native_price_base = offer.fees.max_fee_wei, pricing.native_price_base
        return stakes_of(offer.plan, gas_limits, fee_wei, native_price_base, base_unit, data_fee_wei)

    def fund_keys(self, adapter: LendingAdapter[Any, Any], market: Any) -> list[FundKey]:
        spender = adapter.spender(market)
        return [(asset, spender) for asset in adapter.assets(market)]

    def failed(self, order: Order) -> None:
        return None

    async def tend(self, chain: Chain, adapter: LendingAdapter[Any, Any], market: Any, head: BlockRef) -> None:
        return None


def _priced(plan: Plan, gas: tuple[int, ...], pricing: Pricing) -> Offer | Skip:
    return price_plan(
        plan,
        gas,
        pricing.fees,
        pricing.native_price_base,
        pricing.min_profit_base,
        pricing.fee_cap_wei,
        pricing.data_fee_wei,
    )
