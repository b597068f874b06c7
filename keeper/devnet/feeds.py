"""Price sources of other kinds than the market starts with: behind a proxy, through adapters, moving by the second."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.market import ADMIN, Bed

TRANSMITTER = salted_address("transmitter")


@dataclass(frozen=True)
class PushedFeed:
    """An aggregator that a transmitter writes to, and the proxy that readers know."""

    aggregator: Address
    proxy: Address
    forwarder: Address | None = None
    """Where updates are sent to instead, when the transmitter is a contract."""

    def update(self, bed: Bed, answer: int) -> Tx:
        """The transmitter's transaction, to be sent."""
        body = bed.contracts["Aggregator"].function("transmit").encode((answer,))
        if self.forwarder is None:
            return Tx(TRANSMITTER, self.aggregator, body)
        return bed.call_tx(ADMIN, self.forwarder, "Forwarder", "forward", self.aggregator, body)


async def push_feed(
    bed: Bed, answer: int, *, forwarded: bool = False, transmitter: Address = TRANSMITTER
) -> PushedFeed:
    """A feed that nothing reads yet; its updates come from the transmitter, or through a forwarder from the admin."""
    await bed.chain.fund([transmitter])
    forwarder = await bed.chain.deploy(ADMIN, bed.contracts["Forwarder"], ()) if forwarded else None
    aggregator = await bed.chain.deploy(
        ADMIN, bed.contracts["Aggregator"], (answer, [forwarder if forwarder is not None else transmitter])
    )
    proxy = await bed.chain.deploy(ADMIN, bed.contracts["AggregatorProxy"], (aggregator,))
    return PushedFeed(aggregator, proxy, forwarder)


async def push_root(bed: Bed, root: str, *, forwarded: bool = False, transmitter: Address = TRANSMITTER) -> PushedFeed:
    """Put a pushed feed with the same answer under every asset whose price comes from the feed of `root`: itself, and
    through fresh adapters of the same kind the ratio and capped assets over it."""
    feed = bed.asset(root).feed
    answer = await bed.chain.call(feed, bed.contracts["Feed"], "latestAnswer")
    pushed = await push_feed(bed, answer, forwarded=forwarded, transmitter=transmitter)
    for symbol in bed.deployment.symbols:
        asset = bed.asset(symbol)
        if asset.feed != feed:
            continue
        source = pushed.proxy
        kind = {"ratio": ("RatioFeed", "ratio"), "capped": ("CappedFeed", "cap")}.get(asset.spec.feed)
        if kind is not None:
            contract, setting = kind
            number = await bed.chain.call(asset.price_source, bed.contracts[contract], setting)
            source = await bed.chain.deploy(ADMIN, bed.contracts[contract], (pushed.proxy, number))
        await admin.set_price_source(bed, symbol, source)
    return pushed


async def let_move(bed: Bed, symbol: str, per_second_wad: int) -> Address:
    """Let the price of one asset grow (or fall) by so much of itself with every second from now on; the source's address."""
    args = (bed.asset(symbol).feed, 10**18, per_second_wad)
    source = await bed.chain.deploy(ADMIN, bed.contracts["GrowingFeed"], args)
    await admin.set_price_source(bed, symbol, source)
    return source
