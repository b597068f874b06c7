"""What the calls of a plan bring when their collateral is sold, transaction by transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from keeper.core.executor import MOST_SWAPS
from keeper.core.lending import LendingAdapter
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Plan, PlannedCall
from keeper.core.selling.costs import AssetPrice, Costs, Earnings
from keeper.core.selling.exchange import Exchange, Path
from keeper.core.selling.route import route_of_purchase, route_of_sale
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.selling.split import MOST_LEGS, best_purchase, best_sale
from keeper.core.swap import Filled, Route, Selling, Wish
from keeper.core.units import Address

_MOST_HOPS = 2
POOLS = "pools"
"""The venue whose quotes are computed from what the pinned batch reads."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What selling and paying costs at one head."""

    exchange: Exchange
    prices: Mapping[Address, AssetPrice]
    """The market's own oracle's; an asset without a price is absent."""
    costs: Costs
    slippage: SlippagePolicy = field(default_factory=SlippagePolicy)
    selling: Selling = Selling.ALL
    receipts: Mapping[Address, Address] = field(default_factory=dict)
    """The market's receipt tokens by asset, for `Selling.HOLD_A_TOKEN`."""


def prices_of(adapter: LendingAdapter[Any, Any], state: Any, assets: Iterable[Address]) -> dict[Address, AssetPrice]:
    """What the market's own oracle says of the assets at the state's block; those without a price are left out."""
    found = {asset: adapter.price_and_unit(state, asset) for asset in assets}
    return {asset: AssetPrice(*priced) for asset, priced in found.items() if priced and priced[0]}


@dataclass(frozen=True, slots=True)
class Deal:
    """One transaction of the executor: calls that repay one asset, and what becomes of their collateral."""

    debt_asset: Address
    calls: tuple[PlannedCall, ...]
    routes: tuple[Route, ...]
    """One for each collateral asset, in the order in which they are sold."""
    borrowed_raw: int
    earnings: Earnings


@dataclass(frozen=True, slots=True)
class Dealt:
    """A plan with what it earns."""

    plan: Plan
    deals: tuple[Deal, ...]
    """In order: a plan that repays several assets takes several transactions."""
    exchange: Exchange
    """As all of it leaves the pools, for whoever comes next at the same head."""

    @property
    def spent_raw(self) -> Mapping[Address, int]:
        """What it takes out of the inventory at most, per debt asset."""
        held = [deal for deal in self.deals if deal.routes[0].selling.needs_inventory]
        return {deal.debt_asset: deal.borrowed_raw for deal in held}

    @property
    def net_base(self) -> int:
        """Over all transactions, rounded against us."""
        return sum(deal.earnings.net_base for deal in self.deals)


@dataclass(frozen=True, slots=True)
class _Sold:
    route: Route
    fills: tuple[Filled, ...]
    proceeds_raw: int
    """In the debt asset, what is kept included."""
    least_proceeds_raw: int


Quoted = Mapping[tuple[Address, Address], Route]
"""Routes that other venues gave, by collateral and debt asset."""
_NONE: Quoted = {}


def dealt(plan: Plan, terms: Terms, quoted: Quoted = _NONE) -> Dealt | Skip:
    """The plan's transactions, each quoted on the pools as those before leave them; or why it cannot be sold. A route of
    another venue is taken instead of the pools."""
    deals: list[Deal] = []
    exchange = terms.exchange
    for calls in _transactions(plan):
        made = _deal(calls, terms, exchange, plan, quoted)
        if isinstance(made, Skip):
            return made
        deal, exchange = made
        deals.append(deal)
    return Dealt(plan, tuple(deals), exchange)


def dealt_together(plans: Sequence[Plan], terms: Terms) -> Dealt | Skip:
    """The same of several borrowers' plans that repay one asset, all in one transaction, under the first one's name."""
    calls = tuple(call for plan in plans for call in plan.calls)
    made = _deal(calls, terms, terms.exchange, plans[0], _NONE)
    return made if isinstance(made, Skip) else Dealt(plans[0], (made[0],), made[1])


