"""When the logs of a block range are believed: they lie on the chain that we follow, and so does the range itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keeper.chain.blocks import decode_header, header_entry
from keeper.chain.rpc import Entry, Rpc
from keeper.core.block import BlockRef, Log
from keeper.core.errors import BlockUnavailable, ChainError
from keeper.core.units import Hash32, to_hex

HashAt = Callable[[int], Hash32 | None]
"""The hash of the block that we follow at a number; None where we do not have its header."""


def nothing_known(number: int) -> None:
    """For whoever follows no header chain: only the range's own ends are compared."""


class RangeCheck:
    """The rule for one range [from_block, to], read in chunks of any size and order.

    * Every chunk comes, in the same exchange, with the header at `to`'s number (`entries`, `accept_ends`): the node that
      answered follows our chain and is not behind it.
    * Every log's block hash is the one we follow, where we have the header; the logs of one block agree (`accept_logs`).
    * After the last chunk both ends are read again (`confirm`): the chain did not move underneath.

    Raises `BlockUnavailable` when the chain moved: whatever the range gave is to be discarded.
    """

    def __init__(self, from_block: int, to: BlockRef, hash_at: HashAt = nothing_known) -> None:
        self._from_block = from_block
        self._to = to
        self._hash_at = hash_at
        self._ends: dict[int, Hash32] = {to.number: to.hash}
        """By number; the lower one once it is known."""

    def entries(self) -> list[Entry]:
        """What to ask for along with a chunk of logs. The lower end is asked for until it is known."""
        ends = [self._to.number]
        if self._followed(self._from_block) is None:
            ends.append(self._from_block)
        return [header_entry(number) for number in ends]

    def accept_ends(self, answers: Sequence[Any | ChainError]) -> None:
        """Check the answers to `entries`."""
        for number, answer in zip((self._to.number, self._from_block), answers, strict=False):
            if isinstance(answer, ChainError):
                raise answer
            found = decode_header(answer, number).hash
            followed = self._ends.setdefault(number, self._followed(number) or found)
            if found != followed:
                raise BlockUnavailable(f"block {number} {to_hex(followed)} is no longer on the chain")

    def accept_logs(self, logs: Sequence[Log]) -> None:
        """Check the logs of one chunk, which have been decoded and found to lie within it."""
        hashes: dict[int, Hash32] = {}
        for log in logs:
            number = log.block_number
            if hashes.setdefault(number, self._followed(number) or log.block_hash) != log.block_hash:
                raise BlockUnavailable(
                    f"log {log.log_index} of block {number} is of another block of that number than the one we follow"
                )

    async def confirm(self, rpc: Rpc) -> None:
        """Read both ends once more."""
        ends = [self._to.number, self._from_block]
        self.accept_ends(await rpc.batch([header_entry(number) for number in ends]))

    def _followed(self, number: int) -> Hash32 | None:
        return self._ends.get(number) or self._hash_at(number)
