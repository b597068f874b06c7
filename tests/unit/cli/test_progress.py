"""Progress lines where there is no terminal."""

from __future__ import annotations

from keeper.cli.progress import lines


def test_nothing_is_written_for_what_is_over_soon() -> None:
    written: list[str] = []
    moment = 0.0
    progress = lines(lambda: moment, written.append)
    progress(0, 50, 99)
    progress(0, 99, 99)
    assert written == []


def test_a_long_catch_up_says_how_far_it_is_and_when_it_is_done() -> None:
    written: list[str] = []
    clock = [0.0]
    progress = lines(lambda: clock[0], written.append)
    for second in range(31):
        clock[0] = float(second)
        progress(100, 100 + 10 * second, 400)
    assert written == [
        "reading blocks 100 to 400: 6 %, 2 s, about 27 s left",
        "reading blocks 100 to 400: 40 %, 12 s, about 18 s left",
        "reading blocks 100 to 400: 73 %, 22 s, about 8 s left",
        "reading blocks 100 to 400: 100 %, 30 s",
    ]


def test_hours_and_minutes_are_told_as_such() -> None:
    written: list[str] = []
    clock = [0.0]
    progress = lines(lambda: clock[0], written.append)
    for second, reached in ((3, 9), (13, 3_009), (4_000, 9_000)):
        clock[0] = float(second)
        progress(0, reached, 9_999)
    assert written == [
        "reading blocks 0 to 9999: 0 %, 3 s, about 50 min left",
        "reading blocks 0 to 9999: 30 %, 13 s, about 23 s left",
        "reading blocks 0 to 9999: 90 %, 67 min, about 11 min left",
    ]