def wishes_of(plan: Plan, terms: Terms) -> list[Wish]:
    """What to ask another venue for: one wish for each collateral of each transaction, at least what repays it all. Empty where
    a price is missing, and for what is owed in its own asset."""
    found: list[Wish] = []
    for calls in _transactions(plan):
        debt_asset, received = calls[0].pair.debt_asset, _received(calls)
        if not {debt_asset, *received} <= terms.prices.keys():
            return []
        price = terms.prices[debt_asset]
        found += [
            Wish(
                token_in=collateral,
                token_out=debt_asset,
                most_in_raw=amount_raw,
                amount_out_raw=None,
                oracle_out_raw=terms.prices[collateral].raw_in(price, amount_raw),
                least_out_raw=_repaid_raw(calls) if len(received) == 1 else 0,
                gas_price_wad=terms.costs.gas_price_wad(price),
            )
            for collateral, amount_raw in received.items()
            if collateral != debt_asset
        ]
    return found


def _transactions(plan: Plan) -> list[tuple[PlannedCall, ...]]:
    """Calls in a row that repay one asset."""
    return [tuple(calls) for _, calls in groupby(plan.calls, key=lambda call: call.pair.debt_asset)]


def _received(calls: Sequence[PlannedCall]) -> dict[Address, int]:
    """By collateral asset, at the worse end of the window."""
    received: dict[Address, int] = {}
    for call in calls:
        least_raw = min(call.at_earliest.received_raw, call.at_latest.received_raw)
        received[call.pair.collateral_asset] = received.get(call.pair.collateral_asset, 0) + least_raw
    return received


def _repaid_raw(calls: Sequence[PlannedCall]) -> int:
    """At the worse end of the window."""
    return sum(max(call.at_earliest.repaid_raw, call.at_latest.repaid_raw) for call in calls)


