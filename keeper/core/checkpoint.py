"""What a start can begin from: a saved book, or how far a back-fill came."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keeper.core.block import BlockRef
from keeper.core.units import Address

CHECKPOINT_FORMAT = 2
"""Of what `Checkpoint` says. The rows inside have a version of their own."""


class Start(StrEnum):
    """How a book is built when there is none to load. Both ways give the same one."""

    SNAPSHOT = "snapshot"
    """Borrowers by their Borrow logs, their rows by pinned reads."""
    LOGS = "logs"
    """Every log from the first block on, replayed for every account; nobody's row is read."""


class Stage(StrEnum):
    """What a checkpoint holds."""

    BOOK = "book"
    """The row of every borrower."""
    SEARCH = "search"
    """A back-fill under way: who borrowed up to the block."""
    ROWS = "rows"
    """A back-fill under way: who borrowed up to the block, and the rows that were read so far, as of it."""
    REPLAY = "replay"
    """A back-fill under way: who borrowed up to the block, and the row of every account."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One market as of one block. What it says of itself is compared before anything in it is believed."""

    chain: str
    """The chain's name in the configuration."""
    chain_id: int
    market: Address
    protocol: str
    rules: str
    """The rules under which the rows followed the logs; empty where there are no rows yet."""
    format: int
    stage: Stage
    block: BlockRef
    facts: str
    """JSON: what verification or the rest of a replay needs to know besides."""
    borrowers: bytes
    """20 bytes each; empty for a book, whose rows name them."""
    rows: bytes
    """The packed book; empty for a search."""
