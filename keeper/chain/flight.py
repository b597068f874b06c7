"""A long range asked in pieces, several on their way at once, the answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keeper.chain.adaptive import AdaptiveSize
from keeper.core.errors import RangeRefused, RpcTimeout

Answer = TypeVar("Answer")

MOST_IN_FLIGHT = 4


@dataclass(slots=True)
class _Piece(Generic[Answer]):
    first: int
    last: int
    task: asyncio.Task[Answer] | None = None
    """None until it is asked."""

    @property
    def size(self) -> int:
        return self.last - self.first + 1


async def in_pieces(
    first: int,
    last: int,
    ask: Callable[[int, int], Coroutine[Any, Any, Answer]],
    span: AdaptiveSize,
    answer_bytes: Callable[[Answer], int],
    most_in_flight: int = MOST_IN_FLIGHT,
) -> AsyncGenerator[tuple[int, int, Answer], None]:
    """(first, last, answer) of each piece, ascending, without gap or overlap. What is refused as too much is cut smaller,
    alone: the pieces behind it stay on their way. One is in flight to begin with, then more with each answer, and fewer with
    each refusal. Raises what `ask` raises, when even one number is refused too; whatever is on its way then is cancelled."""
    pieces: deque[_Piece[Answer]] = deque([_Piece(first, last)] if first <= last else [])
    allowed = 1
    try:
        while pieces:
            _send(pieces, ask, span, allowed)
            piece = pieces[0]
            assert piece.task is not None, "the first piece is always asked"
            try:
                answer = await piece.task
            except (RangeRefused, RpcTimeout):
                if piece.size == 1:
                    raise
                span.refused(piece.size)
                piece.task, allowed = None, max(1, allowed // 2)
                continue
            span.accepted(piece.size, answer_bytes(answer))
            allowed = min(most_in_flight, allowed + 1)
            pieces.popleft()
            yield piece.first, piece.last, answer
    finally:
        tasks = [piece.task for piece in pieces if piece.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _send(
    pieces: deque[_Piece[Answer]],
    ask: Callable[[int, int], Coroutine[Any, Any, Answer]],
    span: AdaptiveSize,
    allowed: int,
) -> None:
    """Ask for the first pieces until `allowed` are on their way, cutting off as much as is thought to fit."""
    in_flight = sum(piece.task is not None for piece in pieces)
    index = 0
    while index < len(pieces) and (index == 0 or in_flight < allowed):
        piece = pieces[index]
        if piece.task is None:
            if piece.size > span.size:
                pieces.insert(index + 1, _Piece(piece.first + span.size, piece.last))
                piece.last = piece.first + span.size - 1
            # Owned here, awaited or cancelled here: a task group cannot span the yields of a generator.
            piece.task = asyncio.create_task(ask(piece.first, piece.last))  # noqa: TID251
            in_flight += 1
        index += 1
