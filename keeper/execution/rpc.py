"""The node, as far as this room needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import ChainError
from keeper.core.lending import LogFilter
from keeper.core.units import Hash32


class Rpc(Protocol):
    """JSON-RPC to one node. Raises `ChainError`s. It must never retry a request by itself: sends go through it."""

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any: ...

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any | ChainError]: ...


class World(Protocol):
    """Pinned reads: the part of `keeper.ports.Chain` that reconciling needs."""

    async def header(self, block_hash: Hash32) -> BlockRef: ...

    def logs(
        self, log_filter: LogFilter, from_block: int, to: BlockRef
    ) -> AsyncIterator[tuple[int, Sequence[Log]]]: ...

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]: ...
