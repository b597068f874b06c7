"""One read, asked of one endpoint after another until it is answered or nothing is left to try."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from keeper.chain.line import FIRST_BACKOFF_S, UNWELL, Line, monotonic_s
from keeper.chain.rpc import Entry
from keeper.core.errors import BlockUnavailable, ChainError, MethodUnavailable, RateLimited, RpcTimeout, WrongChain

_LACKING = (BlockUnavailable, MethodUnavailable)
"""Nothing is wrong with the endpoint, yet another one may have what this one lacks; or this one, a moment later."""
_OPEN = UNWELL + _LACKING


class Lines(Protocol):
    """What a read needs from `Endpoints`."""

    def usable(self) -> list[Line]: ...

    async def know_chain(self, line: Line) -> None: ...


class Read:
    """The state of one read across its attempts. Answers all come from one line: another line begins anew."""

    def __init__(self, lines: Lines, entries: Sequence[Entry], attempts: int) -> None:
        self._lines = lines
        self._entries = entries
        self._attempts_left = attempts
        self._line: Line | None = None
        self._final: dict[int, Any | ChainError] = {}
        """Answers of the present line that another attempt would not change, by entry."""
        self._open: dict[int, ChainError] = {}
        """Members that failed on the present line, but need not fail again."""
        self._failed = 0
        self._lacking: dict[Line, int] = {}
        """How often a line that is well had not what we ask for."""
        self._trouble: ChainError | None = None

    async def run(self, deadline_s: float) -> list[Any | ChainError]:
        """Results in order, errors of members in their place. Raises when no exchange as a whole succeeded."""
        try:
            async with asyncio.timeout(deadline_s):
                while self._attempts_left > 0 and not await self._attempt(deadline_s):
                    pass
        except TimeoutError:
            self._trouble = self._trouble or RpcTimeout(f"{self._entries[0][0]}: no answer within {deadline_s:g} s")
        answers = self._open | self._final
        if len(answers) < len(self._entries):
            raise self._trouble or RpcTimeout(f"{self._entries[0][0]}: no endpoint answered")
        return [answers[index] for index in range(len(self._entries))]

    async def _attempt(self, deadline_s: float) -> bool:
        """Ask once. True when nothing more is to be gained."""
        line = self._choose()
        pause_s = self._pause_s(line)
        if pause_s > deadline_s:
            self._trouble = self._trouble or RateLimited(f"{line.rpc.label}: wants {pause_s:.0f} s of rest", pause_s)
            return True
        await asyncio.sleep(pause_s)
        if line is not self._line:
            self._line, self._final, self._open = line, {}, {}
        self._attempts_left -= 1
        begun_s = monotonic_s()
        try:
            await self._lines.know_chain(line)
            await self._ask(line)
        except WrongChain as error:
            self._trouble = error
            return False
        except _OPEN as error:
            self._trouble = error
            return self._give_up(line, error, begun_s)
        return True

    async def _ask(self, line: Line) -> None:
        """Ask for what is not final yet. Raises the first error that is worth another attempt."""
        missing = [index for index in range(len(self._entries)) if index not in self._final]
        answers: list[Any | ChainError] = []
        try:
            await line.answer([self._entries[index] for index in missing], answers)
        finally:
            self._file(line, missing, answers)
        for error in self._open.values():
            raise error

    def _file(self, line: Line, missing: Sequence[int], answers: Sequence[Any | ChainError]) -> None:
        final_before = len(self._final)
        self._open = {}
        for index, answer in zip(missing, answers, strict=False):
            if isinstance(answer, _OPEN):
                self._open[index] = answer
            else:
                self._final[index] = answer
        if len(self._final) > final_before:
            # Progress costs no attempt, or a long batch under a rate limit would never end; the deadline still binds.
            self._attempts_left += 1
            line.recovered()

    def _give_up(self, line: Line, error: ChainError, begun_s: float) -> bool:
        """Note what went wrong with the line. True when another attempt would be of no use."""
        self._failed += 1
        if isinstance(error, _LACKING):
            self._lacking[line] = self._lacking.get(line, 0) + 1
            everywhere = all(other in self._lacking for other in self._lines.usable())
            return isinstance(error, MethodUnavailable) and everywhere
        line.fell_ill(error, begun_s)
        # A range of logs that takes too long is for the caller to narrow.
        return isinstance(error, RpcTimeout) and any(map(_spans_blocks, self._entries))

    def _choose(self) -> Line:
        """The first line that is well and has not failed to have it; else the one that has rested longest."""
        now_s = monotonic_s()
        return min(
            self._lines.usable(),
            key=lambda line: (line.rest_s(now_s) > 0, self._lacking.get(line, 0), line.rest_s(now_s)),
        )

    def _pause_s(self, line: Line) -> float:
        """A rate limit is waited out; any other trouble only as long as our own back-off asks."""
        rest_s = line.rest_s(monotonic_s())
        if line.limited:
            return rest_s
        backoff_s = FIRST_BACKOFF_S * 2.0 ** max(0, self._failed - 1)
        return backoff_s if line in self._lacking else min(rest_s, backoff_s)


def _spans_blocks(entry: Entry) -> bool:
    method, params = entry
    return method == "eth_getLogs" and params[0].get("fromBlock") != params[0].get("toBlock")
