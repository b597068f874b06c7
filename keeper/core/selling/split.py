"""The best way to sell an amount over several paths: all through one, or split over up to three that share no pool.

What a path gives is concave in what goes in. So parts of the amount are handed out one by one, each to the path that gives most
for it, which on that grid is the best split there is, for each number of parts along the way; then shares are moved between
paths in ever smaller steps. Which paths take part is compared with the gas that each costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.selling.exchange import Path
from keeper.core.swap import Filled, gas_in_out_raw
from keeper.core.units import Address

PARTS = 32
MOST_LEGS = 3
MOST_PATHS = 3
"""So many are tried for each leg: those that give most for the whole amount, for an eighth and for a 64th of it, or for as much
of that as they take."""
_FINEST = 14
"""Shares are moved in steps down to the amount ÷ 2^14; finer ones are worth nothing where a curve is at its top."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One path's share."""

    path: Path
    amount_in_raw: int
    fills: tuple[Filled, ...]

    @property
    def amount_out_raw(self) -> int:
        return self.fills[-1].amount_out_raw

    @property
    def gas(self) -> int:
        return sum(filled.gas for filled in self.fills)


@dataclass(frozen=True, slots=True)
class Sale:
    """An amount sold over one or more legs, exactly."""

    legs: tuple[Leg, ...]

    @property
    def amount_in_raw(self) -> int:
        return sum(leg.amount_in_raw for leg in self.legs)

    @property
    def amount_out_raw(self) -> int:
        return sum(leg.amount_out_raw for leg in self.legs)

    @property
    def gas(self) -> int:
        return sum(leg.gas for leg in self.legs)

    @property
    def fills(self) -> tuple[Filled, ...]:
        return tuple(filled for leg in self.legs for filled in leg.fills)


@dataclass(frozen=True, slots=True)
class Division:
    """One set of paths on the grid: what so many parts bring, divided best, and how."""

    paths: tuple[Path, ...]
    out_raw: tuple[int, ...]
    """By number of parts, from 0 on; ends where the paths take no more."""
    gas: tuple[int, ...]
    takers: tuple[int, ...]
    """Which path took each part."""


