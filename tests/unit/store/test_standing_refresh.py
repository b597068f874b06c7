"""Standings that go on: their last health is written now and then, of a bounded number at a time, in turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keeper.core.standing import Standing
from keeper.core.units import Address
from keeper.store.standing_log import _GOES_ON, REFRESH_ROWS, REFRESH_S, StandingLog
from tests.unit.store.facts import CHAIN, MARKET, standing

MANY = 2 * REFRESH_ROWS + 50
BORROWERS = [Address(number.to_bytes(20, "big")) for number in range(1, MANY + 1)]


def test_everybody_has_a_turn_and_nobody_costs_more_than_a_turn() -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    kept = StandingLog(1, 1, lambda: clock[0])
    refreshed: list[list[int]] = []
    for block_number in range(100, 104):
        everybody: dict[Address, Standing] = dict.fromkeys(BORROWERS, standing(detail=f"at {block_number}"))
        steps = kept.judged(CHAIN, MARKET, block_number, everybody)
        refreshed.append([row["row_id"] for statement, rows in steps if statement is _GOES_ON for row in rows])
        clock[0] += timedelta(seconds=REFRESH_S)
    assert [len(rows) for rows in refreshed] == [0, REFRESH_ROWS, REFRESH_ROWS, REFRESH_ROWS]
    assert {row_id for rows in refreshed for row_id in rows} == set(range(1, MANY + 1))
