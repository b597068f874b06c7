"""What an operator asks of prices beyond what the protocol does, and what is wrong with those of one head.

The protocol liquidates at whatever its oracle answers. An operator may want to know, or to wait, when an answer is old,
jumps, comes from a feed that answers nothing positive, or when the sequencer that brings the answers is or was down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from keeper.core.outcome import Reason, Skip
from keeper.core.prices import FeedRound
from keeper.core.units import BPS, Address

SEQUENCER_UP = 0
"""A sequencer's uptime feed answers 0 while it is up, 1 while it is down, since `started_at_s`."""


class Action(StrEnum):
    """What a concern about a price comes to."""

    WARN = "warn"
    """It is told once for as long as it lasts."""
    REFUSE = "refuse"
    """It is told, and nobody who holds or owes the asset is liquidated."""


class Doubt(StrEnum):
    """What can be wrong; the names are keys of alerts."""

    STALE = "price_stale"
    JUMP = "price_jump"
    NOT_POSITIVE = "price_not_positive"
    SEQUENCER = "sequencer"


@dataclass(frozen=True, slots=True)
class PricePolicy:
    """Of one asset."""

    action: Action = Action.WARN
    max_age_s: int | None = None
    """Since its feeds' last update (the heartbeat and some slack); None: any age will do."""
    max_jump_bps: int | None = None
    """Between two heads, of the earlier price; None: any step will do."""


@dataclass(frozen=True, slots=True)
class SequencerPolicy:
    """Of a chain with one sequencer: its uptime feed."""

    feed: Address
    grace_s: int
    """After it has come back."""
    action: Action = Action.WARN


@dataclass(frozen=True, slots=True)
class PricePolicies:
    """Of one market."""

    default: PricePolicy = field(default_factory=PricePolicy)
    by_asset: Mapping[Address, PricePolicy] = field(default_factory=dict)
    sequencer: SequencerPolicy | None = None

    def of(self, asset: Address) -> PricePolicy:
        return self.by_asset.get(asset, self.default)


@dataclass(frozen=True, slots=True)
class PriceReading:
    """One of the oracle's answers at a head."""

    key: Address
    """What the oracle was asked for."""
    label: str
    price_base: int | None
    """None where it cannot be read."""
    previous_base: int | None
    """At the head before; None where that is not known."""
    rounds: Sequence[FeedRound]
    """The last rounds of the feeds it is made of, as far as they say."""
    unknown_age: str = ""
    """Why its age is not known, though it is to be had; empty where it is known, or its source is of a kind that has none."""


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that is wrong with one price, or (without a key) with all of them."""

    doubt: Doubt
    key: Address | None
    detail: str
    action: Action

    @property
    def skip(self) -> Skip:
        """As the standing of somebody who is left alone for it."""
        reason = Reason.SEQUENCER_SENTINEL if self.doubt is Doubt.SEQUENCER else Reason.UNPRICEABLE
        return Skip(reason, self.detail)


def price_concerns(policies: PricePolicies, readings: Sequence[PriceReading], now_s: int) -> list[Concern]:
    """What is wrong with the prices of a head whose block is of second `now_s`."""
    found: list[Concern] = []
    for reading in readings:
        policy = policies.of(reading.key)
        details = {
            Doubt.NOT_POSITIVE: _not_positive(reading),
            Doubt.STALE: _stale(reading, policy, now_s),
            Doubt.JUMP: _jump(reading, policy),
        }
        found += [Concern(doubt, reading.key, detail, policy.action) for doubt, detail in details.items() if detail]
    return found


def sequencer_concern(policy: SequencerPolicy, feed_round: FeedRound | None, now_s: int) -> Concern | None:
    """What is wrong with the sequencer. A feed that does not answer, or has no round yet, is no proof that it is up."""
    if feed_round is None or feed_round.started_at_s == 0:
        detail = "the sequencer's uptime feed does not answer"
    elif feed_round.answer != SEQUENCER_UP:
        detail = f"the sequencer has been down for {now_s - feed_round.started_at_s} s"
    elif now_s - feed_round.started_at_s <= policy.grace_s:
        up_s = now_s - feed_round.started_at_s
        detail = f"the sequencer came back {up_s} s ago, the grace period is {policy.grace_s} s"
    else:
        return None
    return Concern(Doubt.SEQUENCER, None, detail, policy.action)


def refusal(concerns: Collection[Concern], keys: Collection[Address]) -> Skip | None:
    """Why somebody whose health hangs on the prices `keys` is left alone; None where nothing forbids it."""
    for concern in concerns:
        if concern.action is Action.REFUSE and (concern.key is None or concern.key in keys):
            return concern.skip
    return None


def _not_positive(reading: PriceReading) -> str | None:
    low = [feed_round.answer for feed_round in reading.rounds if feed_round.answer <= 0]
    if low:
        return f"a feed of {reading.label} answers {min(low)}"
    if reading.price_base == 0:
        return f"the price of {reading.label} is 0"
    return None


def _stale(reading: PriceReading, policy: PricePolicy, now_s: int) -> str | None:
    if policy.max_age_s is None:
        return None
    if reading.unknown_age:
        return f"the age of the price of {reading.label} is not known: {reading.unknown_age}"
    if not reading.rounds:
        return None
    age_s = now_s - min(feed_round.updated_at_s for feed_round in reading.rounds)
    if age_s <= policy.max_age_s:
        return None
    return f"the price of {reading.label} is {age_s} s old, the limit is {policy.max_age_s} s"


def _jump(reading: PriceReading, policy: PricePolicy) -> str | None:
    """|now − before| ÷ before > limit, in bps: |now − before| · BPS > limit · before."""
    now_base, before_base = reading.price_base, reading.previous_base
    if policy.max_jump_bps is None or not now_base or not before_base:
        return None
    step_base = now_base - before_base
    if abs(step_base) * BPS <= policy.max_jump_bps * before_base:
        return None
    moved, limit = _percent(step_base * BPS // before_base), _percent(policy.max_jump_bps)
    return f"the price of {reading.label} moved by {moved} since the last head, the limit is {limit}"


def _percent(bps: int) -> str:
    sign = "-" if bps < 0 else ""
    return f"{sign}{abs(bps) // 100}.{abs(bps) % 100:02} %"
