"""Rows as the chain has them, read pinned, many accounts at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
