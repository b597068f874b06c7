"""The jury convicts: who is forgotten, answered late, or stands nowhere is named; who recovers at once is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keeper.core.units import Address, to_hex
from keeper.store.reader import JournalRow, StandingRow
from tests.rehearsal.episodes import Episode, Jury, episodes_of
from tests.rehearsal.observer import Sample
from tests.rehearsal.verdict import slope_per_minute

BORROWER, OTHER = Address(b"\xb0" * 20), Address(b"\x07" * 20)
UP = [(0.0, 1_000.0)]
HEALTH = 9 * 10**17


def arrived_s(block: int) -> float:
    return float(block)


def answer(at_s: float, block: int, kind: str = "sent") -> JournalRow:
    at = datetime.fromtimestamp(at_s, UTC).isoformat()
    return JournalRow(1, at, "chain", kind, block, None, to_hex(BORROWER), "name", "normal", {})


def stands(first_block: int, last_block: int) -> StandingRow:
    return StandingRow(
        "chain",
        "market",
        to_hex(BORROWER),
        "toxic",
        None,
        "",
        None,
        first_block,
        last_block,
        HEALTH,
        HEALTH,
        None,
        None,
    )


def jury(events: list[JournalRow], standing: list[StandingRow]) -> Jury:
    return Jury(events, standing, arrived_s, UP, within_s=30, within_blocks=30)


def test_samples_become_episodes() -> None:
    samples = [
        Sample(10, {}),
        Sample(13, {BORROWER: HEALTH}),
        Sample(16, {BORROWER: HEALTH, OTHER: HEALTH}),
        Sample(19, {}),
        Sample(22, {BORROWER: HEALTH}),
    ]
    assert episodes_of(samples) == [
        Episode(BORROWER, 10, (13, 16)),
        Episode(OTHER, 13, (16,)),
        Episode(BORROWER, 19, (22,)),
    ]


def test_an_answer_in_time_is_measured() -> None:
    found = jury([answer(105.5, 101)], [stands(101, 150)]).judge([Episode(BORROWER, 97, (100, 103))])
    assert (found.problems, found.latencies_s, found.brief) == ((), (5.5,), 0)


def test_a_late_answer_is_a_problem() -> None:
    found = jury([answer(140, 130)], [stands(101, 150)]).judge([Episode(BORROWER, 97, (100, 103))])
    assert [problem.partition(" ")[2] for problem in found.problems] == ["below 1 in block 100 answered after 40 s"]


def test_who_is_never_answered_is_a_problem_unless_it_recovers_at_once() -> None:
    forgotten = jury([], [stands(101, 150)]).judge([Episode(BORROWER, 97, (100, 131))])
    assert [problem.partition(" ")[2] for problem in forgotten.problems] == ["below 1 from block 100 never answered"]
    recovered = jury([], []).judge([Episode(BORROWER, 97, (100, 103))])
    assert (recovered.problems, recovered.brief) == ((), 1)


def test_an_answer_to_an_earlier_fall_does_not_count() -> None:
    found = jury([answer(60, 60)], [stands(55, 70), stands(101, 150)]).judge([Episode(BORROWER, 97, (100, 131))])
    assert len(found.problems) == 1


def test_a_reason_that_still_stands_does() -> None:
    found = jury([answer(60, 60)], [stands(55, 150)]).judge([Episode(BORROWER, 97, (100, 131))])
    assert (found.problems, found.latencies_s) == ((), ())


def test_who_stands_nowhere_later_on_is_a_problem() -> None:
    found = jury([answer(105, 101)], [stands(101, 110)]).judge([Episode(BORROWER, 97, (100, 131, 161))])
    assert [problem.partition(" ")[2] for problem in found.problems] == ["below 1 in block 161 stands nowhere"]


def test_nobody_is_asked_for_while_the_keeper_is_down() -> None:
    down = Jury([], [], arrived_s, [(0.0, 100.0), (200.0, 300.0)], within_s=30, within_blocks=30)
    assert down.judge([Episode(BORROWER, 97, (110, 131, 161))]).problems == ()
    assert len(down.judge([Episode(BORROWER, 97, (110, 161, 231))]).problems) == 2


@pytest.mark.parametrize("per_minute", [0.0, 0.5, -2.0])
def test_a_slope_is_found(per_minute: float) -> None:
    assert slope_per_minute([(each, 100 + per_minute * each / 60) for each in range(0, 600, 5)]) == pytest.approx(
        per_minute
    )
