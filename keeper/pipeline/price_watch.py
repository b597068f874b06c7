"""Where one market's prices come from, and what its feeds say of their last rounds: read together with each head's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.lending import LendingAdapter, Reads
from keeper.core.prices import NO_FEEDS, FeedRound, PriceFeeds, decode_round, encode_round
from keeper.core.units import Address
from keeper.ports import Chain

CALLS_PER_REQUEST = 200
"""Of the look at the feeds: contracts that are no feeds may burn what gas they get."""


class PriceWatch:
    """The feeds of one market."""

    def __init__(self, chain: Chain, adapter: LendingAdapter[Any, Any]) -> None:
        self.feeds: PriceFeeds = NO_FEEDS
        self.rounds: Mapping[Address, FeedRound | None] = {}
        """By feed, as of the head read last; None for one that did not answer."""
        self.also: tuple[Address, ...] = ()
        """Feeds that are read besides: a sequencer's."""
        self._chain = chain
        self._adapter = adapter
        self._seen: Any = None
        """The market whose feeds are known."""

    async def look(self, market: Any, head: BlockRef) -> None:
        """Find the feeds behind the prices, when the market was read anew: it may have other price sources then. Raises
        `ChainError`."""
        if market is not self._seen:
            self.feeds = await self._drive(self._adapter.discover_feeds(market), head)
            self._seen = market

    def calls(self) -> list[Call]:
        """The reads that come with a head's state."""
        return [encode_round(feed) for feed in self._read_feeds()]

    def take(self, results: Sequence[CallResult]) -> None:
        """Their results."""
        self.rounds = dict(zip(self._read_feeds(), map(decode_round, results), strict=True))

    def rounds_of(self, key: Address) -> list[FeedRound]:
        """The last rounds of the feeds that a price is made of, as far as they say."""
        rounds = (self.rounds.get(feed) for feed in self.feeds.rounds_of.get(key, ()))
        return [each for each in rounds if each is not None]

    def _read_feeds(self) -> list[Address]:
        feeds = [feed for feeds in self.feeds.rounds_of.values() for feed in feeds]
        return list(dict.fromkeys([*feeds, *self.also]))

    async def _drive(self, reads: Reads[PriceFeeds], head: BlockRef) -> PriceFeeds:
        results: list[CallResult] = []
        try:
            calls = next(reads)
            while True:
                results = []
                for start in range(0, len(calls), CALLS_PER_REQUEST):
                    results += await self._read(calls[start : start + CALLS_PER_REQUEST], head)
                calls = reads.send(results)
        except StopIteration as done:
            found: PriceFeeds = done.value
            return found

    async def _read(self, calls: Sequence[Call], head: BlockRef) -> Sequence[CallResult]:
        """Most of these calls revert, as each contract has few of the getters: simulated together that costs one request."""
        answers = await self._chain.read_after(calls, head, head.timestamp_s + 1)
        return answers if answers is not None else await self._chain.read(calls, head)
