"""A size that learns what a node accepts."""

from __future__ import annotations

_FIRST_PATIENCE = 16


class AdaptiveSize:
    """Begins at `maximum`, is halved when refused, and grows again towards the least size that was refused.

    After a while the limit is doubted: it may have been a dense stretch. Each time it is believed twice as long.
    """

    def __init__(self, maximum: int) -> None:
        if maximum < 1:
            raise ValueError("a size must be at least 1")
        self._maximum = maximum
        self._refused_at: int | None = None
        self._successes = 0
        self._patience = _FIRST_PATIENCE
        self.size = maximum

    def refused(self, size: int) -> None:
        """A request of this size was too much."""
        self._refused_at = size if self._refused_at is None else min(size, self._refused_at)
        self.size = min(self.size, max(1, size // 2))
        self._successes = 0

    def accepted(self, size: int) -> None:
        """A request of this size was answered. Smaller ones than `size` teach nothing."""
        if size < self.size:
            return
        self._successes += 1
        if self._refused_at is not None and self._successes >= self._patience:
            self._refused_at, self._successes, self._patience = None, 0, 2 * self._patience
        if self._refused_at is None:
            self.size = min(self._maximum, 2 * self.size)
        # Near the refused size another refusal would cost more than the wider step brings.
        elif self._refused_at - self.size > self.size // 4:
            self.size = (self.size + self._refused_at) // 2
