"""One market's state as one head has it: read at the block, and its prices also as they will be when a plan must still hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.core.block import BlockRef, CallResult
from keeper.core.errors import NodesDisagree
from keeper.core.lending import LendingAdapter
from keeper.core.units import Address, to_hex
from keeper.pipeline.carrying import Carrier
from keeper.pipeline.price_watch import PriceWatch
from keeper.pipeline.tasks import together
from keeper.pipeline.trade import Posting
from keeper.ports import Chain

MOST_DRIFT_BPS_PER_S = 5
"""Faster than this no price moves by itself (real ones move a hundredth of it at most): then one of the answers is false."""

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
        self.carrier: Carrier | None = None
        """Whoever carries this market's orders must know more of each head."""
        self.posting = Posting()
        self._chain = chain
        self._adapter = adapter

    async def read(self, market: Market, head: BlockRef, later_s: int) -> HeadReads:
        await self.watch.look(market, head)
        state_calls = self._adapter.encode_state(market)
        round_calls, posting_calls = self.watch.calls(), self.posting.encode()
        more_calls = self.carrier.encode_reads(self._adapter, market) if self.carrier is not None else ()
        prices = self._adapter.encode_prices(market)
        now = self._chain.read([*state_calls, *round_calls, *posting_calls, *more_calls], head)
        later: Sequence[CallResult] | None = None
        if prices and later_s > head.timestamp_s:
            answers, later = await together(now, self._chain.read_after(prices, head, later_s))
        else:
            answers = await now
        first_posting = len(state_calls) + len(round_calls)
        first_more = first_posting + len(posting_calls)
        self.watch.take(answers[len(state_calls) : first_posting])
        self.posting.decode(answers[first_posting:first_more])
        if self.carrier is not None:
            self.carrier.decode_reads(self._adapter, market, answers[first_more:])
        return HeadReads(answers[: len(state_calls)], later_s, later)

    def decode(self, market: Market, head: BlockRef, reads: HeadReads) -> State:
        """Raises `MalformedResponse`, and `NodesDisagree` when the prices read in two ways cannot both be true."""
        state = self._adapter.decode_state(market, head, reads.state)
        if reads.later is None:
            return state
        later_base = self._adapter.decode_prices(market, reads.later)
        check_drift(self._adapter.prices(state), later_base, head, reads.later_s)
        return self._adapter.with_later_prices(state, reads.later_s, later_base)


def check_drift(
    now_base: Mapping[Address, int | None], later_base: Mapping[Address, int | None], head: BlockRef, later_s: int
) -> None:
    """Raises `NodesDisagree`. The two readings come by different methods, and may come from different nodes."""
    seconds = later_s - head.timestamp_s
    for key, now in now_base.items():
        later = later_base.get(key)
        if now and later and abs(later - now) * 10_000 > now * MOST_DRIFT_BPS_PER_S * seconds:
            raise NodesDisagree(
                f"the price of {to_hex(key)} is said to be {now} at block {head.number} and {later} {seconds} s later,"
                " with no transaction in between: one of the two is false"
            )