def _deal(
    calls: tuple[PlannedCall, ...], terms: Terms, exchange: Exchange, plan: Plan, quoted: Quoted
) -> tuple[Deal, Exchange] | Skip:
    debt_asset, received = calls[0].pair.debt_asset, _received(calls)
    missing = [asset for asset in (debt_asset, *received) if asset not in terms.prices]
    if missing:
        return Skip(Reason.UNPRICEABLE, f"no price for 0x{missing[0].hex()}", plan.verdict)
    repaid_raw = _repaid_raw(calls)
    borrowed_raw = sum(call.debt_to_cover_raw for call in calls)
    premium_raw = 0 if terms.selling.needs_inventory else terms.costs.premium_raw(borrowed_raw)
    price = terms.prices[debt_asset]
    gas_price_wad = terms.costs.gas_price_wad(price)
    sold: list[_Sold] = []
    # As many as the executor takes in one transaction.
    most_legs = min(MOST_LEGS, MOST_SWAPS // (_MOST_HOPS * len(received)))
    # What another route may lead through is sold first: the executor could not tell it from what that route brings in.
    for collateral, amount_raw in sorted(received.items(), key=lambda item: item[0] not in exchange.through):
        cover_raw = repaid_raw + premium_raw if terms.selling is Selling.COVER and len(received) == 1 else None
        route = quoted.get((collateral, debt_asset))
        if route is not None:
            one = _elsewhere(route, amount_raw)
        else:
            cover = None if cover_raw is None else (cover_raw, len(calls))
            one = _sell(terms, exchange, collateral, debt_asset, amount_raw, gas_price_wad, most_legs, cover)
        if one is None:
            detail = f"{amount_raw} of 0x{collateral.hex()} for 0x{debt_asset.hex()}: no venue takes it"
            return Skip(Reason.NO_ROUTE, detail, plan.verdict)
        sold.append(one)
        exchange = exchange.after(one.fills)
    earnings = Earnings(
        debt_asset=debt_asset,
        price=price,
        native=terms.costs.native,
        revenue_raw=sum(terms.prices[asset].raw_in(price, amount) for asset, amount in received.items()),
        proceeds_raw=sum(one.proceeds_raw for one in sold),
        least_proceeds_raw=sum(one.least_proceeds_raw for one in sold),
        repaid_raw=repaid_raw,
        premium_raw=premium_raw,
        gas_wei=terms.costs.gas_wei(len(calls), sum(one.route.gas for one in sold)),
        data_fee_wei=terms.costs.data_fee_wei,
    )
    return Deal(debt_asset, calls, tuple(one.route for one in sold), borrowed_raw, earnings), exchange


def _elsewhere(route: Route, amount_raw: int) -> _Sold | None:
    """What another venue quoted; None where it wants more than there is. What it leaves over is counted as nothing."""
    if route.amount_in_raw > amount_raw:
        return None
    return _Sold(route, (), route.amount_out_raw, route.least_out_raw)


def _sell(
    terms: Terms,
    exchange: Exchange,
    collateral: Address,
    debt_asset: Address,
    amount_raw: int,
    gas_price_wad: int,
    most_legs: int,
    cover: tuple[int, int] | None,
) -> _Sold | None:
    """What an amount of collateral brings: all of it sold, or so much of it that what `cover` says of the debt asset comes out
    where that is given (beside the number of calls that share the gas) and can be, or none. None where the pools do not take
    it."""
    worth_raw = terms.prices[collateral].raw_in(terms.prices[debt_asset], amount_raw)
    if collateral == debt_asset:
        return _unsold(terms, collateral, debt_asset, amount_raw, amount_raw)
    if terms.selling.needs_inventory:
        return _unsold(terms, collateral, debt_asset, amount_raw, worth_raw)
    paths = exchange.paths(collateral, debt_asset)
    if cover is not None:
        covered = _covered(terms, paths, collateral, debt_asset, amount_raw, *cover)
        if covered is not None:
            return covered
    sale = best_sale(paths, amount_raw, gas_price_wad, most_legs)
    if sale is None:
        return None
    route = route_of_sale(POOLS, collateral, debt_asset, sale, terms.slippage)
    return _Sold(route, sale.fills, route.amount_out_raw, route.least_out_raw)


def _unsold(terms: Terms, collateral: Address, debt_asset: Address, amount_raw: int, worth_raw: int) -> _Sold:
    """Kept at what the oracle says it is worth; or the very asset that is owed, which need not be sold."""
    selling, receipt = terms.selling, None
    if selling is Selling.HOLD_A_TOKEN:
        receipt = terms.receipts[collateral]
    route = Route(
        str(selling), collateral, debt_asset, amount_raw, worth_raw, worth_raw, amount_raw, (), 0, selling, receipt
    )
    return _Sold(route, (), worth_raw, worth_raw)


def _covered(
    terms: Terms,
    paths: Sequence[Path],
    collateral: Address,
    debt_asset: Address,
    amount_raw: int,
    cover_raw: int,
    calls: int,
) -> _Sold | None:
    """The contract sees no profit in it, so the swap may take no more than leaves what the gas costs, unless it does anyhow."""
    price_in, price_out = terms.prices[collateral], terms.prices[debt_asset]
    leg = best_purchase(paths, cover_raw, terms.costs.gas_price_wad(price_in))
    if leg is None:
        return None
    gas_raw = terms.costs.native.raw_in_ceil(price_in, terms.costs.gas_wei(calls, leg.gas))
    bought = route_of_purchase(POOLS, collateral, debt_asset, leg, amount_raw - gas_raw, terms.slippage)
    bought = bought or route_of_purchase(POOLS, collateral, debt_asset, leg, amount_raw, terms.slippage)
    if bought is None:
        return None
    route, fills = bought
    kept_raw = price_in.raw_in(price_out, amount_raw - route.amount_in_raw)
    least_kept_raw = price_in.raw_in(price_out, amount_raw - route.most_in_raw)
    return _Sold(route, fills, cover_raw + kept_raw, cover_raw + least_kept_raw)
