"""Where prices come from: the feeds behind a market's oracle, and what a feed says of its last round.

The market's own oracle is the truth; feeds only tell how old an answer is, and which contracts are about to change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keeper.core.block import Call, CallResult
from keeper.core.units import Address

LATEST_ROUND_DATA = bytes.fromhex("feaf968c")
"""`latestRoundData()`: round, answer, startedAt, updatedAt, round answered in. The common interface of push feeds."""
ROUND_WORDS = 5
_WORD = 32
_SIGN = 1 << 255


@dataclass(frozen=True, slots=True)
class PriceFeeds:
    """What stands behind the prices of a market, as far as it is known."""

    updated_by: Mapping[Address, frozenset[Address]]
    """By a contract that updates are sent to: the oracle's keys (assets, e-mode sources) whose prices they may move."""
    rounds_of: Mapping[Address, tuple[Address, ...]]
    """By the oracle's key: the feeds whose rounds its price is made of. Empty where none says."""
    labels: Mapping[Address, str]
    """The oracle's keys as people read them."""
    links: Mapping[Call, bytes] = field(default_factory=dict)
    """What was asked on the way from the sources to the feeds and their writers, with the answers: while they stay the same, so
    does all of this."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Whose price source leads to no contract that updates are sent to."""
        known = frozenset().union(*self.updated_by.values())
        return tuple(label for key, label in self.labels.items() if key not in known)


NO_FEEDS = PriceFeeds({}, {}, {})


@dataclass(frozen=True, slots=True)
class FeedRound:
    """A feed's last round."""

    answer: int
    """Signed, in the feed's own decimals."""
    started_at_s: int
    updated_at_s: int


def encode_round(feed: Address) -> Call:
    return Call(feed, LATEST_ROUND_DATA)


def decode_round(result: CallResult) -> FeedRound | None:
    """None for what does not answer as a feed does."""
    if not result.ok or len(result.returndata) != ROUND_WORDS * _WORD:
        return None
    _, answer, started_at_s, updated_at_s, _ = (
        int.from_bytes(result.returndata[place : place + _WORD]) for place in range(0, ROUND_WORDS * _WORD, _WORD)
    )
    return FeedRound(answer - 2 * _SIGN if answer & _SIGN else answer, started_at_s, updated_at_s)
