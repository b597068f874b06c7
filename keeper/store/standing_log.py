"""Verdicts as changes: keeps what stands open per market, and turns each judged head into the rows to write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from keeper.core.standing import Standing
from keeper.core.units import Address, to_hex
from keeper.store.encoding import Row, optional_decimal, utc_text
from keeper.store.standing_changes import ClosedRow, Ended, OpenRow, standing_changes
from keeper.store.tables import standing as standing_table
from keeper.store.tables import watches
from keeper.store.writer import Step

GAP_S = 300
"""Longer without a judged head, and more than one block on, is a gap: what happened in between is not known."""
REFRESH_S = 30
"""How often the last health of standings that go on is written,"""
REFRESH_ROWS = 200
"""of so many at a time, in turn: each is one more page to write and to sync, and on a bad day there are thousands."""

_END_UNWATCHED = (
    update(standing_table)
    .where(
        standing_table.c.chain == bindparam("of_chain"),
        standing_table.c.market == bindparam("of_market"),
        standing_table.c.ended.is_(None),
    )
    .values(
        ended=Ended.GAP.value,
        ended_block=bindparam("at_block"),
        last_block=func.max(
            standing_table.c.first_block,
            select(watches.c.last_block).where(watches.c.id == standing_table.c.watch_id).scalar_subquery(),
        ),
    )
)
_OPEN_WATCH = insert(watches)
_WATCHED = (
    update(watches)
    .where(watches.c.id == bindparam("watch_id"))
    .values(
        last_block=bindparam("to_block"),
        last_at=bindparam("to_time"),
        heads=watches.c.heads + 1,
        below_one=bindparam("count_below_one"),
    )
)
_OPEN_ROW = insert(standing_table)
_GOES_ON = (
    update(standing_table)
    .where(standing_table.c.id == bindparam("row_id"))
    .values(
        detail=bindparam("now_detail"),
        attempt=bindparam("now_attempt"),
        last_block=bindparam("to_block"),
        last_health_wad=bindparam("to_health"),
    )
)
_CLOSE_ROW = _GOES_ON.values(ended=bindparam("why_ended"), ended_block=bindparam("at_block"))


@dataclass(slots=True)
class _Watch:
    """One market being judged by this process."""

    watch_id: int
    last_block: int
    last_at: datetime
    refreshed_at: datetime
    refreshed_row_id: int
    """The last row of the last turn; the next turn begins after it."""
    rows: Mapping[Address, OpenRow]


class StandingLog:
    def __init__(self, next_watch_id: int, next_row_id: int, now: Callable[[], datetime]) -> None:
        self._next_watch_id = next_watch_id
        self._next_row_id = next_row_id
        self._now = now
        self._watches: dict[tuple[str, Address], _Watch] = {}

    @classmethod
    def load(cls, connection: Connection, now: Callable[[], datetime]) -> StandingLog:
        """Ids go on where the store left off: the store has one writer."""
        last_watch = connection.execute(select(func.max(watches.c.id))).scalar_one()
        last_row = connection.execute(select(func.max(standing_table.c.id))).scalar_one()
        return cls((last_watch or 0) + 1, (last_row or 0) + 1, now)

    def judged(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> list[Step]:
        """The steps that record one judged head. They must be written in the order of the calls."""
        now = self._now()
        watch = self._watches.get((chain, market))
        steps: list[Step] = []
        gap = False
        if watch is None:
            steps.append((_END_UNWATCHED, [_market_key(chain, market, block_number)]))
        else:
            gap = block_number > watch.last_block + 1 and (now - watch.last_at).total_seconds() > GAP_S
        if watch is None or gap:
            rows = watch.rows if watch is not None else {}
            watch = self._watches[chain, market] = _Watch(self._next_watch_id, block_number, now, now, 0, rows)
            self._next_watch_id += 1
            steps.append((_OPEN_WATCH, [_watch_row(chain, market, watch, len(standing))]))
        else:
            steps.append((_WATCHED, [_watched_row(watch, block_number, now, len(standing))]))

        changes = standing_changes(watch.rows, standing, block_number, self._next_row_id, after_gap=gap)
        self._next_row_id += len(changes.opened)
        goes_on: list[OpenRow] = []
        if (now - watch.refreshed_at).total_seconds() >= REFRESH_S:
            going_on = [row for borrower, row in changes.rows.items() if borrower not in changes.opened]
            going_on.sort(key=lambda row: (row.row_id <= watch.refreshed_row_id, row.row_id))
            goes_on = going_on[:REFRESH_ROWS]
            watch.refreshed_row_id = goes_on[-1].row_id if goes_on else 0
            watch.refreshed_at = now
        watch.rows, watch.last_block, watch.last_at = changes.rows, block_number, now
        if changes.closed:
            steps.append((_CLOSE_ROW, [_closed_row(row) for row in changes.closed.values()]))
        if goes_on:
            steps.append((_GOES_ON, [_continued_row(row) for row in goes_on]))
        if changes.opened:
            opened = changes.opened.items()
            steps.append((_OPEN_ROW, [_opened_row(chain, market, watch, who, row) for who, row in opened]))
        return steps

    def refresh(self) -> list[Step]:
        """The last health of everything that stands open, for a clean end."""
        rows = [_continued_row(row) for watch in self._watches.values() for row in watch.rows.values()]
        return [(_GOES_ON, rows)] if rows else []


def _market_key(chain: str, market: Address, block_number: int) -> Row:
    return {"of_chain": chain, "of_market": to_hex(market), "at_block": block_number}


def _watch_row(chain: str, market: Address, watch: _Watch, below_one: int) -> Row:
    return {
        "id": watch.watch_id,
        "chain": chain,
        "market": to_hex(market),
        "first_block": watch.last_block,
        "last_block": watch.last_block,
        "first_at": utc_text(watch.last_at),
        "last_at": utc_text(watch.last_at),
        "heads": 1,
        "below_one": below_one,
    }


def _watched_row(watch: _Watch, block_number: int, now: datetime, below_one: int) -> Row:
    return {
        "watch_id": watch.watch_id,
        "to_block": block_number,
        "to_time": utc_text(now),
        "count_below_one": below_one,
    }


def _opened_row(chain: str, market: Address, watch: _Watch, borrower: Address, row: OpenRow) -> Row:
    standing = row.standing
    return {
        "id": row.row_id,
        "watch_id": watch.watch_id,
        "chain": chain,
        "market": to_hex(market),
        "borrower": to_hex(borrower),
        "reason": standing.reason,
        "verdict": standing.verdict.value if standing.verdict is not None else None,
        "detail": standing.detail,
        "attempt": standing.attempt,
        "first_block": row.first_block,
        "last_block": row.last_block,
        "first_health_wad": optional_decimal(row.first_health_wad),
        "last_health_wad": optional_decimal(standing.health_factor_wad),
        "ended": None,
        "ended_block": None,
    }


def _continued_row(row: OpenRow) -> Row:
    return {
        "row_id": row.row_id,
        "now_detail": row.standing.detail,
        "now_attempt": row.standing.attempt,
        "to_block": row.last_block,
        "to_health": optional_decimal(row.standing.health_factor_wad),
    }


def _closed_row(closed: ClosedRow) -> Row:
    return {**_continued_row(closed.row), "why_ended": closed.ended.value, "at_block": closed.ended_block}
