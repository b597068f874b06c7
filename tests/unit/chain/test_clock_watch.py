"""The clock is in doubt when new blocks are too old, or too young, in the middle."""

from __future__ import annotations

from keeper.chain.clock_watch import FEWEST, ClockWatch


def watch(*ages_s: float) -> ClockWatch:
    clock = ClockWatch(15.0)
    for age_s in ages_s:
        clock.arrived(age_s)
    return clock


def test_few_blocks_prove_nothing() -> None:
    assert watch(*[3_600.0] * (FEWEST - 1)).skew_s() is None


def test_one_late_block_proves_nothing() -> None:
    assert watch(2, 3, 900, 2, 1, 3, 800, 2).skew_s() is None


def test_the_size_is_the_middle_age() -> None:
    assert watch(100, 98, 104, 700, 101).skew_s() == 101
    assert watch(-100, -98, -104, 12, -101).skew_s() == -100


def test_it_is_news_once_and_again_when_it_changes_or_comes_back() -> None:
    clock = watch(*[100.0] * 5)
    assert clock.news_s() == 100
    clock.told(100)
    assert clock.news_s() is None
    for _ in range(9):
        clock.arrived(110)
    assert clock.news_s() is None
    for _ in range(9):
        clock.arrived(-200)
    assert clock.news_s() == -200
    for _ in range(9):
        clock.arrived(1)
    assert clock.news_s() is None
    for _ in range(9):
        clock.arrived(100)
    assert clock.news_s() == 100


def test_what_was_the_nodes_fault_is_forgotten() -> None:
    clock = watch(*[100.0] * 5)
    clock.forget()
    assert clock.skew_s() is None
