"""Whether the machine's clock agrees with the chain, by the age of new blocks when they arrive. Pure."""

from __future__ import annotations

from collections import deque
from statistics import median

FEWEST = 5
MOST = 9
"""Of the last blocks: one that is late proves nothing."""


class ClockWatch:
    """`tolerance_s` should allow for how late blocks usually arrive, and how far ahead their makers may stamp them."""

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_s = tolerance_s
        self._ages_s: deque[float] = deque(maxlen=MOST)
        self._told_s: float | None = None

    def arrived(self, age_s: float) -> None:
        """A block arrived; by the machine's clock it was made `age_s` ago."""
        self._ages_s.append(age_s)

    def forget(self) -> None:
        """The ages so far were the node's fault."""
        self._ages_s.clear()

    def skew_s(self) -> float | None:
        """How far the clock is ahead of the chain (negative: behind), when that is beyond the tolerance."""
        if len(self._ages_s) < FEWEST:
            return None
        middle_s = median(self._ages_s)
        return middle_s if abs(middle_s) > self._tolerance_s else None

    def news_s(self) -> float | None:
        """The skew when it has not been told yet, or has changed by more than the tolerance since."""
        skew_s = self.skew_s()
        if skew_s is None:
            if len(self._ages_s) >= FEWEST:
                self._told_s = None
            return None
        if self._told_s is not None and abs(skew_s - self._told_s) <= self._tolerance_s:
            return None
        return skew_s

    def told(self, skew_s: float) -> None:
        self._told_s = skew_s
