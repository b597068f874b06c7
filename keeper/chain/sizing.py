"""Batches cut so that no answer grows much beyond what nodes, proxies and our own memory bear well."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.chain.adaptive import TARGET_BODY_BYTES
from keeper.chain.rpc import Entry

_UNKNOWN_BYTES = 1_000
"""Taken for the answer to a method that was not asked yet."""
_GROWTH = 0.5
"""Sizes seen are followed upwards at once, downwards by half of the way."""


class AnswerSizes:
    """Bytes per answer of each method, as seen last, and how many entries of a batch they allow."""

    def __init__(self, target_bytes: int = TARGET_BODY_BYTES) -> None:
        self._target_bytes = target_bytes
        self._seen_bytes: dict[str, float] = {}

    def fitting(self, entries: Sequence[Entry], most: int) -> int:
        """How many of the first entries may go in one batch: at least one, at most `most`."""
        expected_bytes = 0.0
        for count, (method, _) in enumerate(entries[:most]):
            expected_bytes += self._seen_bytes.get(method, _UNKNOWN_BYTES)
            if count and expected_bytes > self._target_bytes:
                return count
        return min(len(entries), most)

    def note(self, entries: Sequence[Entry], answer_bytes: int) -> None:
        """The whole answer to these entries had so many bytes; they are blamed in proportion to what was expected."""
        expected_bytes = sum(self._seen_bytes.get(method, _UNKNOWN_BYTES) for method, _ in entries)
        ratio = answer_bytes / expected_bytes
        for method in {method for method, _ in entries}:
            before_bytes = self._seen_bytes.get(method, _UNKNOWN_BYTES)
            found_bytes = before_bytes * ratio
            kept_bytes = before_bytes * (1 - _GROWTH) + found_bytes * _GROWTH if ratio < 1 else found_bytes
            self._seen_bytes[method] = max(1.0, kept_bytes)
