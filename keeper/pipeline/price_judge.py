"""One market's prices judged by the operator's policies, head by head.

What is wrong is told once for as long as it lasts; where the policy says so, nobody whose health hangs on such a price is
liquidated meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from keeper.core.block import BlockRef
from keeper.core.outcome import Skip
from keeper.core.price_policy import Concern, PricePolicies, PriceReading, price_concerns, refusal, sequencer_concern
from keeper.core.units import Address
from keeper.pipeline.price_watch import PriceWatch


class PriceJudge:
    """Remembers the prices of the head before, and what was wrong with them."""

    def __init__(self, policies: PricePolicies, watch: PriceWatch) -> None:
        self._policies = policies
        self._watch = watch
        self._concerns: Sequence[Concern] = ()
        self._previous_base: Mapping[Address, int | None] = {}
        if policies.sequencer is not None:
            watch.also = (policies.sequencer.feed,)

    def judge(self, prices_base: Mapping[Address, int | None], head: BlockRef) -> list[Concern]:
        """What is wrong with the prices of this head and was not wrong at the one judged before."""
        readings = [self._reading(key, price_base) for key, price_base in prices_base.items()]
        found = price_concerns(self._policies, readings, head.timestamp_s)
        if self._policies.sequencer is not None:
            uptime = self._watch.rounds.get(self._policies.sequencer.feed)
            concern = sequencer_concern(self._policies.sequencer, uptime, head.timestamp_s)
            found += [concern] if concern is not None else []
        before = {(concern.doubt, concern.key) for concern in self._concerns}
        self._concerns, self._previous_base = found, prices_base
        return [concern for concern in found if (concern.doubt, concern.key) not in before]

    def refusal(self, keys: Collection[Address]) -> Skip | None:
        """Why somebody whose health hangs on these prices is left alone at this head; None where nothing forbids it."""
        return refusal(self._concerns, keys)

    def _reading(self, key: Address, price_base: int | None) -> PriceReading:
        label = self._watch.feeds.labels.get(key, f"0x{key.hex()}")
        return PriceReading(key, label, price_base, self._previous_base.get(key), self._watch.rounds_of(key))
