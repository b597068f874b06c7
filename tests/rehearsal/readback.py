"""Every attempt's end as the chain has it, read while the node still keeps the state of its block."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from keeper.core.events import Kind
from keeper.core.units import address_from_hex
from keeper.store import StoreReader
from keeper.store.reader import EventFilter, JournalRow
from tests.rehearsal.observer import Observer

_ENDS = (Kind.RESTORED.value, Kind.NOT_RESTORED.value)


@dataclass(frozen=True)
class ReadBack:
    """One attempt that got into a block, told by the chain."""

    attempt: str
    head_block: int
    """Decided on."""
    block: int
    """Of its last call."""
    verdict: str
    target_wad: int
    health_wad: int
    """As the pool answers in `block`."""
    told_wad: int | None
    """As the journal says."""
    model_error_wad: int | None
    amounts_match: bool | None
    excuses: tuple[str, ...]
    """What happened to the borrower between decision and inclusion that no plan can know. A revert is none by itself."""
    reverted: bool


@dataclass
class Reader:
    """Follows the journal from another process and asks the chain about every end."""

    store: Path
    observer: Observer
    found: list[ReadBack] = field(default_factory=list)
    _after_seq: int = 0
    _rows: dict[str, list[JournalRow]] = field(default_factory=lambda: defaultdict(list))

    async def follow(self, every_s: float) -> None:
        """For ever."""
        while True:
            await self.catch_up()
            await asyncio.sleep(every_s)

    async def catch_up(self) -> None:
        for row in await asyncio.to_thread(self._new_rows):
            self._after_seq = row.seq
            if row.attempt is None:
                continue
            self._rows[row.attempt].append(row)
            if row.kind in _ENDS and row.fields["health_after_wad"] is not None:
                self.found.append(await self._read_back(self._rows.pop(row.attempt)))

    def _new_rows(self) -> list[JournalRow]:
        if not self.store.is_file():
            return []
        with StoreReader.open(self.store) as reader:
            return list(reader.events(EventFilter(after_seq=self._after_seq)))

    async def _read_back(self, rows: list[JournalRow]) -> ReadBack:
        decided = next(row for row in rows if row.kind == Kind.DECIDED.value)
        end = rows[-1]
        mined = [row for row in rows if row.kind in (Kind.MINED.value, Kind.REVERTED.value)]
        borrower = address_from_hex(str(end.borrower))
        head, block = decided.block_number, max(row.block_number or 0 for row in mined)
        assert head is not None, "an attempt is decided on a head"
        healths = await self.observer.healths([borrower], block)
        before = await self.observer.prices(borrower, head, head)
        after = await self.observer.prices(borrower, block, head)
        excuses = []
        if before != after:
            excuses.append("prices moved")
        if end.fields["disturbed"]:
            excuses.append("disturbed")
        if max(row.fields["block_timestamp_s"] for row in mined) > decided.fields["window_latest_s"]:
            excuses.append("late")
        if len(mined) < len(decided.fields["calls"]):
            excuses.append("cut short")
        told, error = end.fields["health_after_wad"], end.fields["model_error_wad"]
        return ReadBack(
            attempt=str(end.attempt),
            head_block=head,
            block=block,
            verdict=str(decided.fields["verdict"]),
            target_wad=int(decided.fields["target_wad"]),
            health_wad=healths[borrower],
            told_wad=None if told is None else int(told),
            model_error_wad=None if error is None else int(error),
            amounts_match=end.fields["amounts_match"],
            excuses=tuple(excuses),
            reverted=any(row.kind == Kind.REVERTED.value for row in mined),
        )
