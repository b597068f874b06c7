"""What was read of past blocks, so that the outcomes of one block ask for it once.

A block hash stands for everything about its block: what is remembered under it cannot go stale.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import MalformedResponse
from keeper.core.lending import LendingAdapter, LogFilter
from keeper.core.units import Hash32
from keeper.execution.rpc import Rpc, World
from keeper.execution.wire import read_block

MOST_KEPT = 512
"""Answers, the latest used ones: some megabytes."""
MOST_TOGETHER = 100
"""Groups of calls in one reading; with the one that is asked for, so many fit into what is kept."""

Calls = tuple[Call, ...]
Market = TypeVar("Market")
State = TypeVar("State")


class PastBlocks:
    """Headers, logs and readings of the latest inclusion blocks. Errors are not remembered."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    async def header(self, rpc: Rpc, block_hash: Hash32) -> BlockRef:
        """See `read_block`."""
        if block_hash not in self._kept:
            self._keep(block_hash, await read_block(rpc, block_hash))
        header: BlockRef = self._used(block_hash)
        return header

    async def logs(self, world: World, log_filter: LogFilter, block: BlockRef) -> Sequence[Log]:
        """The block's logs that pass the filter."""
        key = (block.hash, log_filter)
        if key not in self._kept:
            self._keep(key, [log async for _, chunk in world.logs(log_filter, block.number, block) for log in chunk])
        logs: Sequence[Log] = self._used(key)
        return logs

    async def results(
        self, world: World, calls: Calls, block: BlockRef, beside: Sequence[Calls] = ()
    ) -> Sequence[CallResult]:
        """The calls' results at the block. When they must be read, `beside` is read with them: what will be asked for
        next."""
        if (block.hash, calls) not in self._kept:
            others = [each for each in dict.fromkeys(beside) if each != calls and (block.hash, each) not in self._kept]
            groups = [calls, *others[:MOST_TOGETHER]]
            answers = list(await world.read([call for group in groups for call in group], block))
            for group in groups:
                self._keep((block.hash, group), answers[: len(group)])
                del answers[: len(group)]
        results: Sequence[CallResult] = self._used((block.hash, calls))
        return results

    async def state(
        self, world: World, adapter: LendingAdapter[Market, State], market: Market, block: BlockRef
    ) -> State:
        """The market's state at the block. When what was read cannot be that, nothing is remembered: another time it can."""
        answers = await self.results(world, tuple(adapter.encode_state(market)), block)
        try:
            return adapter.decode_state(market, block, answers)
        except MalformedResponse:
            self._kept.clear()
            raise

    def _used(self, key: Hashable) -> Any:
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: Hashable, answer: object) -> None:
        self._kept[key] = answer
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
