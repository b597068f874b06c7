"""Start-up verification: our arithmetic must give the chain's own numbers for a sample of borrowers, to the wei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from keeper.book.book import Book
from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.differences import Difference, in_words, row_differences, same_health
from keeper.core.lending import Health, LendingAdapter, Position
from keeper.core.outcome import Skip
from keeper.core.units import Address, to_hex
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

SAMPLE = 50


@dataclass(frozen=True, slots=True)
class Verification:
    """How a market was verified."""

    block: BlockRef
    rules: str
    checked_borrowers: int
    """0 when nobody borrows yet: verification then comes with the first borrower."""


@dataclass(frozen=True, slots=True)
class RowsDiffer:
    """The book does not hold what the chain stores."""

    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return f"the book differs from the chain: {in_words(self.differences)}"


async def verify_rules(
    chain: Chain,
    adapter: LendingAdapter[Market, State],
    market: Market,
    state_results: Sequence[CallResult],
    book: Book,
    head: BlockRef,
) -> tuple[Market, Verification] | RowsDiffer | str:
    """The candidate rules that recompute the sample exactly; or, in words, why none does."""
    sample = pick_sample(book, head)
    answers = await chain_answers(chain, adapter, market, sample, head)
    first_difference = ""
    for candidate in adapter.candidates(market):
        state = adapter.decode_state(candidate, head, state_results)
        difference = None
        checked = 0
        for position in sample:
            row, truth = answers[position.borrower]
            if row != position:
                return RowsDiffer(tuple(row_differences(position, row)))
            ours = adapter.health(state, position, head.timestamp_s)
            if not same_health(None if isinstance(ours, Skip) else ours, truth):
                difference = f"health of {to_hex(position.borrower)}: chain {truth}, ours {ours}"
                break
            checked += truth is not None
        if difference is None:
            return candidate, Verification(head, adapter.rules_name(candidate), checked)
        first_difference = first_difference or difference
    return f"no known rules recompute its borrowers at block {head.number}; {first_difference}"


def pick_sample(book: Book, head: BlockRef) -> list[Position]:
    """Up to `SAMPLE` borrowers, the same for the same block."""
    return sorted(book.sample(SAMPLE, int.from_bytes(head.hash)), key=lambda position: position.borrower)


async def chain_answers(
    chain: Chain, adapter: LendingAdapter[Market, State], market: Market, sample: Sequence[Position], head: BlockRef
) -> dict[Address, tuple[Position, Health | None]]:
    """Row and health of each account as the chain has them; health is None where the chain itself cannot value it."""
    calls: list[Call] = []
    for position in sample:
        calls.extend(adapter.encode_position(market, position.borrower))
        calls.append(adapter.encode_health(market, position.borrower))
    results = await chain.read(calls, head)
    answers: dict[Address, tuple[Position, Health | None]] = {}
    cursor = 0
    for position in sample:
        width = len(adapter.encode_position(market, position.borrower))
        row = adapter.decode_position(market, position.borrower, results[cursor : cursor + width])
        health_result = results[cursor + width]
        answers[position.borrower] = (row, adapter.decode_health(market, health_result) if health_result.ok else None)
        cursor += width + 1
    return answers
