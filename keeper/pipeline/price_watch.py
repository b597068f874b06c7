"""Where one market's prices come from, and what its feeds say of their last rounds: read together with each head's state.

All of it is a hint: the prices are the oracle's own. So nothing waits for it but the first look, and what cannot be had is told
as an unknown age, and tried again once a head was acted on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import ChainError
from keeper.core.lending import LendingAdapter
from keeper.core.prices import NO_FEEDS, FeedRound, PriceFeeds, decode_round, encode_round
from keeper.core.units import Address, to_hex
from keeper.pipeline.round import UNFORESEEN
from keeper.pipeline.tasks import drive
from keeper.ports import Chain

CALLS_PER_REQUEST = 200
"""Of the look at the feeds: contracts that are no feeds may burn what gas they get."""
LOOK_WITHIN_S, CHECK_WITHIN_S = 20.0, 1.0
AGAIN_S, AGAIN_MOST_S = 60, 960
"""How often, by the chain's time, what was found is checked: a proxy may be pointed elsewhere without a log of the market. A
look that failed is repeated after as long, then after twice as long each time."""


class PriceWatch:
    """The feeds of one market."""

    def __init__(self, chain: Chain, adapter: LendingAdapter[Any, Any]) -> None:
        self.feeds: PriceFeeds = NO_FEEDS
        self.rounds: Mapping[Address, FeedRound | None] = {}
        """By feed, as of the head read last; None for one that did not answer."""
        self.also: tuple[Address, ...] = ()
        """Feeds that are read besides: a sequencer's."""
        self.trouble: str | None = None
        """Why it is not known what stands behind the prices; None while it is."""
        self._chain = chain
        self._adapter = adapter
        self._seen: Any = None
        """The market whose feeds were looked for."""
        self._looked_s = 0
        self._again_s = AGAIN_S

    async def look(self, market: Any, head: BlockRef) -> None:
        """Find the feeds behind the prices, when the market was read anew: it may have other price sources then."""
        if market is not self._seen:
            self._seen = market
            await self._find(market, head)

    def is_the_same(self, market: Any, other: Any) -> None:
        """`other` is that market under other rules: its prices come from where they came."""
        if self._seen is market:
            self._seen = other

    async def tend(self, market: Any, head: BlockRef) -> None:
        """What need not be done before a head was acted on, now and then: look again where the last look failed, or where the
        contracts between sources and feeds do not lead where they led."""
        if abs(head.timestamp_s - self._looked_s) < self._again_s:
            return
        self._looked_s = head.timestamp_s
        if self.trouble is not None or await self._leads_elsewhere(head):
            await self._find(market, head)

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

    def unknown_age(self, key: Address) -> str:
        """Why the age of a price is not known, though its feeds would say it; else empty."""
        if self.trouble is not None:
            return self.trouble
        silent = [to_hex(feed) for feed in self.feeds.rounds_of.get(key, ()) if self.rounds.get(feed) is None]
        return f"its feed {', '.join(silent)} does not answer" if silent else ""

    def _read_feeds(self) -> list[Address]:
        feeds = [feed for feeds in self.feeds.rounds_of.values() for feed in feeds]
        return list(dict.fromkeys([*feeds, *self.also]))

    async def _find(self, market: Any, head: BlockRef) -> None:
        """What was known before is not kept when it fails: it may be of other sources."""
        self._looked_s = head.timestamp_s
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                self.feeds = await drive(self._adapter.discover_feeds(market), lambda calls: self._read(calls, head))
            self.trouble, self._again_s = None, AGAIN_S
        except (ChainError, TimeoutError, *UNFORESEEN) as error:
            self.feeds, self.rounds = NO_FEEDS, {}
            if self.trouble is not None:
                self._again_s = min(AGAIN_MOST_S, 2 * self._again_s)
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self.trouble = f"the feeds could not be looked up ({why}); it is tried again"

    async def _leads_elsewhere(self, head: BlockRef) -> bool:
        links = list(self.feeds.links.items())
        try:
            async with asyncio.timeout(CHECK_WITHIN_S):
                answers = await self._chain.read([asked for asked, _ in links], head) if links else ()
        except (ChainError, TimeoutError):
            return False  # nothing is known of it: asked again next time
        return any(answer.returndata != known for answer, (_, known) in zip(answers, links, strict=True))

    async def _read(self, calls: Sequence[Call], head: BlockRef) -> list[CallResult]:
        """Most of these calls revert, as each contract has few of the getters: simulated together that costs one request."""
        found: list[CallResult] = []
        for start in range(0, len(calls), CALLS_PER_REQUEST):
            part = calls[start : start + CALLS_PER_REQUEST]
            answers = await self._chain.read_after(part, head, head.timestamp_s + 1)
            found += answers if answers is not None else await self._chain.read(part, head)
        return found
