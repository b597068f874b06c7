from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain.adaptive import AdaptiveSize


@given(limit=st.integers(1, 10_000), maximum=st.integers(1, 20_000))
def test_it_finds_the_limit_and_stays_near_it(limit: int, maximum: int) -> None:
    span = AdaptiveSize(maximum)
    refusals = 0
    for _ in range(60):
        assert 1 <= span.size <= maximum
        if span.size > limit:
            span.refused(span.size)
            refusals += 1
        else:
            span.accepted(span.size)
    assert span.size * 2 >= min(limit, maximum) or span.size > limit
    assert refusals < 40


def test_a_limit_of_500_costs_few_refusals_in_a_long_read() -> None:
    span, refusals, covered, requests = AdaptiveSize(10_000), 0, 0, 0
    while covered < 200_000:
        requests += 1
        if span.size > 500:
            span.refused(span.size)
            refusals += 1
        else:
            covered += span.size
            span.accepted(span.size)
    assert refusals < requests // 8
    assert requests < 600


def test_a_dense_stretch_is_forgotten_in_the_end() -> None:
    span = AdaptiveSize(8_000)
    for _ in range(6):
        span.refused(span.size)
    assert span.size == 125
    for _ in range(200):
        span.accepted(span.size)
    assert span.size == 8_000


def test_short_requests_teach_nothing() -> None:
    span = AdaptiveSize(1_000)
    span.refused(1_000)
    span.accepted(3)
    assert span.size == 500


def test_the_least_size_is_one() -> None:
    span = AdaptiveSize(1)
    span.refused(1)
    assert span.size == 1
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveSize(0)
