"""Whether every borrower whom the chain showed below 1 was answered: by an order or by a reason, in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from keeper.core.events import Kind
from keeper.core.units import Address, to_hex
from keeper.store.reader import JournalRow, StandingRow
from tests.rehearsal.observer import Sample

_ANSWERS = (Kind.SENT.value, Kind.REFUSED.value)
Span = tuple[float, float]
"""Unix times from, to."""


@dataclass(frozen=True)
class Episode:
    """An unbroken row of samples in which a borrower is below 1."""

    borrower: Address
    healthy_block: int
    """The sample before it; -1 when there is none."""
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """How the journal answered to all episodes."""

    episodes: int
    borrowers: int
    latencies_s: tuple[float, ...]
    """From the block's arrival (or the keeper's, if later) to the recorded order or reason."""
    brief: int
    """Over before they had to be answered, and not answered."""
    problems: tuple[str, ...]


def episodes_of(samples: Sequence[Sample]) -> list[Episode]:
    """By borrower, in the order in which they began."""
    running: dict[Address, list[int]] = {}
    began_after: dict[Address, int] = {}
    found: list[Episode] = []
    previous = -1
    for sample in samples:
        over = [who for who in running if who not in sample.sick]
        found += [Episode(who, began_after[who], tuple(running.pop(who))) for who in over]
        for who in sample.sick:
            if who not in running:
                running[who], began_after[who] = [], previous
            running[who].append(sample.block)
        previous = sample.block
    return found + [Episode(who, began_after[who], tuple(blocks)) for who, blocks in running.items()]


@dataclass(frozen=True)
class Jury:
    """What the episodes are held against."""

    events: Sequence[JournalRow]
    standing: Sequence[StandingRow]
    arrived_s: Callable[[int], float]
    up: Sequence[Span]
    """When the keeper was up: from the first judged head to the signal that stopped it."""
    within_s: float
    within_blocks: int

    def judge(self, episodes: Sequence[Episode]) -> Answers:
        at_by_borrower: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for row in self.events:
            if row.kind in _ANSWERS and row.borrower is not None and row.block_number is not None:
                at_s = datetime.fromisoformat(row.at).timestamp()
                at_by_borrower[row.borrower].append((row.block_number, at_s))
        stood: dict[str, list[StandingRow]] = defaultdict(list)
        for stands in self.standing:
            stood[stands.borrower].append(stands)
        latencies: list[float] = []
        problems: list[str] = []
        brief = 0
        for episode in episodes:
            name = to_hex(episode.borrower)
            # An order or a reason of an earlier head that still stands answers it too.
            rows = stood[name]
            problems += [f"{name} below 1 in block {block} stands nowhere" for block in self._unwatched(episode, rows)]
            began_s = self.arrived_s(episode.blocks[0])
            if any(row.first_block <= episode.healthy_block and row.last_block >= episode.blocks[0] for row in rows):
                continue
            answered = [at_s for block, at_s in at_by_borrower[name] if block > episode.healthy_block]
            found = self._first_answer(began_s, min(answered, default=None))
            if found is None:
                continue
            known_s, answered_s = found
            if answered_s is not None:
                latencies.append(max(0.0, answered_s - known_s))
                if answered_s - known_s > self.within_s:
                    waited_s = answered_s - known_s
                    problems.append(f"{name} below 1 in block {episode.blocks[0]} answered after {waited_s:.0f} s")
            elif self.arrived_s(episode.blocks[-1]) - known_s > self.within_s:
                problems.append(f"{name} below 1 from block {episode.blocks[0]} never answered")
            else:
                brief += 1
        who = {episode.borrower for episode in episodes}
        return Answers(len(episodes), len(who), tuple(sorted(latencies)), brief, tuple(problems))

    def _first_answer(self, began_s: float, answered_s: float | None) -> tuple[float, float | None] | None:
        """Since when the keeper could know, and when it answered, if it did in the life in which it had to. None when no
        life lasted long enough to be asked."""
        for start_s, stop_s in self.up:
            known_s = max(began_s, start_s)
            if answered_s is not None and answered_s <= stop_s:
                return known_s, answered_s
            if known_s + self.within_s < stop_s:
                return known_s, None
        return None

    def _unwatched(self, episode: Episode, rows: Sequence[StandingRow]) -> list[int]:
        """Blocks at which it was below 1 long enough, with the keeper up long enough, and no standing near."""
        found = []
        for block in episode.blocks:
            at_s = self.arrived_s(block)
            up = any(start_s + self.within_s < at_s < stop_s - self.within_s for start_s, stop_s in self.up)
            due = at_s - self.arrived_s(episode.blocks[0]) > self.within_s
            near = any(row.first_block <= block and row.last_block >= block - self.within_blocks for row in rows)
            if up and due and not near:
                found.append(block)
        return found
