"""What kind of market stands at an address, as of one block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from keeper.core.block import BlockRef, CallResult
from keeper.core.errors import MarketError
from keeper.core.lending import LendingAdapter
from keeper.core.units import Address, to_hex
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")


async def discover(
    chain: Chain, adapter: LendingAdapter[Market, State], entry: Address, block: BlockRef
) -> Sequence[Market]:
    """The market under every set of rules that may be its own, likeliest first. Raises `MarketError` when there is none."""
    steps = adapter.discover(entry)
    results: Sequence[CallResult] | None = None
    found: Market | None = None
    while found is None:
        try:
            calls = steps.send(results) if results is not None else next(steps)
            results = await chain.read(calls, block)
        except StopIteration as done:
            found = done.value
    candidates = adapter.candidates(found)
    if not candidates:
        raise MarketError(f"{to_hex(entry)}: no known rules fit this market ({adapter.protocol})")
    return candidates
