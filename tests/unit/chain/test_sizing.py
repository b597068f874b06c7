from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keeper.chain.rpc import Entry
from keeper.chain.sizing import AnswerSizes

CALL: Entry = ("eth_call", [])
HEADER: Entry = ("eth_getBlockByNumber", [])


@given(each_bytes=st.integers(1, 5_000_000), target=st.integers(100_000, 3_000_000), count=st.integers(2, 100))
def test_after_the_first_answer_batches_stay_under_the_target(each_bytes: int, target: int, count: int) -> None:
    sizes = AnswerSizes(target)
    entries = [CALL] * count
    part = 0
    for _ in range(20):
        part = sizes.fitting(entries, 100)
        assert 1 <= part <= count
        sizes.note(entries[:part], part * each_bytes)
    assert part * each_bytes <= max(target, each_bytes)
    assert part == count or (part + 2) * each_bytes > 0.9 * target


def test_a_method_with_short_answers_is_not_cut_for_one_with_long_ones() -> None:
    sizes = AnswerSizes(1_000_000)
    sizes.note([CALL], 600_000)
    assert sizes.fitting([CALL] * 5, 100) == 1
    assert sizes.fitting([HEADER] * 50, 100) == 50
    assert sizes.fitting([HEADER] * 50, 20) == 20


def test_growth_is_followed_at_once() -> None:
    sizes = AnswerSizes(1_000_000)
    sizes.note([CALL] * 100, 1_000)
    assert sizes.fitting([CALL] * 100, 100) == 100
    sizes.note([CALL] * 100, 50_000_000)
    assert sizes.fitting([CALL] * 100, 100) == 2
