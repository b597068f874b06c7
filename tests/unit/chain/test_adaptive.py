from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain.adaptive import AdaptiveSize, logs_bytes
from keeper.core.wire import decode_log


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


@given(density=st.integers(1, 50_000), target=st.integers(1_000, 3_000_000), maximum=st.integers(1, 20_000))
def test_answers_come_to_stay_near_the_target(density: int, target: int, maximum: int) -> None:
    span = AdaptiveSize(maximum, target)
    for _ in range(30):
        span.accepted(span.size, span.size * density)
    assert span.size * density <= max(target, density)
    # No shorter than it must be.
    assert span.size == maximum or (span.size + 1) * density > target


def test_an_empty_answer_says_nothing_of_density() -> None:
    span = AdaptiveSize(1_000, 1_000)
    span.accepted(1_000, 10_000)
    assert span.size == 100
    span.accepted(100, 0)
    assert span.size == 200


def test_the_length_of_logs_is_estimated_close_enough() -> None:
    entry = {
        "address": "0x" + "11" * 20,
        "topics": ["0x" + "22" * 32] * 3,
        "data": "0x" + "33" * 64,
        "blockNumber": "0x12d687",
        "blockHash": "0x" + "44" * 32,
        "transactionHash": "0x" + "55" * 32,
        "transactionIndex": "0x1",
        "logIndex": "0x10",
        "removed": False,
    }
    true_bytes = len(json.dumps(entry))
    assert 0.9 * true_bytes < logs_bytes([decode_log(entry)]) < 1.2 * true_bytes
