"""The size of one call that earns most on the true slippage curve.

What a call earns, received(x) sold − x − premium − gas, is concave in x within one interval of allowed sizes but for the
rounding of single units: what the pools give is concave in what they get, the rest is a straight line. Where the set of paths
changes it is the best of several such curves. So each set is looked at on a grid first, at next to no cost, and the best few
grid points are refined against exact quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keeper.core.lending import Refusal
from keeper.core.profit_deal import Terms
from keeper.core.size import PairSizer, least_true
from keeper.core.slippage_paths import Path
from keeper.core.slippage_split import Division, Splitting
from keeper.core.swap import Selling

_GRID = 32
_LOOKS = 4
"""Each at a sixteenth of the interval before: a top that lies lower still earns less than any gas."""
_REFINED = 3
"""So many grid points, each of another set of paths, are refined."""
_FEW = 24
"""So few sizes are tried one by one: where a single unit of the debt asset is worth something, earnings are a sawtooth."""
_FINE = 14


@dataclass(frozen=True, slots=True)
class BestSize:
    """A request and what it earns, in the debt asset."""

    request_raw: int
    net_raw: int


@dataclass(frozen=True, slots=True)
class _Amounts:
    """Of one request, at the worse end of the window."""

    received_raw: int
    repaid_raw: int


class SizeByProfit:
    """One pair of one position on one exchange."""

    def __init__(self, sizer: PairSizer[Any, Any], terms: Terms) -> None:
        self._sizer = sizer
        self._terms = terms
        self._price = terms.prices[sizer.pair.debt_asset]

    def best(self) -> BestSize | None:
        """None where no allowed size can be sold."""
        found: list[BestSize] = []
        for low, high in self._sizer.allowed():
            found += self._best_within(low, self._sizer.full_effect(low, high))
        return max(found, key=lambda each: (each.net_raw, -each.request_raw), default=None)

    def _best_within(self, low: int, high: int) -> list[BestSize]:
        pair, terms = self._sizer.pair, self._terms
        most_raw = self._amounts(high).received_raw
        if terms.selling in (Selling.HOLD, Selling.HOLD_A_TOKEN) or pair.collateral_asset == pair.debt_asset:
            # Without a curve each unit earns alike: one of the ends is the best.
            return [BestSize(request_raw, self._unsold_net_raw(request_raw)) for request_raw in {low, high}]
        paths = terms.exchange.paths(pair.collateral_asset, pair.debt_asset)
        if not paths or most_raw <= 0:
            return []
        return self._best_sold(paths, low, high, _LOOKS)

    def _best_sold(self, paths: Sequence[Path], low: int, high: int, looks: int) -> list[BestSize]:
        """On a grid over the interval; where a curve has its top in the grid's first steps, on a finer one over these too."""
        terms, most_raw = self._terms, self._amounts(high).received_raw
        splitting = Splitting(paths, most_raw, terms.costs.gas_price_wad(self._price), _GRID)
        if splitting.most_in_raw < most_raw:
            sellable = self._sellable(low, high, splitting.most_in_raw)
            if sellable is None:
                return []
            high = sellable
        requests = sorted({low + (high - low) * place // _GRID for place in range(_GRID + 1)})
        amounts = [self._amounts(request_raw) for request_raw in requests]
        guesses: list[tuple[int, int, Division]] = []
        for division in splitting.divisions:
            nets = [self._guessed(splitting, division, each) for each in amounts]
            known = [(net, place) for place, net in enumerate(nets) if net is not None]
            if known:
                guesses.append((*max(known), division))
        guesses.sort(key=lambda guess: guess[0], reverse=True)
        found = []
        for _, place, division in guesses[:_REFINED]:
            around = requests[max(0, place - 1)], requests[min(len(requests) - 1, place + 1)]
            best = self._refined(splitting, division, *around)
            if best is not None:
                found.append(best)
        near = requests[min(2, len(requests) - 1)]
        if looks > 1 and near < high and any(place <= 1 for _, place, _ in guesses):
            found += self._best_sold(paths, low, near, looks - 1)
        return found

    def _sellable(self, low: int, high: int, most_raw: int) -> int | None:
        """The largest request that brings no more collateral than can be sold."""

        def too_much(request_raw: int) -> bool:
            return self._amounts(request_raw).received_raw > most_raw

        first = least_true(low, high, low, 1, too_much)
        return first - 1 if first is not None and first > low else None

    def _refined(self, splitting: Splitting, division: Division, low: int, high: int) -> BestSize | None:
        known: dict[int, int | None] = {}

        def net_raw(request_raw: int) -> int | None:
            if request_raw not in known:
                amounts = self._amounts(request_raw)
                sale = splitting.sale(division, amounts.received_raw)
                known[request_raw] = (
                    None if sale is None else self._net_raw(request_raw, amounts, sale.amount_out_raw, sale.gas)
                )
            return known[request_raw]

        request_raw = peak(low, high, net_raw)
        found = net_raw(request_raw)
        return None if found is None else BestSize(request_raw, found)

    def _guessed(self, splitting: Splitting, division: Division, amounts: _Amounts) -> int | None:
        """Straight lines between the points of the grid, which are never above the curve."""
        parts, most_raw, amount_raw = splitting.parts, splitting.most_in_raw, amounts.received_raw
        place = min(amount_raw * parts // most_raw, parts - 1)
        if place + 1 >= len(division.out_raw):
            return None
        start_raw, end_raw = most_raw * place // parts, most_raw * (place + 1) // parts
        low, high = division.out_raw[place : place + 2]
        out_raw = low + (high - low) * (amount_raw - start_raw) // max(1, end_raw - start_raw)
        return self._net_raw(0, amounts, out_raw, division.gas[place + 1])

    def _net_raw(self, request_raw: int, amounts: _Amounts, out_raw: int, route_gas: int) -> int:
        costs = self._terms.costs
        gas_raw = costs.native.raw_in_ceil(self._price, costs.gas_wei(1, route_gas))
        return out_raw - amounts.repaid_raw - costs.premium_raw(request_raw or amounts.repaid_raw) - gas_raw

    def _unsold_net_raw(self, request_raw: int) -> int:
        pair, terms, amounts = self._sizer.pair, self._terms, self._amounts(request_raw)
        worth_raw = terms.prices[pair.collateral_asset].raw_in(self._price, amounts.received_raw)
        gas_raw = terms.costs.native.raw_in_ceil(self._price, terms.costs.gas_wei(1, 0))
        borrowed_raw = 0 if terms.selling in (Selling.HOLD, Selling.HOLD_A_TOKEN) else request_raw
        return worth_raw - amounts.repaid_raw - terms.costs.premium_raw(borrowed_raw) - gas_raw

    def _amounts(self, request_raw: int) -> _Amounts:
        quotes = self._sizer.quotes(request_raw)
        assert not isinstance(quotes, Refusal), "only allowed requests are asked for"
        return _Amounts(min(quote.received_raw for quote in quotes), max(quote.repaid_raw for quote in quotes))


def peak(low: int, high: int, value: Callable[[int], int | None]) -> int:
    """Where a function that rises, then falls, is highest in [low, high], to a 16,384th of the place: a top is flat, so that what
    is missed of its height is far less. Where it has no value it counts as falling. Small ripples cost no more than their own
    height. By golden section, each step one evaluation."""
    end, (left, right) = high, _inner(low, high)
    at_left, at_right = value(left), value(right)
    while high - low > max(_FEW, high >> _FINE):
        if at_right is None or (at_left is not None and at_left >= at_right):
            high, right, at_right = right, left, at_left
            left = _inner(low, high)[0]
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = _inner(low, high)[1]
            at_right = value(right)
    few = range(low, high + 1) if high - low <= _FEW else (low, left, right, high)
    return best_of([*few, end], value)


def _inner(low: int, high: int) -> tuple[int, int]:
    width = (high - low) * 618 // 1_000
    return high - width, low + width


def best_of(places: Sequence[int], value: Callable[[int], int | None]) -> int:
    """The place with the highest value; the first of several; the first place where there is none."""
    best, highest = places[0], value(places[0])
    for place in places[1:]:
        found = value(place)
        if found is not None and (highest is None or found > highest):
            best, highest = place, found
    return best
