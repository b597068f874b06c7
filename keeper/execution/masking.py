"""A fork's own words may quote the node that it reads from, and the key in that node's URL. Here they lose it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keeper.core.errors import ChainError, RateLimited, RpcFailure
from keeper.execution.rpc import Rpc

Shown = Callable[[str], str]
"""Foreign text as it may be shown: without the upstream URL's secrets."""


@dataclass(frozen=True, slots=True)
class MaskedRpc:
    """An `Rpc` whose errors say only what may be shown."""

    rpc: Rpc
    shown: Shown

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        try:
            return await self.rpc.request(method, params)
        except ChainError as error:
            masked = self._masked(error)
        # Raised out here: inside the handler the original would stay attached.
        raise masked

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any | ChainError]:
        try:
            answers = await self.rpc.batch(entries)
        except ChainError as error:
            masked = self._masked(error)
        else:
            return [self._masked(answer) if isinstance(answer, ChainError) else answer for answer in answers]
        raise masked

    def _masked(self, error: ChainError) -> ChainError:
        if isinstance(error, RpcFailure):
            text = self.shown(str(error).removesuffix(f" (code {error.code})"))
            return RpcFailure(error.code, text, error.data)
        if isinstance(error, RateLimited):
            return RateLimited(self.shown(str(error)), error.retry_after_s)
        return type(error)(self.shown(str(error)))
