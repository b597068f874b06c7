"""What the chain room has to say to people besides errors and stalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class NoticeKind(StrEnum):
    """Stable names: they are the keys of alerts."""

    SUBSCRIPTION_LOST = "subscription_lost"
    """Heads are polled until it is back."""
    SUBSCRIPTION_BACK = "subscription_back"
    NODE_BEHIND = "node_behind"
    """A node answers, but others are ahead of it."""
    NODE_DISBELIEVED = "node_disbelieved"
    """A node names a newest block whose parent nobody has."""
    CLOCK_SKEW = "clock_skew"
    """The machine's clock and the chain's blocks disagree."""
    NO_PENDING = "no_pending"
    """Pending transactions are not, or not all, to be had."""


@dataclass(frozen=True, slots=True)
class Notice:
    kind: NoticeKind
    detail: str


Tell = Callable[[Notice], None]


def untold(notice: Notice) -> None:
    """Nobody listens."""
