"""One read, asked of one endpoint after another until it is answered or nothing is left to try."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from keeper.chain.deadlines import asks_for_head, may_be_hedged, name_of, spans_blocks
from keeper.chain.health import FIRST_BACKOFF_S
from keeper.chain.hedging import SOONEST_S, Asking, first_good
from keeper.chain.line import UNWELL, Line, monotonic_s
from keeper.chain.rpc import Entry
from keeper.chain.translate import reverted
from keeper.core.errors import BlockUnavailable, ChainError, MethodUnavailable, RateLimited, RpcTimeout, WrongChain

_LACKING = (BlockUnavailable, MethodUnavailable)
"""Nothing is wrong with the endpoint, yet another one may have what this one lacks; or this one, a moment later."""
OPEN = UNWELL + _LACKING
"""Troubles that say nothing about the question: asked again, it may well be answered."""


class Lines(Protocol):
    """What a read needs from `Endpoints`."""

    def usable(self) -> list[Line]: ...

    def rank(self, line: Line, entries: Sequence[Entry]) -> tuple[int, ...]:
        """Lines of lower rank are asked first."""
        ...

    async def know_chain(self, line: Line) -> None: ...

    def may_hedge(self) -> bool: ...

    def hedge_after_s(self, line: Line, entries: Sequence[Entry]) -> float | None: ...

    def note_head(self, line: Line, method: str, answer: object) -> None: ...


class Sheet:
    """One line's answers to one read: never mixed with another line's. What is final is not asked of it again."""

    def __init__(self, line: Line, entries: Sequence[Entry]) -> None:
        self.line = line
        self.progressed = False
        """The latest attempt brought something final."""
        self._entries = entries
        self._final: dict[int, Any | ChainError] = {}
        self._open: dict[int, ChainError] = {}
        """Members that failed, but need not fail again."""

    @property
    def answers(self) -> list[Any | ChainError] | None:
        """Results in order, errors of members in their place; None while some were not answered at all."""
        known = self._open | self._final
        return [known[index] for index in range(len(self._entries))] if len(known) == len(self._entries) else None

    async def ask(self, lines: Lines) -> ChainError | None:
        """Ask for what is not final yet. Returns the first trouble that is worth another attempt, or `WrongChain`; other
        troubles of the exchange as a whole are raised."""
        missing = [index for index in range(len(self._entries)) if index not in self._final]
        answers: list[Any | ChainError] = []
        try:
            await lines.know_chain(self.line)
            await self.line.answer([self._entries[index] for index in missing], answers)
        except (*OPEN, WrongChain) as error:
            return error
        finally:
            self._file(lines, missing, answers)
        return next(iter(self._open.values()), None)

    def _file(self, lines: Lines, missing: Sequence[int], answers: Sequence[Any | ChainError]) -> None:
        final_before = len(self._final)
        self._open = {}
        for index, answer in zip(missing, answers, strict=False):
            if isinstance(answer, OPEN):
                self._open[index] = answer
                continue
            self._final[index] = answer
            method, params = self._entries[index]
            if asks_for_head(method, params):
                lines.note_head(self.line, method, answer)
        self.progressed = len(self._final) > final_before
        if self.progressed:
            self.line.health.recovered()


class _Asked:
    """What came of asking one line once."""

    def __init__(self, sheet: Sheet, begun_s: float) -> None:
        self.sheet = sheet
        self.begun_s = begun_s
        self.error: ChainError | None = None
        self.final: ChainError | None = None
        """A trouble of the whole exchange that no other attempt would change."""

    @property
    def good(self) -> bool:
        """Nothing is wrong, nor might it be the endpoint that is: a revert is an answer, any other error need not be."""
        if self.error is not None or self.final is not None:
            return False
        answers = self.sheet.answers or []
        return all(not isinstance(answer, ChainError) or reverted(answer) is not None for answer in answers)


class Read:
    """The state of one read across its attempts."""

    def __init__(self, lines: Lines, entries: Sequence[Entry], attempts: int) -> None:
        self._lines = lines
        self._entries = entries
        self._attempts_left = attempts
        self._sheet: Sheet | None = None
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
        answers = self._sheet.answers if self._sheet is not None else None
        if answers is None:
            raise self._trouble or RpcTimeout(f"{self._entries[0][0]}: no endpoint answered")
        return answers

    async def _attempt(self, deadline_s: float) -> bool:
        """Ask once. True when nothing more is to be gained."""
        line = self._choose()
        pause_s = self._pause_s(line)
        if pause_s > deadline_s:
            self._trouble = self._trouble or RateLimited(f"{line.label}: wants {pause_s:.0f} s of rest", pause_s)
            return True
        await asyncio.sleep(pause_s)
        self._attempts_left -= 1
        asked = await self._ask(self._sheet_of(line))
        self._sheet = asked.sheet
        if asked.final is not None:
            raise asked.final
        if asked.error is None:
            return True
        if asked.sheet.progressed:
            # Progress costs no attempt, or a long batch under a rate limit would never end; the deadline still binds.
            self._attempts_left += 1
        self._trouble = asked.error
        return self._ends_with(asked.error)

    # -- asking --------------------------------------------------------------------------------------------------
    async def _ask(self, sheet: Sheet) -> _Asked:
        """Of one line; and of a second one when the first takes longer than it commonly does."""
        may = all(map(may_be_hedged, self._entries))
        after_s = self._lines.hedge_after_s(sheet.line, self._entries) if may else None
        if after_s is None:
            return await self._ask_one(sheet)
        begun_s = monotonic_s()
        asked = await first_good(
            partial(self._ask_one, sheet),
            max(after_s, SOONEST_S),
            partial(self._second, sheet.line),
            lambda asked: asked.good,
        )
        if asked.sheet is not sheet:
            # Else nobody would ever learn that this line has become slow.
            sheet.line.health.kept_waiting(name_of(self._entries), monotonic_s() - begun_s)
        return asked

    def _second(self, first: Line) -> Asking[_Asked] | None:
        """Another line that is well, if there is one and it may be asked."""
        others = [
            line
            for line in self._lines.usable()
            if line is not first
            and line not in self._lacking
            and not line.lacks(self._entries)
            and line.health.rest_s() == 0
        ]
        if not others or not self._lines.may_hedge():
            return None
        best = min(others, key=lambda line: self._lines.rank(line, self._entries))
        return partial(self._ask_one, Sheet(best, self._entries))

    async def _ask_one(self, sheet: Sheet) -> _Asked:
        asked = _Asked(sheet, monotonic_s())
        try:
            asked.error = await sheet.ask(self._lines)
        except ChainError as error:
            asked.final = error
        if asked.error is not None:
            self._note(sheet.line, asked.error, asked.begun_s)
        return asked

    def _sheet_of(self, line: Line) -> Sheet:
        return self._sheet if self._sheet is not None and self._sheet.line is line else Sheet(line, self._entries)

    # -- what follows from trouble ---------------------------------------------------------------------------------
    def _note(self, line: Line, error: ChainError, begun_s: float) -> None:
        if isinstance(error, _LACKING):
            self._lacking[line] = self._lacking.get(line, 0) + 1
        elif not isinstance(error, WrongChain):
            line.health.failed(error, begun_s)

    def _ends_with(self, error: ChainError) -> bool:
        """Whether another attempt would be of no use."""
        if isinstance(error, WrongChain):
            return False
        self._failed += 1
        if isinstance(error, MethodUnavailable):
            return all(line in self._lacking for line in self._lines.usable())
        # A range of logs that takes too long is for the caller to narrow.
        return isinstance(error, RpcTimeout) and any(map(spans_blocks, self._entries))

    def _choose(self) -> Line:
        """The best line that is well and has not failed to have it; else the one that has rested longest."""

        def order(line: Line) -> tuple[bool, int, tuple[int, ...], float]:
            rest_s = line.health.rest_s()
            rank = self._lines.rank(line, self._entries) if rest_s == 0 else ()
            return rest_s > 0, self._lacking.get(line, 0), rank, rest_s

        return min(self._lines.usable(), key=order)

    def _pause_s(self, line: Line) -> float:
        """A rate limit is waited out; any other trouble only as long as our own back-off asks."""
        rest_s = line.health.rest_s()
        if line.health.limited:
            return rest_s
        backoff_s = FIRST_BACKOFF_S * 2.0 ** max(0, self._failed - 1)
        return backoff_s if line in self._lacking else min(rest_s, backoff_s)
