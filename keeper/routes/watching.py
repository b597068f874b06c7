"""The pools of one chain: what each pinned batch reads of those that are wanted, and the exchange that it shows.

Nothing here reaches the world: calls go out, answers come in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from keeper.core.block import Call, CallResult
from keeper.core.errors import Defect, QuoteError
from keeper.core.lending import Reads
from keeper.core.selling.exchange import Exchange
from keeper.core.swap import Pool
from keeper.core.units import Address
from keeper.routes.discover import V2Factory, V3Factory, Watch, discover_pools

_ROUNDS = 3
"""Price, then bitmap, then ticks: after so many batches a pool is known."""
Couple = tuple[Address, Address]


@dataclass(frozen=True, slots=True)
class PoolReads:
    """One batch: what is asked, by whom."""

    watches: tuple[Watch, ...]

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(call for watch in self.watches for call in _calls(watch))


class WatchedPools:
    """Follows price, liquidity and ticks of every pool between some tokens from batch to batch."""

    def __init__(
        self,
        factories: Sequence[V3Factory | V2Factory],
        through: Collection[Address] = (),
        only: Collection[Address] | None = None,
    ) -> None:
        self.only = only
        """No pool but these; None: any that is found."""
        self._factories = tuple(factories)
        self._through = tuple(through)
        self._watches: dict[Address, Watch] = {}
        self.found: tuple[Address, ...] = ()
        """All pools that the factories name, those included that are not watched."""
        self.troubles: tuple[str, ...] = ()
        """Pools left out of the last exchange because of what they answered, one line each."""

    def discover(self, ends: Collection[Address]) -> Reads[None]:
        """Find the pools between any two of `ends`, directly or through one other token. Raises `QuoteError` when a factory
        answers nonsense; what was known before is then kept."""
        found = yield from discover_pools(self._factories, ends, self._through)
        self.found = tuple(watch.address for watch in found)
        watched = [watch for watch in found if self.only is None or watch.address in self.only]
        self._watches = {watch.address: self._watches.get(watch.address, watch) for watch in watched}

    def warm(self, wanted: Collection[Couple]) -> Reads[Exchange]:
        """The exchange at once, in a few batches of one block, for couples that were not wanted before. Heads would get there
        too: the third batch that wants a pool knows all of it."""
        exchange = Exchange(())
        for _ in range(_ROUNDS):
            reads = self.encode(wanted)
            exchange = self.decode(reads, (yield reads.calls))
        return exchange

    @property
    def pools(self) -> tuple[Address, ...]:
        return tuple(self._watches)

    def encode(self, wanted: Collection[Couple]) -> PoolReads:
        """The reads for routes from the first to the second of each couple: part of the head's batch."""
        couples, ends = {*wanted}, {token for couple in wanted for token in couple}

        def is_on_a_way(one: Address, other: Address) -> bool:
            direct = (one, other) in couples or (other, one) in couples
            return direct or (one in ends and other in self._through) or (other in ends and one in self._through)

        return PoolReads(tuple(watch for watch in self._watches.values() if is_on_a_way(*watch.tokens)))

    def decode(self, reads: PoolReads, results: Sequence[CallResult]) -> Exchange:
        """The pools as the batch shows them. One that answers what no pool answers is left out, and told in `troubles`."""
        asked = sum(len(_calls(watch)) for watch in reads.watches)
        if len(results) != asked:
            raise Defect(f"{len(results)} results for {asked} reads of pools")
        pools: list[Pool] = []
        troubles: list[str] = []
        start = 0
        for watch in reads.watches:
            end = start + len(_calls(watch))
            try:
                pool, following = watch.decoded(results[start:end])
            except QuoteError as error:
                troubles.append(str(error))
            else:
                self._watches[watch.address] = following
                if pool is not None:
                    pools.append(pool)
            start = end
        self.troubles = tuple(troubles)
        return Exchange(tuple(pools), self._through)


@lru_cache(maxsize=256)
def _calls(watch: Watch) -> tuple[Call, ...]:
    """From head to head the same, as long as the price stays where it is."""
    return tuple(watch.calls())
