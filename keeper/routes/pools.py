"""The venue that needs nobody's answer: routes over pools whose state the head's own batch has read."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.lending import Reads
from keeper.core.selling.deal import POOLS
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.route import route_of_purchase, route_of_sale
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.selling.split import best_purchase, best_sale
from keeper.core.swap import Route, Wish
from keeper.core.units import Address
from keeper.routes.watching import PoolReads, WatchedPools


class PoolsVenue:
    """Best of direct, two-hop and split routes over Uniswap V3 pools and V2 pairs, computed to the wei."""

    name = POOLS

    def __init__(self, pools: WatchedPools, policy: SlippagePolicy) -> None:
        self.pools = pools
        self.exchange = Exchange(())
        """As the last batch showed it."""
        self._policy = policy
        self._reads = PoolReads(())

    def encode_quotes(self, wanted: Collection[tuple[Address, Address]]) -> Sequence[Call]:
        self.exchange = Exchange(())  # what an earlier block showed is no quote for this one
        self._reads = self.pools.encode(wanted)
        return self._reads.calls

    def decode_quotes(self, results: Sequence[CallResult]) -> None:
        self.exchange = self.pools.decode(self._reads, results)

    def discover(self, ends: Collection[Address]) -> Reads[None]:
        return self.pools.discover(ends)

    async def quote(self, wish: Wish) -> Route:
        paths = self.exchange.paths(wish.token_in, wish.token_out)
        if not paths:
            raise QuoteError(f"{self.name}: no pools between 0x{wish.token_in.hex()} and 0x{wish.token_out.hex()}")
        if wish.amount_out_raw is not None:
            leg = best_purchase(paths, wish.amount_out_raw, wish.gas_price_wad)
            bought = leg and route_of_purchase(
                self.name, wish.token_in, wish.token_out, leg, wish.most_in_raw, self._policy
            )
            if bought:
                return bought[0]
        else:
            sale = best_sale(paths, wish.most_in_raw, wish.gas_price_wad)
            if sale is not None:
                return route_of_sale(self.name, wish.token_in, wish.token_out, sale, self._policy)
        raise QuoteError(f"{self.name}: the pools do not take {wish.most_in_raw} of 0x{wish.token_in.hex()}")
