"""Paths from one token to another through pools, and what a chain of swaps gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from keeper.core.swap import Filled, Pool
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Hop:
    pool: Pool
    token_in: Address
    token_out: Address


@dataclass(frozen=True, slots=True)
class Path:
    """One or two hops, no pool twice."""

    hops: tuple[Hop, ...]

    def sell(self, amount_in_raw: int) -> tuple[Filled, ...] | None:
        """What each hop does when the whole amount goes in; None where one of them cannot."""
        fills: list[Filled] = []
        for hop in self.hops:
            filled = hop.pool.sell(hop.token_in, amount_in_raw)
            if filled is None or not filled.amount_out_raw:
                return None
            fills.append(filled)
            amount_in_raw = filled.amount_out_raw
        return tuple(fills)

    def buy(self, amount_out_raw: int) -> tuple[Filled, ...] | None:
        """What each hop does so that exactly this comes out at the end; None where one of them cannot."""
        fills: list[Filled] = []
        for hop in reversed(self.hops):
            filled = hop.pool.buy(hop.token_in, amount_out_raw)
            if filled is None:
                return None
            fills.append(filled)
            amount_out_raw = filled.amount_in_raw
        return tuple(reversed(fills))

    @property
    def pools(self) -> frozenset[Address]:
        return frozenset(hop.pool.address for hop in self.hops)

    @property
    def takes_exact_orders(self) -> bool:
        return all(hop.pool.takes_exact_orders for hop in self.hops)


@dataclass(frozen=True, slots=True)
class Exchange:
    """The pools known at one block."""

    pools: tuple[Pool, ...]
    through: tuple[Address, ...] = ()
    """Tokens that a route of two hops may lead through."""

    def paths(self, token_in: Address, token_out: Address) -> list[Path]:
        """Direct ones first, then those of two hops; in the order of the pools."""
        found = [Path((hop,)) for hop in self._hops(token_in, token_out)]
        for way in self.through:
            if way in (token_in, token_out):
                continue
            seconds = self._hops(way, token_out)
            found += [Path((first, second)) for first in self._hops(token_in, way) for second in seconds]
        return found

    def _hops(self, token_in: Address, token_out: Address) -> list[Hop]:
        return [Hop(pool, token_in, token_out) for pool in self.pools if {*pool.tokens} == {token_in, token_out}]

    def after(self, fills: Collection[Filled]) -> Exchange:
        """With the pools as some swaps leave them. No pool may be in two of them."""
        moved: Mapping[Address, Pool] = {filled.after.address: filled.after for filled in fills}
        return Exchange(tuple(moved.get(pool.address, pool) for pool in self.pools), self.through)
