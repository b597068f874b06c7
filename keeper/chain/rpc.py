"""The one seam of this room: whoever answers JSON-RPC calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from keeper.core.errors import ChainError

Params = Sequence[Any]
Entry = tuple[str, Params]
"""Method and parameters of one call."""


class Rpc(Protocol):
    """`JsonRpc` (one endpoint, no retries) or `Endpoints` (several, with retries and fail-over)."""

    async def request(self, method: str, params: Params = ()) -> Any:
        """The `result` of one call. Raises a `ChainError`."""
        ...

    async def batch(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        """Results in the order asked, a failed member as its error in its place; all from one endpoint. Raises a
        `ChainError` when the whole exchange failed."""
        ...
