"""kill -9 at every request and after every store write of a cycle, from the start of the process until all is settled: nothing
is done twice, no nonce is left out, the books are equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.killing import Side, lineage

SIDES: tuple[Side, ...] = ("before", "after")
MOST_REQUESTS, MOST_WRITES = 120, 40
"""More than a cycle has."""
IN_A_ROW = 8
"""So many kills of one store and one market, one after the other: what one leaves, the next one meets."""
SEND = "eth_sendRawTransaction"


def in_rows(most: int) -> list[list[int]]:
    """Far apart within a row: each kind of moment follows each other kind."""
    rows = -(-most // IN_A_ROW)
    return [list(range(start, most + 1, rows)) for start in range(1, rows + 1)]


async def test_killed_at_the_worst_moments(tmp_path: Path) -> None:
    async with lineage(tmp_path) as line:
        assert await line.killed_at_request(1, "before", SEND)
        assert await line.killed_at_request(1, "after", SEND)
        assert await line.killed_after_write(5)
        assert await line.killed_at_request(25, "after")
        await line.finish()
        await line.verdict()


@pytest.mark.long
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("numbers", in_rows(MOST_REQUESTS), ids=str)
async def test_killed_at_every_request(tmp_path: Path, numbers: list[int], side: Side) -> None:
    async with lineage(tmp_path) as line:
        for number in numbers:
            assert await line.killed_at_request(number, side)
        await line.finish()
        await line.verdict()


@pytest.mark.long
@pytest.mark.parametrize("numbers", in_rows(MOST_WRITES), ids=str)
async def test_killed_after_every_store_write(tmp_path: Path, numbers: list[int]) -> None:
    async with lineage(tmp_path) as line:
        hit = [number for number in numbers if await line.killed_after_write(number)]
        await line.finish()
        await line.verdict()
    assert numbers[0] in hit, "others may lie beyond what a run writes"
