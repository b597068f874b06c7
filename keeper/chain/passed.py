"""Headers of blocks that came while nobody asked: read along with the newest, so that joining it to ours needs no own trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.chain.blocks import decode_header, header_entry
from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, ChainError, MalformedResponse
from keeper.core.units import Hash32

MOST_ALONG = 8
"""Logs of more blocks are asked for as a range, which needs another trip anyhow."""
MOST_KEPT = 128


class Passed:
    """What heads passed over lately. Believed by their hashes alone, as announced headers are."""

    def __init__(self) -> None:
        self._kept: dict[Hash32, BlockRef] = {}
        self._block_s = 0.0
        """How far apart the last two heads' blocks were."""

    def find(self, block_hash: Hash32) -> BlockRef | None:
        """A header that was asked for along with a head."""
        return self._kept.get(block_hash)

    def came(self, head: BlockRef, before: BlockRef | None) -> None:
        """`head` followed `before`."""
        self._keep(head)
        if before is not None and head.number > before.number:
            self._block_s = max(0, head.timestamp_s - before.timestamp_s) / (head.number - before.number)

    async def read_newest(self, rpc: Rpc, last: BlockRef | None, silent_s: float) -> BlockRef:
        """The newest header; with it, in one exchange, those which by now may lie between it and `last`, after which nobody
        asked for `silent_s`. Raises `ChainError` when the newest cannot be had."""
        due = int(silent_s / self._block_s) if self._block_s else 0
        between = [] if last is None else range(last.number + 1, last.number + 1 + min(MOST_ALONG, max(0, due - 1)))
        newest, *others = await rpc.batch([header_entry("latest"), *map(header_entry, between)])
        self._keep_all(between, others)
        if isinstance(newest, ChainError):
            raise newest
        return decode_header(newest, "latest")

    def _keep_all(self, numbers: Sequence[int], answers: Sequence[Any | ChainError]) -> None:
        for number, answer in zip(numbers, answers, strict=True):
            try:
                if not isinstance(answer, ChainError):
                    self._keep(decode_header(answer, number))
            except (BlockUnavailable, MalformedResponse):
                continue  # not there yet, or odd: it is read when it is needed

    def _keep(self, header: BlockRef) -> None:
        self._kept.pop(header.hash, None)
        self._kept[header.hash] = header
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
