"""One market's state as one head has it: read at the block, and its prices also as they will be when a plan must still hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.core.block import BlockRef, CallResult
from keeper.core.lending import LendingAdapter
from keeper.pipeline.price_watch import PriceWatch
from keeper.pipeline.tasks import together
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class HeadReads:
    """The answers of one head."""

    state: Sequence[CallResult]
    later_s: int
    later: Sequence[CallResult] | None
    """The prices at `later_s`; None when the node cannot tell them: what is decided then holds for prices that stand still."""


class StateReader(Generic[Market, State]):
    """Reads what one head adds to a market, in one round trip."""

    def __init__(self, chain: Chain, adapter: LendingAdapter[Market, State]) -> None:
        self.watch = PriceWatch(chain, adapter)
        self._chain = chain
        self._adapter = adapter

    async def read(self, market: Market, head: BlockRef, later_s: int) -> HeadReads:
        await self.watch.look(market, head)
        state_calls, round_calls = self._adapter.encode_state(market), self.watch.calls()
        prices = self._adapter.encode_prices(market)
        now = self._chain.read([*state_calls, *round_calls], head)
        later: Sequence[CallResult] | None = None
        if prices and later_s > head.timestamp_s:
            answers, later = await together(now, self._chain.read_after(prices, head, later_s))
        else:
            answers = await now
        self.watch.take(answers[len(state_calls) :])
        return HeadReads(answers[: len(state_calls)], later_s, later)

    def decode(self, market: Market, head: BlockRef, reads: HeadReads) -> State:
        """Raises `MalformedResponse`."""
        state = self._adapter.decode_state(market, head, reads.state)
        if reads.later is None:
            return state
        return self._adapter.with_later_prices(state, reads.later_s, self._adapter.decode_prices(market, reads.later))
