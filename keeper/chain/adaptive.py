"""A size that learns what a node accepts, and what keeps its answers short."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Log

TARGET_BODY_BYTES = 2 * 2**20
"""Nodes and proxies commonly cut off, refuse or slow down well above this."""

_FIRST_PATIENCE = 16
_LOG_FRAME_BYTES = 420
"""What JSON makes of a log besides its data and topics."""


class AdaptiveSize:
    """Begins at `maximum`, is halved when refused, and grows again towards the least size that was refused.

    After a while the limit is doubted: it may have been a dense stretch. Each time it is believed twice as long.
    With `target_bytes` it also never exceeds what, going by the latest answer, would be answered with so many bytes.
    """

    def __init__(self, maximum: int, target_bytes: int | None = None) -> None:
        if maximum < 1:
            raise ValueError("a size must be at least 1")
        self._maximum = maximum
        self._target_bytes = target_bytes
        self._refused_at: int | None = None
        self._successes = 0
        self._patience = _FIRST_PATIENCE
        self.size = maximum

    def refused(self, size: int) -> None:
        """A request of this size was too much."""
        self._refused_at = size if self._refused_at is None else min(size, self._refused_at)
        self.size = min(self.size, max(1, size // 2))
        self._successes = 0

    def accepted(self, size: int, answer_bytes: int | None = None) -> None:
        """A request of this size was answered, with so many bytes. Smaller ones than `size` teach nothing but density."""
        if size >= self.size:
            self._grow()
        if self._target_bytes is not None and answer_bytes:
            self.size = min(self.size, max(1, size * self._target_bytes // answer_bytes))

    def _grow(self) -> None:
        self._successes += 1
        if self._refused_at is not None and self._successes >= self._patience:
            self._refused_at, self._successes, self._patience = None, 0, 2 * self._patience
        if self._refused_at is None:
            self.size = min(self._maximum, 2 * self.size)
        # Near the refused size another refusal would cost more than the wider step brings.
        elif self._refused_at - self.size > self.size // 4:
            self.size = (self.size + self._refused_at) // 2


def logs_bytes(logs: Sequence[Log]) -> int:
    """About how long these logs are as JSON."""
    return sum(_LOG_FRAME_BYTES + 2 * len(log.data) + 69 * len(log.topics) for log in logs)
