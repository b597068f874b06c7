"""One endpoint with what we have learned about it: its chain, its batches, its pace, how well it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.chain.jsonrpc import BatchRefused, JsonRpc
from keeper.chain.pace import Pace
from keeper.chain.rpc import Entry
from keeper.chain.translate import smaller_batch
from keeper.core.errors import (
    ChainError,
    MalformedResponse,
    RateLimited,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from keeper.core.hexdata import decode_quantity

FIRST_BACKOFF_S = 0.1
FIRST_LIMITED_PAUSE_S = 0.5
"""Limits are mostly per second: a shorter pause only runs into them again."""
LONGEST_COOLING_S = 60.0
UNWELL = (RpcTimeout, RpcUnreachable, MalformedResponse, RateLimited)
"""The endpoint itself is in trouble: another one may answer, and so may this one later."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Settings of one JSON-RPC endpoint. The URL is a secret and stays out of the repr."""

    url: str = field(repr=False)
    timeout_s: float = 10.0
    """Deadline of one HTTP exchange."""
    batch_size: int = 100
    """Most calls in one HTTP request; 1 is no JSON-RPC batches. Lowered by itself when the endpoint refuses."""
    calls_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP exchange, for metrics. `error` is the class of what went wrong as a whole, None when answered."""

    label: str
    method: str
    calls: int
    elapsed_s: float
    error: str | None


Observer = Callable[[Exchange], None]
monotonic_s = time.monotonic


class Line:
    """Asks one endpoint. No retries here, but a batch is cut to what the endpoint takes."""

    def __init__(self, endpoint: Endpoint, observer: Observer | None) -> None:
        self.rpc = JsonRpc(endpoint.url, timeout_s=endpoint.timeout_s)
        self.wrong_chain: WrongChain | None = None
        self._cooling_until_s = 0.0
        self.limited = False
        self._failures = 0
        self._ill_since_s = 0.0
        self.chain_checked = False
        self._batch_size = max(1, endpoint.batch_size)
        self._pace = Pace(endpoint.calls_per_s)
        self._observer = observer

    async def check_chain(self, expected: int | None) -> int:
        """The endpoint's chain id, asked once. Raises `WrongChain` naming both when it is not the `expected` one."""
        if self.chain_checked and expected is not None:
            return expected
        answers: list[Any | ChainError] = []
        await self.answer([("eth_chainId", ())], answers)
        if isinstance(answers[0], ChainError):
            raise answers[0]
        found = decode_quantity(answers[0], f"{self.rpc.label}: eth_chainId")
        if expected is not None and found != expected:
            self.wrong_chain = WrongChain(f"{self.rpc.label} answers for chain {found}; configured is chain {expected}")
            raise self.wrong_chain
        self.chain_checked = True
        return found

    async def answer(self, entries: Sequence[Entry], answers: list[Any | ChainError]) -> None:
        """Append every entry's result or error to `answers`, in order. Raises when an exchange failed as a whole; what came
        before it is in `answers` then."""
        while len(answers) < len(entries):
            part = entries[len(answers) : len(answers) + self._batch_size]
            try:
                answers += await self._exchange(part)
            except BatchRefused as refusal:
                if len(part) == 1:
                    raise
                self._batch_size = smaller_batch(len(part), str(refusal))

    def fell_ill(self, error: ChainError, begun_s: float) -> None:
        """Remember a failure of a request begun at `begun_s`: the endpoint rests for a while that doubles each time.
        Requests that were under way together count as one failure."""
        now_s = monotonic_s()
        if begun_s >= self._ill_since_s:
            self._failures += 1
            self._ill_since_s = now_s
        self.limited = isinstance(error, RateLimited)
        first_s = FIRST_LIMITED_PAUSE_S if self.limited else FIRST_BACKOFF_S
        pause_s = min(first_s * 2.0 ** (self._failures - 1), LONGEST_COOLING_S)
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            pause_s = error.retry_after_s
        self._cooling_until_s = max(self._cooling_until_s, now_s + pause_s)

    def rest_s(self, now_s: float) -> float:
        """How long it should still be left alone; 0 when it is well."""
        return max(0.0, self._cooling_until_s - now_s)

    def recovered(self) -> None:
        self._failures, self._cooling_until_s, self.limited = 0, 0.0, False

    async def _exchange(self, part: Sequence[Entry]) -> list[Any | ChainError]:
        await self._pace.take(len(part))
        begun_s = time.perf_counter()
        trouble: str | None = None
        try:
            if len(part) > 1:
                return await self.rpc.batch(part)
            return [await self.rpc.request(*part[0])]
        except ChainError as error:
            trouble = type(error).__name__
            if len(part) > 1 or isinstance(error, UNWELL):
                raise
            return [error]
        finally:
            if self._observer is not None:
                method = part[0][0] if len(part) == 1 else "batch"
                self._observer(Exchange(self.rpc.label, method, len(part), time.perf_counter() - begun_s, trouble))
