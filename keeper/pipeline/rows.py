"""Rows as the chain has them, read pinned, many accounts at once, and more of them than one head has time for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from keeper.core.block import BlockRef, Call
from keeper.core.lending import LendingAdapter, Position
from keeper.core.units import Address
from keeper.pipeline.tasks import all_together
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

ACCOUNTS_PER_READ = 50
READS_IN_FLIGHT = 4
ROWS_PER_HEAD = 500
"""Read at one head, so that watching goes on while many are, the chain's other markets wait a second or two at most, and the
node still has the head's state at the end."""


class Wanted:
    """Accounts whose rows are to be read, a part of them at each head. What was read follows the logs from the head that it was
    read at, so the parts fit together."""

    def __init__(self) -> None:
        self.missing: set[Address] = set()
        """Not in the book, or asked for by name: these come first."""
        self.doubted: set[Address] = set()
        """In the book, and not to be believed."""
        self._cut_short = False

    def __len__(self) -> int:
        return len(self.missing) + len(self.doubted)

    @property
    def fits_one_head(self) -> bool:
        return len(self) <= ROWS_PER_HEAD

    @property
    def is_long(self) -> bool:
        """Whether this need not wait for another head: it is more than the last one had time for, or not to be believed."""
        return bool(self.doubted) or self._cut_short

    def next_slice(self) -> set[Address]:
        """What to read at this head; `were_read` once it is in the book."""
        chosen = set(islice(self.missing, ROWS_PER_HEAD))
        return chosen | set(islice(self.doubted, ROWS_PER_HEAD - len(chosen)))

    def were_read(self, accounts: Iterable[Address]) -> None:
        self.missing.difference_update(accounts)
        self.doubted.difference_update(accounts)
        self._cut_short = bool(self.missing)


async def read_rows(
    chain: Chain,
    adapter: LendingAdapter[Market, State],
    market: Market,
    accounts: Collection[Address],
    block: BlockRef,
    on_read: Callable[[int], None] = lambda count: None,
) -> list[Position]:
    """The row of each account at `block`, by address; `on_read` hears how many more were read. Raises `ChainError`."""
    ordered = sorted(accounts)
    waiting = [ordered[start : start + ACCOUNTS_PER_READ] for start in range(0, len(ordered), ACCOUNTS_PER_READ)][::-1]
    rows: dict[Address, Position] = {}

    async def reader() -> None:
        while waiting:
            chunk = waiting.pop()
            for row in await _read_chunk(chain, adapter, market, chunk, block):
                rows[row.borrower] = row
            on_read(len(chunk))

    await all_together([reader() for _ in range(min(READS_IN_FLIGHT, len(waiting)))])
    return [rows[account] for account in ordered]


async def _read_chunk(
    chain: Chain, adapter: LendingAdapter[Market, State], market: Market, accounts: Sequence[Address], block: BlockRef
) -> list[Position]:
    per_account = [list(adapter.encode_position(market, account)) for account in accounts]
    flat: list[Call] = [call for calls in per_account for call in calls]
    results = await chain.read(flat, block)
    rows, cursor = [], 0
    for account, calls in zip(accounts, per_account, strict=True):
        rows.append(adapter.decode_position(market, account, results[cursor : cursor + len(calls)]))
        cursor += len(calls)
    return rows
