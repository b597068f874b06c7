"""One endpoint with what we have learned about it: its chain, its batches, its pace, how well it is, what it lacks."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.chain.deadlines import Deadlines, name_of
from keeper.chain.health import Health
from keeper.chain.jsonrpc import Answers, BatchRefused, JsonRpc
from keeper.chain.pace import Pace
from keeper.chain.rpc import Entry
from keeper.chain.sizing import AnswerSizes
from keeper.chain.translate import smaller_batch
from keeper.core.errors import (
    ChainError,
    MalformedResponse,
    MethodUnavailable,
    RateLimited,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)
from keeper.core.hexdata import decode_quantity

UNWELL = (RpcTimeout, RpcUnreachable, MalformedResponse, RateLimited)
"""The endpoint itself is in trouble: another one may answer, and so may this one later."""
LACKING_FOR_S = 600.0
"""A method that an endpoint does not offer is asked of others first, for so long."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Settings of one JSON-RPC endpoint. The URL is a secret and stays out of the repr."""

    url: str = field(repr=False)
    timeout_s: float = 10.0
    """Longest deadline of one HTTP exchange, whatever its kind."""
    batch_size: int = 100
    """Most calls in one HTTP request; 1 is no JSON-RPC batches. Lowered by itself when the endpoint refuses."""
    calls_per_s: int | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)


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
        self.health = Health()
        self.wrong_chain: WrongChain | None = None
        self.chain_checked = False
        self._timeout_s = endpoint.timeout_s
        self._deadlines = endpoint.deadlines
        self._batch_size = max(1, endpoint.batch_size)
        self._sizes = AnswerSizes()
        self._pace = Pace(endpoint.calls_per_s)
        self._lacks_until_s: dict[str, float] = {}
        self._observer = observer

    @property
    def label(self) -> str:
        """Scheme, host and port."""
        return self.rpc.label

    @property
    def host(self) -> str:
        return self.rpc.host

    @property
    def batches(self) -> bool:
        """Whether several calls may go in one request, as far as is known."""
        return self._batch_size > 1

    async def check_chain(self, expected: int | None) -> int:
        """The endpoint's chain id, asked once. Raises `WrongChain` naming both when it is not the `expected` one."""
        if self.chain_checked and expected is not None:
            return expected
        answers: list[Any | ChainError] = []
        await self.answer([("eth_chainId", ())], answers)
        if isinstance(answers[0], ChainError):
            # Whatever its reason: an endpoint that does not tell its chain is of no use, but another one may be.
            raise RpcUnreachable(str(answers[0]))
        found = decode_quantity(answers[0], f"{self.label}: eth_chainId")
        if expected is not None and found != expected:
            self.wrong_chain = WrongChain(f"{self.label} answers for chain {found}; configured is chain {expected}")
            raise self.wrong_chain
        self.chain_checked = True
        return found

    async def answer(self, entries: Sequence[Entry], answers: list[Any | ChainError]) -> None:
        """Append every entry's result or error to `answers`, in order. Raises when an exchange failed as a whole; what came
        before it is in `answers` then."""
        while len(answers) < len(entries):
            missing = entries[len(answers) : len(answers) + self._batch_size]
            part = missing[: self._sizes.fitting(missing, self._batch_size)]
            try:
                answers += await self._exchange(part)
            except BatchRefused as refusal:
                if len(part) == 1:
                    raise
                self._batch_size = smaller_batch(len(part), str(refusal))

    def lacks(self, entries: Sequence[Entry]) -> bool:
        """Whether it said lately that it does not offer one of the methods."""
        now_s = monotonic_s()
        return any(self._lacks_until_s.get(method, now_s) > now_s for method, _ in entries)

    def deadline_s(self, entries: Sequence[Entry]) -> float:
        """How long one exchange for these may take."""
        return min(self._timeout_s, self._deadlines.of(entries))

    async def _exchange(self, part: Sequence[Entry]) -> list[Any | ChainError]:
        await self._pace.take(len(part))
        name = name_of(part)
        begun_s = time.perf_counter()
        trouble: str | None = None
        try:
            answers = await self._ask(part)
        except ChainError as error:
            trouble = type(error).__name__
            if isinstance(error, RpcTimeout):
                self.health.kept_waiting(name, time.perf_counter() - begun_s)
            raise
        except CancelledError:
            trouble = "cancelled"
            raise
        else:
            self.health.answered(name, time.perf_counter() - begun_s)
            if len(part) == 1 and isinstance(answers[0], ChainError):
                trouble = type(answers[0]).__name__
        finally:
            if self._observer is not None:
                method = part[0][0] if len(part) == 1 else "batch"
                self._observer(Exchange(self.label, method, len(part), time.perf_counter() - begun_s, trouble))
        return answers

    async def _ask(self, part: Sequence[Entry]) -> list[Any | ChainError]:
        """One HTTP exchange. What is wrong with the endpoint is raised, what is wrong with one call stands in its place."""
        timeout_s = self.deadline_s(part)
        answers = await self.rpc.batch(part, timeout_s) if len(part) > 1 else await self._ask_one(part[0], timeout_s)
        if answers.size_bytes:
            self._sizes.note(part, answers.size_bytes)
        for (method, _), answer in zip(part, answers, strict=True):
            if isinstance(answer, MethodUnavailable):
                self._lacks_until_s[method] = monotonic_s() + LACKING_FOR_S
        return answers

    async def _ask_one(self, entry: Entry, timeout_s: float) -> Answers:
        try:
            return Answers([await self.rpc.request(*entry, timeout_s)])
        except UNWELL:
            raise
        except ChainError as error:
            return Answers([error])
