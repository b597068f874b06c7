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
from keeper.core.selling.deal import Terms
from keeper.core.selling.exchange import Path
from keeper.core.selling.split import Division, Splitting
from keeper.core.size import PairSizer, least_true
from keeper.core.steps import Steps

_GRID = 32
_LOOKS = 4
"""Each at a sixteenth of the interval before."""
_REFINED = 3
"""So many grid points, each of another set of paths, are refined."""
_FINE = 14
_ROUGH = 50
"""Where so many times the gas of all swaps is more than what is earned."""


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


@dataclass(frozen=True, slots=True)
class _Guess:
    """The best point of one set of paths on a grid."""

    net_raw: int
    place: int
    division: Division


@dataclass(frozen=True, slots=True)
class _Grid:
    splitting: Splitting
    requests: list[int]
    guesses: list[_Guess]
    """Best first."""


class SizeByProfit:
    """One pair of one position on one exchange."""

    def __init__(self, sizer: PairSizer[Any, Any], terms: Terms) -> None:
        self._sizer = sizer
        self._terms = terms
        self._price = terms.prices[sizer.pair.debt_asset]

    def best(self) -> Steps[BestSize | None]:
        """None where no allowed size can be sold. Yields after each grid, and between the sizes that are tried exactly."""
        found: list[BestSize] = []
        for low, high in self._sizer.allowed():
            found += yield from self._best_within(low, self._sizer.full_effect(low, high))
        return max(found, key=lambda each: (each.net_raw, -each.request_raw), default=None)

    def _best_within(self, low: int, high: int) -> Steps[list[BestSize]]:
        pair, terms = self._sizer.pair, self._terms
        most_raw = self._amounts(high).received_raw
        if terms.selling.needs_inventory or pair.collateral_asset == pair.debt_asset:
            # Without a curve each unit earns alike: one of the ends is the best.
            return [BestSize(request_raw, self._unsold_net_raw(request_raw)) for request_raw in {low, high}]
        paths = terms.exchange.paths(pair.collateral_asset, pair.debt_asset)
        if not paths or most_raw <= 0:
            return []
        return (yield from self._best_sold(paths, low, high))

    def _best_sold(self, paths: Sequence[Path], low: int, high: int) -> Steps[list[BestSize]]:
        """Where the interval is wide a top may hide in the first steps of a grid, so these get grids of their own, as long as
        so little collateral could earn more than what was found."""
        found: list[BestSize] = []
        for _ in range(_LOOKS):
            if found and self._potential_raw(high) <= max(each.net_raw for each in found):
                break
            grid = self._grid(paths, low, high)
            if grid is None:
                break
            yield
            found += yield from self._best_on(paths, grid)
            if len(grid.requests) < 3 or grid.requests[2] >= high:
                break
            high = grid.requests[2]
        return found

    def _best_on(self, paths: Sequence[Path], grid: _Grid) -> Steps[list[BestSize]]:
        """The best few sets of paths, each refined around its top. Where that is in the lower half of the grid, it is looked
        for on one over that part first, which tells the sets apart better."""
        while True:
            best = ([each for each in grid.guesses if each.place > 1] or grid.guesses)[:_REFINED]
            if not best:
                return []
            top = max(each.place for each in best)
            upper = grid.requests[min(max(2, 2 * top), len(grid.requests) - 1)]
            finer = self._grid(paths, grid.requests[0], upper) if upper < grid.requests[-1] else None
            if finer is None:
                break
            grid = finer
            yield
        found: list[tuple[int, int, BestSize]] = []
        for place, guess in enumerate(best):
            size = yield from self._refined(grid, guess, guess.place)
            if size is not None:
                found.append((size.net_raw, place, size))
        sizes = [size for _, _, size in found]
        if not found:
            return []
        net_raw, place, _ = max(found, key=lambda each: each[0])
        first = best[place]
        route_gas = first.division.gas[min(first.place + 1, len(first.division.gas) - 1)]
        if grid.splitting.gas_raw(route_gas) * _ROUGH > net_raw:
            # Each tick on the way costs gas: where that counts there are tops beside the top.
            for step in (-2, -1, 1, 2):
                beside = yield from self._refined(grid, first, first.place + step)
                if beside is not None:
                    sizes.append(beside)
        return sizes

    def _grid(self, paths: Sequence[Path], low: int, high: int) -> _Grid | None:
        """None where no path takes anything."""
        most_raw = self._amounts(high).received_raw
        splitting = Splitting(paths, most_raw, self._terms.costs.gas_price_wad(self._price), _GRID)
        if splitting.most_in_raw < most_raw:
            sellable = self._sellable(low, high, splitting.most_in_raw)
            if sellable is None:
                return None
            high = sellable
        requests = sorted({low + (high - low) * place // _GRID for place in range(_GRID + 1)})
        amounts = [self._amounts(request_raw) for request_raw in requests]
        guesses = []
        for division in splitting.divisions:
            nets = [self._guessed(splitting, division, each) for each in amounts]
            known = [(net, place) for place, net in enumerate(nets) if net is not None]
            if known:
                guesses.append(_Guess(*max(known), division))
        guesses.sort(key=lambda guess: guess.net_raw, reverse=True)
        return _Grid(splitting, requests, guesses)

    def _potential_raw(self, request_raw: int) -> int:
        """More than this nothing up to the request can earn: no pool is believed to pay a twentieth above the oracle."""
        amounts, pair = self._amounts(request_raw), self._sizer.pair
        worth_raw = self._terms.prices[pair.collateral_asset].raw_in(self._price, amounts.received_raw)
        return self._net_raw(0, _Amounts(0, amounts.repaid_raw), worth_raw * 21 // 20, 0)

    def _sellable(self, low: int, high: int, most_raw: int) -> int | None:
        """The largest request that brings no more collateral than can be sold."""

        def too_much(request_raw: int) -> bool:
            return self._amounts(request_raw).received_raw > most_raw

        first = least_true(low, high, low, 1, too_much)
        return first - 1 if first is not None and first > low else None

    def _refined(self, grid: _Grid, guess: _Guess, place: int) -> Steps[BestSize | None]:
        """The top above a place of the grid."""
        low, high = grid.requests[0], grid.requests[-1]
        known: dict[int, int | None] = {}

        def net_raw(request_raw: int) -> int | None:
            if request_raw not in known:
                amounts = self._amounts(request_raw)
                sale = grid.splitting.sale(guess.division, amounts.received_raw)
                known[request_raw] = (
                    None if sale is None else self._net_raw(request_raw, amounts, sale.amount_out_raw, sale.gas)
                )
            return known[request_raw]

        start = grid.requests[min(max(0, place), len(grid.requests) - 1)]
        top = yield from climb(start, low, high, max(1, (high - low) // _GRID // 2), net_raw)
        yield
        request_raw = self._no_more_than_needed(low, top)
        found = net_raw(request_raw)
        return None if found is None else BestSize(request_raw, found)

    def _no_more_than_needed(self, low: int, request_raw: int) -> int:
        """The least request that brings as much collateral: one unit of it may be worth many of the debt."""
        wanted_raw = self._amounts(request_raw).received_raw
        least = least_true(
            low, request_raw, request_raw, 1, lambda each: self._amounts(each).received_raw >= wanted_raw
        )
        return request_raw if least is None else least

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
        borrowed_raw = 0 if terms.selling.needs_inventory else request_raw
        return worth_raw - amounts.repaid_raw - terms.costs.premium_raw(borrowed_raw) - gas_raw

    def _amounts(self, request_raw: int) -> _Amounts:
        quotes = self._sizer.quotes(request_raw)
        assert not isinstance(quotes, Refusal), "only allowed requests are asked for"
        return _Amounts(min(quote.received_raw for quote in quotes), max(quote.repaid_raw for quote in quotes))


def climb(start: int, low: int, high: int, step: int, value: Callable[[int], int | None]) -> Steps[int]:
    """A top of a function in [low, high]: up from `start` in steps that are halved where neither way leads up, to a 16,384th
    of the place; a top is flat, so that what is missed of its height is far less. Where it has no value it is lowest. Small
    ripples cost no more than their own height."""
    place, highest = start, value(start)
    while step >= max(1, place >> _FINE):
        for beside in (place - step, place + step):
            yield
            found = value(beside) if low <= beside <= high else None
            if found is not None and (highest is None or found > highest):
                place, highest = beside, found
                break
        else:
            step //= 2
    return place
