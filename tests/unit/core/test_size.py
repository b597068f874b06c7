"""The searches behind sizing, on plain predicates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keeper.core.size import bisect, intersect, least_true


@given(
    threshold=st.integers(0, 2**200),
    guess=st.integers(-5, 2**210),
    step=st.integers(0, 2**40),
    low=st.integers(0, 2**199),
    high=st.integers(2**199, 2**256 - 1),
)
def test_the_least_of_a_monotone_predicate_is_found_from_any_guess(
    threshold: int, guess: int, step: int, low: int, high: int
) -> None:
    found = least_true(low, high, guess, step, lambda x: x >= threshold)
    expected = max(low, threshold)
    assert found == (expected if expected <= high else None)


@given(
    holes=st.sets(st.integers(0, 60)),
    guess=st.integers(0, 60),
    step=st.integers(1, 9),
)
def test_on_any_predicate_the_result_is_a_local_minimum(holes: set[int], guess: int, step: int) -> None:
    def holds(x: int) -> bool:
        return x not in holes

    found = least_true(0, 60, guess, step, holds)
    if found is not None:
        assert holds(found)
        assert found == 0 or not holds(found - 1)


def test_the_cost_grows_with_the_logarithm_of_the_guess_error() -> None:
    asked: list[int] = []

    def holds(x: int) -> bool:
        asked.append(x)
        return x >= 10**30

    assert least_true(1, 2**256 - 1, 10**30 + 12345, 1, holds) == 10**30
    assert len(asked) < 40


def test_bisect_finds_the_border() -> None:
    assert bisect(3, 1000, lambda x: x >= 77) == 77


intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=4).map(
    lambda pairs: [(start * 15, start * 15 + length) for start, length in sorted(set(dict(pairs).items()))]
)


@given(left=intervals, right=intervals)
def test_intersection_is_what_both_contain(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    def inside(x: int, spans: list[tuple[int, int]]) -> bool:
        return any(low <= x <= high for low, high in spans)

    common = intersect(left, right)
    assert all(inside(x, common) == (inside(x, left) and inside(x, right)) for x in range(0, 620, 3))
    assert common == sorted(common)