class Splitting:
    """Sales of amounts up to `most_in_raw` over some paths: what was asked for, or what all of them together take if that is
    less."""

    def __init__(
        self,
        paths: Sequence[Path],
        asked_raw: int,
        gas_price_out_wad: int,
        parts: int = PARTS,
        most_legs: int = MOST_LEGS,
    ) -> None:
        self._most_legs = most_legs
        self._room = tuple(_room_raw(path, asked_raw) for path in paths)
        self.asked_raw = asked_raw
        self.most_in_raw = min(asked_raw, sum(self._room))
        self.parts = parts
        self._gas_price_out_wad = gas_price_out_wad
        self._table: dict[tuple[int, int], tuple[Filled, ...] | None] = {}
        self._paths = tuple(paths)
        self.divisions = tuple(self._divided(chosen) for chosen in self._sets())

    def best(self) -> Sale | None:
        """Of the whole amount; None where no set of paths takes it all."""
        if self.most_in_raw < self.asked_raw:
            return None
        able = [each for each in self.divisions if len(each.out_raw) > self.parts]
        able.sort(key=lambda each: each.out_raw[-1] - self.gas_raw(each.gas[-1]), reverse=True)
        # On the grid the legs of close ones may change places: a few are worked out exactly.
        sales = [self.sale(each, self.most_in_raw) for each in able[:3]]
        found = [sale for sale in sales if sale is not None]
        return max(found, key=self.net_raw, default=None)

    def net_raw(self, sale: Sale) -> int:
        """What comes out, less the gas of it."""
        return sale.amount_out_raw - self.gas_raw(sale.gas)

    def gas_raw(self, gas: int) -> int:
        return gas_in_out_raw(gas, self._gas_price_out_wad)

    def sale(self, division: Division, amount_in_raw: int) -> Sale | None:
        """The amount over these paths, shares fitted; None where they do not take it."""
        if amount_in_raw <= 0:
            return None
        shares = self._shares(division, amount_in_raw)
        legs = _legs(division.paths, shares)
        if legs is None:
            return None
        # By what comes out alone the way up is clear; a leg's gas would stand in the way of its first small share.
        for gas_counts in (False, True):
            legs, shares = self._fitted(division.paths, legs, shares, gas_counts)
        return Sale(tuple(leg for leg in legs if leg is not None))

    def _fitted(
        self, paths: Sequence[Path], legs: list[Leg | None], shares: list[int], gas_counts: bool
    ) -> tuple[list[Leg | None], list[int]]:
        """Shares moved in steps, halved when none pays, until they are fine enough."""
        amount_in_raw = sum(shares)
        step = amount_in_raw // self.parts
        while step > amount_in_raw >> _FINEST and len(paths) > 1:
            moved = self._moved(paths, legs, shares, step, gas_counts)
            if moved is None:
                step //= 2
            else:
                legs, shares = moved
        return legs, shares

    def _shares(self, division: Division, amount_in_raw: int) -> list[int]:
        """As the grid divides it; the rest of the division goes to whoever has most."""
        parts = min(len(division.takers), -(-amount_in_raw * self.parts // self.most_in_raw))
        counts = [division.takers[:parts].count(place) for place in range(len(division.paths))]
        shares = [amount_in_raw * count // max(1, parts) for count in counts]
        shares[shares.index(max(shares))] += amount_in_raw - sum(shares)
        return shares

    def _moved(
        self, paths: Sequence[Path], legs: list[Leg | None], shares: list[int], step: int, gas_counts: bool
    ) -> tuple[list[Leg | None], list[int]] | None:
        """One step moved from one path to another, where that brings more."""

        def worth(leg: Leg | None) -> int:
            if leg is None:
                return 0
            return leg.amount_out_raw - (self.gas_raw(leg.gas) if gas_counts else 0)

        for giver in range(len(paths)):
            if shares[giver] < step:
                continue
            less = _leg(paths[giver], shares[giver] - step)
            for taker in range(len(paths)):
                if taker == giver:
                    continue
                more = _leg(paths[taker], shares[taker] + step)
                if more is None or (less is None and shares[giver] > step):
                    continue
                if worth(less) + worth(more) > worth(legs[giver]) + worth(legs[taker]):
                    legs, shares = list(legs), list(shares)
                    legs[giver], legs[taker] = less, more
                    shares[giver] -= step
                    shares[taker] += step
                    return legs, shares
        return None

    # -- the grid ------------------------------------------------------------------------------------------------

    def _sets(self) -> list[tuple[int, ...]]:
        """Places of the paths that are combined: each alone; and beginning with the best ones, each with the best of those that
        share no pool with it."""
        found: dict[tuple[int, ...], None] = dict.fromkeys((place,) for place in range(len(self._paths)))
        for share in (1, 8, 64):
            amounts = [min(room_raw, self.most_in_raw // share) for room_raw in self._room]
            sold = [_leg(path, amount_raw) for path, amount_raw in zip(self._paths, amounts, strict=True)]
            able = [(leg.amount_out_raw, -place) for place, leg in enumerate(sold) if leg is not None]
            ranked = [-place for _, place in sorted(able, reverse=True)]
            begun: list[tuple[int, ...]] = [()]
            for _ in range(self._most_legs):
                begun = [(*chosen, place) for chosen in begun for place in self._partners(chosen, ranked)]
                found |= dict.fromkeys(tuple(sorted(chosen)) for chosen in begun)
        return list(found)

    def _partners(self, chosen: tuple[int, ...], ranked: Sequence[int]) -> list[int]:
        taken = frozenset[Address]().union(*(self._paths[place].pools for place in chosen))
        return [place for place in ranked if not taken & self._paths[place].pools][:MOST_PATHS]

    def _divided(self, chosen: tuple[int, ...]) -> Division:
        counts = dict.fromkeys(chosen, 0)
        out, gas = [0], [0]
        takers: list[int] = []
        while len(takers) < self.parts:
            gains = {place: self._gain(place, counts[place]) for place in chosen}
            able = {place: gain for place, gain in gains.items() if gain is not None}
            if not able:
                break
            taker = max(able, key=lambda place: able[place])
            before = self._gas(taker, counts[taker])
            counts[taker] += 1
            takers.append(chosen.index(taker))
            out.append(out[-1] + able[taker])
            gas.append(gas[-1] - before + self._gas(taker, counts[taker]))
        return Division(tuple(self._paths[place] for place in chosen), tuple(out), tuple(gas), tuple(takers))

    def _gain(self, place: int, parts: int) -> int | None:
        """What one more part brings."""
        if self._fills(place, parts + 1) is None:
            return None
        return self._out_at(place, parts + 1) - self._out_at(place, parts)

    def _out_at(self, place: int, parts: int) -> int:
        fills = self._fills(place, parts) if parts else None
        return fills[-1].amount_out_raw if fills else 0

    def _gas(self, place: int, parts: int) -> int:
        fills = self._fills(place, parts) if parts else None
        return sum(filled.gas for filled in fills or ())

    def _fills(self, place: int, parts: int) -> tuple[Filled, ...] | None:
        known = self._table.get((place, parts))
        if known is None and (place, parts) not in self._table:
            known = self._table[place, parts] = self._paths[place].sell(self.most_in_raw * parts // self.parts)
        return known


def _room_raw(path: Path, asked_raw: int) -> int:
    """How much of an amount a path takes, to a 256th of it."""
    low, high = 0, asked_raw
    if asked_raw <= 0 or path.sell(asked_raw) is not None:
        return max(0, asked_raw)
    while high - low > max(1, high >> 8):
        middle = (low + high) // 2
        if path.sell(middle) is None:
            high = middle
        else:
            low = middle
    return low


def _leg(path: Path, amount_in_raw: int) -> Leg | None:
    fills = path.sell(amount_in_raw) if amount_in_raw else None
    return None if fills is None else Leg(path, amount_in_raw, fills)


def _legs(paths: Sequence[Path], shares: Sequence[int]) -> list[Leg | None] | None:
    """None where a path does not take its share."""
    legs = [_leg(path, share) for path, share in zip(paths, shares, strict=True)]
    if any(leg is None and share for leg, share in zip(legs, shares, strict=True)):
        return None
    return legs


def best_sale(
    paths: Sequence[Path], amount_in_raw: int, gas_price_out_wad: int, most_legs: int = MOST_LEGS
) -> Sale | None:
    """The amount sold so that most is left once the gas is paid; None where no set of paths takes all of it."""
    if amount_in_raw <= 0 or most_legs < 1:
        return None
    return Splitting(paths, amount_in_raw, gas_price_out_wad, most_legs=most_legs).best()


def best_purchase(paths: Sequence[Path], amount_out_raw: int, gas_price_in_wad: int) -> Leg | None:
    """The path that takes least for exactly this much, its gas included; None where none gives it. Only through pools of which
    the executor can ask an exact output. `gas_price_in_wad` is in the token that goes in."""
    found: list[Leg] = []
    for path in paths:
        fills = path.buy(amount_out_raw) if path.takes_exact_orders else None
        if fills is not None:
            found.append(Leg(path, fills[0].amount_in_raw, fills))
    return min(found, key=lambda leg: leg.amount_in_raw + gas_in_out_raw(leg.gas, gas_price_in_wad), default=None)
