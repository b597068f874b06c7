"""Which standings changed between two judged heads. Pure: the store writes what this says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from keeper.core.standing import Standing, stands_alike
from keeper.core.units import Address


class Ended(StrEnum):
    """Why a standing ended. Stable names: the store keeps them as text."""

    CHANGED = "changed"
    """Another reason or verdict took its place."""
    NOT_BELOW_ONE = "not_below_one"
    """The borrower is at 1 or above, or has no debt left."""
    GAP = "gap"
    """Nobody judged for a while: what it was in between is not known."""


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A standing that has not ended: one row of the store."""

    row_id: int
    standing: Standing
    """As at `last_block`."""
    first_block: int
    first_health_wad: int | None
    last_block: int
    """The last judged head at which it stood so."""


@dataclass(frozen=True, slots=True)
class ClosedRow:
    row: OpenRow
    ended: Ended
    ended_block: int
    """The head at which the end was noticed."""


@dataclass(frozen=True, slots=True)
class Changes:
    """`rows` is what stands open now: the opened ones and those that go on."""

    rows: Mapping[Address, OpenRow]
    opened: Mapping[Address, OpenRow]
    closed: Mapping[Address, ClosedRow]


def standing_changes(
    rows: Mapping[Address, OpenRow],
    standing: Mapping[Address, Standing],
    block_number: int,
    next_row_id: int,
    *,
    after_gap: bool = False,
) -> Changes:
    """`rows` stood open at the head before; `standing` is what holds at `block_number`.

    A reorg may bring a lower `block_number` than the head before. After a gap nothing goes on: every open row is
    closed, and what holds now opens anew.
    """
    open_now: dict[Address, OpenRow] = {}
    opened: dict[Address, OpenRow] = {}
    closed: dict[Address, ClosedRow] = {}
    for borrower, now in standing.items():
        before = rows.get(borrower)
        if before is not None and not after_gap and stands_alike(before.standing, now):
            open_now[borrower] = replace(before, standing=now, last_block=max(block_number, before.first_block))
            continue
        row = OpenRow(next_row_id + len(opened), now, block_number, now.health_factor_wad, block_number)
        open_now[borrower] = opened[borrower] = row
    for borrower, before in rows.items():
        if after_gap:
            closed[borrower] = ClosedRow(before, Ended.GAP, block_number)
        elif borrower not in standing:
            closed[borrower] = ClosedRow(before, Ended.NOT_BELOW_ONE, block_number)
        elif borrower in opened:
            closed[borrower] = ClosedRow(before, Ended.CHANGED, block_number)
    return Changes(open_now, opened, closed)
