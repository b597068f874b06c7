"""Pieces of a range: in order, without gap or overlap, several on their way, the refused ones cut smaller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.chain.adaptive import AdaptiveSize
from keeper.chain.flight import in_pieces
from keeper.core.errors import MalformedResponse, RangeRefused, RpcTimeout


class Node:
    """Refuses what its limit at that place forbids; answers out of order."""

    def __init__(self, seed: int = 0, limits: dict[int, int] | None = None) -> None:
        self._rng = random.Random(seed)
        self._limits = limits or {}
        self.on_their_way = self.most_on_their_way = 0
        self.asked: list[tuple[int, int]] = []
        self.cancelled = 0

    def limit(self, first: int, last: int) -> int:
        return min((limit for place, limit in self._limits.items() if first <= place <= last), default=10**9)

    async def ask(self, first: int, last: int) -> list[int]:
        self.asked.append((first, last))
        self.on_their_way += 1
        self.most_on_their_way = max(self.most_on_their_way, self.on_their_way)
        try:
            for _ in range(self._rng.randrange(6)):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.on_their_way -= 1
        if last - first + 1 > self.limit(first, last):
            raise self._rng.choice((RangeRefused("too wide"), RpcTimeout("too slow")))
        return list(range(first, last + 1))


def pieces_of(
    node: Node, first: int, last: int, span: AdaptiveSize, most: int = 4
) -> AsyncGenerator[tuple[int, int, list[int]], None]:
    return in_pieces(first, last, node.ask, span, len, most)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    first=st.integers(0, 50),
    length=st.integers(0, 400),
    span=st.integers(1, 300),
    most=st.integers(1, 6),
    limits=st.dictionaries(st.integers(0, 450), st.integers(1, 40), max_size=6),
)
def test_every_number_comes_once_and_in_order(
    seed: int, first: int, length: int, span: int, most: int, limits: dict[int, int]
) -> None:
    node = Node(seed, limits)

    async def collect() -> list[int]:
        found: list[int] = []
        async for start, end, answer in pieces_of(node, first, first + length - 1, AdaptiveSize(span), most):
            assert answer == list(range(start, end + 1))
            found += answer
        return found

    assert asyncio.run(collect()) == list(range(first, first + length))
    assert node.most_on_their_way <= most
    assert node.on_their_way == 0


async def test_several_are_on_their_way_once_the_first_was_answered() -> None:
    node = Node()
    pieces = [piece async for piece in pieces_of(node, 0, 999, AdaptiveSize(10))]
    assert len(pieces) == 100
    assert node.most_on_their_way == 4
    assert len(node.asked) == 100


async def test_a_refused_piece_is_cut_alone_and_those_behind_it_are_kept() -> None:
    """One dense place costs a few more requests there, none elsewhere."""
    node = Node(limits={505: 3})
    pieces = [piece async for piece in pieces_of(node, 0, 999, AdaptiveSize(10))]
    assert [number for _, _, answer in pieces for number in answer] == list(range(1000))
    answered = {(first, last) for first, last, _ in pieces}
    again = [span for span in node.asked if span not in answered]
    assert all(first <= 505 <= last for first, last in again)
    assert len(again) <= 3


async def test_an_answer_that_is_too_long_narrows_the_next() -> None:
    node = Node()
    span = AdaptiveSize(100, target_bytes=25)
    pieces = [piece async for piece in pieces_of(node, 0, 999, span)]
    assert len(pieces[0][2]) == 100
    assert all(len(answer) <= 25 for _, _, answer in pieces[1:])


async def test_a_single_number_that_is_refused_raises_and_cancels_the_rest() -> None:
    node = Node(limits={40: 0})
    with pytest.raises((RangeRefused, RpcTimeout)):
        async for _ in pieces_of(node, 0, 999, AdaptiveSize(8)):
            pass
    assert node.on_their_way == 0


async def test_another_error_raises_and_cancels_the_rest() -> None:
    node = Node()

    async def broken(first: int, last: int) -> list[int]:
        if first >= 40:
            raise MalformedResponse("nonsense")
        return await node.ask(first, last)

    found: list[int] = []
    pieces = in_pieces(0, 999, broken, AdaptiveSize(8), len)
    for _ in range(5):
        found += (await anext(pieces))[2]
    with pytest.raises(MalformedResponse):
        await anext(pieces)
    assert found == list(range(40))
    assert node.on_their_way == 0


async def test_whoever_stops_listening_leaves_nothing_on_its_way() -> None:
    node = Node(seed=3)
    async with aclosing(pieces_of(node, 0, 999, AdaptiveSize(10))) as pieces:
        async for first, _, _ in pieces:
            if first >= 100:
                break
    assert node.on_their_way == 0
