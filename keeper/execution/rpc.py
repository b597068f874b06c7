"""The node, as far as this room needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import ChainError
from keeper.core.lending import LogFilter


class Rpc(Protocol):
    """JSON-RPC. Raises `ChainError`s. A write (`eth_send*`) must go out at most once: it is never repeated."""

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any: ...

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any | ChainError]: ...


class World(Protocol):
    """Pinned reads: the part of `keeper.ports.Chain` that reconciling needs."""

    def logs(
        self, log_filter: LogFilter, from_block: int, to: BlockRef
    ) -> AsyncIterator[tuple[int, Sequence[Log]]]: ...

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]: ...
