"""One market's prices judged by the operator's policies, head by head.

What is wrong is told once for as long as it lasts; where the policy says so, nobody whose health hangs on such a price is
liquidated meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from keeper.core.block import BlockRef
from keeper.core.outcome import Skip
from keeper.core.price_policy import (
    Action,
    Concern,
    Doubt,
    PricePolicies,
    PriceReading,
    price_concerns,
    refusal,
    sequencer_concern,
)
from keeper.core.units import Address
from keeper.pipeline.price_watch import PriceWatch


class PriceJudge:
    """Remembers the price before of everything that is priced, and what was wrong at the head before."""

    def __init__(self, policies: PricePolicies, watch: PriceWatch) -> None:
        self._policies = policies
        self._watch = watch
        self._concerns: Sequence[Concern] = ()
        self._shown: Collection[tuple[Doubt, Address | None]] = ()
        """What a person was told of, and lasts."""
        self._head: BlockRef | None = None
        self._known_base: dict[Address, int] = {}
        """The newest price of each that could be read."""
        self._previous_base: dict[Address, int] = {}
        """The same, before this head: a head may be judged more than once."""
        if policies.sequencer is not None:
            watch.also = (policies.sequencer.feed,)

    def judge(self, prices_base: Mapping[Address, int | None], head: BlockRef) -> list[Concern]:
        """What is wrong with the prices of this head and was not wrong at the one judged before."""
        if head != self._head:
            self._head, self._previous_base = head, dict(self._known_base)
        readings = [self._reading(key, price_base) for key, price_base in prices_base.items()]
        found = price_concerns(self._policies, readings, head.timestamp_s)
        if self._policies.sequencer is not None:
            uptime = self._watch.rounds.get(self._policies.sequencer.feed)
            concern = sequencer_concern(self._policies.sequencer, uptime, head.timestamp_s)
            found += [concern] if concern is not None else []
        if self._watch.trouble is not None:
            found.append(Concern(Doubt.STALE, None, f"no age of a price is known: {self._watch.trouble}", Action.WARN))
        shown = {(each.doubt, each.key): each for each in found if not self._is_of_all(each)}
        news = [concern for which, concern in shown.items() if which not in self._shown]
        self._concerns, self._shown = found, shown.keys()
        self._known_base |= {key: price for key, price in prices_base.items() if price is not None}
        return news

    def refusal(self, keys: Collection[Address]) -> Skip | None:
        """Why somebody whose health hangs on these prices is left alone at this head; None where nothing forbids it."""
        return refusal(self._concerns, keys)

    def _is_of_all(self, concern: Concern) -> bool:
        """Whether it says of one price what is told of all of them together."""
        return self._watch.trouble is not None and concern.doubt is Doubt.STALE and concern.key is not None

    def _reading(self, key: Address, price_base: int | None) -> PriceReading:
        label = self._watch.feeds.labels.get(key, f"0x{key.hex()}")
        rounds, unknown_age = self._watch.rounds_of(key), self._watch.unknown_age(key)
        return PriceReading(key, label, price_base, self._previous_base.get(key), rounds, unknown_age)
