"""The recent headers, linked by parent hash: what is on our chain, and where a new head leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keeper.chain.blocks import read_header, read_headers
from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, ReorgTooDeep
from keeper.core.units import Hash32, to_hex

DEPTH = 64
"""The deepest reorganisation that is followed: two Ethereum epochs."""

Known = Callable[[Hash32], BlockRef | None]
"""Headers that need not be read; they are believed by their hashes alone."""


def none_known(block_hash: Hash32) -> None:
    """Every header is read."""


@dataclass(frozen=True, slots=True)
class Extension:
    """How a new head joins the chain we had."""

    ancestor: BlockRef
    """The last block that the old and the new chain have in common."""
    added: tuple[BlockRef, ...]
    """The new chain above it, each the parent of the next, the head last; no more than the window holds, so blocks right
    above the ancestor are left out after a long absence. Empty when the head is a block we had already."""

    def reorganised(self, tip: BlockRef) -> bool:
        """Whether `tip`, the end of the chain before, is no longer on it."""
        return self.ancestor.hash != tip.hash


class HeaderChain:
    """A window of headers that ends at `tip`: enough to follow a reorganisation of the last `depth` blocks. Starts at a block
    that is trusted to be on the chain."""

    def __init__(self, rpc: Rpc, start: BlockRef, *, depth: int = DEPTH) -> None:
        self._rpc = rpc
        self._longest = depth + 1
        self._window: dict[Hash32, BlockRef] = {start.hash: start}
        """Ascending; each is the parent of the next."""
        self._by_number = {start.number: start}
        self.tip = start

    def find(self, block_hash: Hash32) -> BlockRef | None:
        """The header, when it is in the window."""
        return self._window.get(block_hash)

    def hash_at(self, number: int) -> Hash32 | None:
        """The hash of the block that we follow at this number, when its header is in the window."""
        header = self._by_number.get(number)
        return None if header is None else header.hash

    async def contains(self, block: BlockRef) -> bool:
        """Whether the block is on the chain that ends at `tip`: from the window, and below it as the node answers now."""
        if block.number >= self._oldest().number:
            return block.hash in self._window
        return (await read_header(self._rpc, block.number)).hash == block.hash

    async def extend(self, head: BlockRef, known_headers: Known = none_known) -> Extension:
        """Make `head` the tip, reading whatever headers lie between and are not known. Unchanged when it raises.

        Raises `ReorgTooDeep` when no block of the window is an ancestor, `BlockUnavailable` when the chain moved while it
        was being read (take the next head), other `ChainError`s as they come.
        """
        if head.hash in self._window:
            self._window[head.hash] = head
            self._replace(head, ())
            return Extension(head, ())
        added = await self._read_back(head, known_headers)
        ancestor = self._window.get(added[0].parent_hash)
        if ancestor is None:
            ancestor = await self._canonical_ancestor(head)
        self._replace(ancestor, added)
        return Extension(ancestor, tuple(added))

    async def _read_back(self, head: BlockRef, known_headers: Known) -> list[BlockRef]:
        """Headers up to `head`, each the parent of the next, down to one whose parent we have or to as many as the window
        holds."""
        lowest = max(self._oldest().number, head.number - self._longest)
        added = self._linked(head, known_headers, lowest)
        first = max(self.tip.number + 1, lowest + 1, 0)
        if first < added[0].number:
            added = [*await read_headers(self._rpc, range(first, added[0].number)), *added]
            _check_links(added)
        while added[0].parent_hash not in self._window and added[0].number - 1 > lowest:
            added.insert(0, await read_header(self._rpc, added[0].parent_hash))
        return added

    def _linked(self, head: BlockRef, known_headers: Known, lowest: int) -> list[BlockRef]:
        """The head and what is known of the headers between it and ours, but none of `lowest` or below."""
        linked = [head]
        while linked[0].parent_hash not in self._window and linked[0].number - 1 > lowest:
            parent = known_headers(linked[0].parent_hash)
            if parent is None or parent.number != linked[0].number - 1:
                break
            linked.insert(0, parent)
        return linked

    async def _canonical_ancestor(self, head: BlockRef) -> BlockRef:
        """The highest block of the window that the node still has at its number, while it has `head` at its."""
        mine = [header for header in self._window.values() if header.number < head.number]
        *answers, there = await read_headers(self._rpc, [*[header.number for header in mine], head.number])
        if there.hash != head.hash:
            raise BlockUnavailable(f"block {head.number} {to_hex(head.hash)} was replaced while its chain was read")
        for header, answer in zip(reversed(mine), reversed(answers), strict=True):
            if header.hash == answer.hash:
                return header
        raise ReorgTooDeep(
            f"block {head.number} has no ancestor among the {len(self._window)} blocks up to {self.tip.number}"
        )

    def _oldest(self) -> BlockRef:
        return next(iter(self._window.values()))

    def _replace(self, ancestor: BlockRef, added: Sequence[BlockRef]) -> None:
        """Cut the window above the ancestor, append, and forget what is too old."""
        kept = [header for header in self._window.values() if header.number <= ancestor.number]
        window = [*kept, *added][-self._longest :]
        self._window = {header.hash: header for header in window}
        self._by_number = {header.number: header for header in window}
        self.tip = added[-1] if added else ancestor


def _check_links(headers: Sequence[BlockRef]) -> None:
    for parent, child in pairwise(headers):
        if child.parent_hash != parent.hash:
            raise BlockUnavailable(f"block {child.number} was replaced while its chain was read")
