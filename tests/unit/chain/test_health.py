"""What an endpoint's answers teach, by a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain.health import FORGET_S, LONGEST_COOLING_S, WINDOW, Health
from keeper.core.errors import RateLimited, RpcTimeout, RpcUnreachable


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def _health() -> tuple[Health, Clock]:
    clock = Clock()
    return Health(clock), clock


@given(st.lists(st.floats(0.001, 10), min_size=10, max_size=200))
def test_the_95th_percentile_is_that_of_the_latest_window(latencies_s: list[float]) -> None:
    health, _ = _health()
    for elapsed_s in latencies_s:
        health.answered("eth_call", elapsed_s)
    p95_s = health.p95_s("eth_call")
    window = latencies_s[-WINDOW:]
    assert p95_s in window
    assert sum(each <= p95_s for each in window) >= 0.95 * len(window)
    assert sum(each > p95_s for each in window) <= 0.05 * len(window)
    assert health.p95_s("eth_getLogs") is None


def test_too_few_answers_say_nothing() -> None:
    health, _ = _health()
    for _ in range(2):
        health.answered("eth_call", 5.0)
    assert health.ewma_s("eth_call") is None
    health.answered("eth_call", 5.0)
    assert health.ewma_s("eth_call") == pytest.approx(5.0)
    assert health.p95_s("eth_call") is None


def test_slowness_failures_and_lag_are_forgotten() -> None:
    health, clock = _health()
    for _ in range(10):
        health.answered("eth_call", 5.0)
        health.failed(RpcTimeout("x"), clock.now_s)
    health.at_head(100, 7)
    before = health.shown("http://node")
    assert (before.flaky, before.lag_blocks) == (True, 7)
    clock.now_s += FORGET_S + 1
    after = health.shown("http://node")
    assert (after.flaky, after.lag_blocks) == (False, 0)
    assert health.ewma_s("eth_call") is None
    # The first answer after that counts for itself, not for what was before.
    health.answered("eth_call", 0.1)
    assert health.ewma_s("eth_call") == pytest.approx(0.1)
    assert health.errors == {"RpcTimeout": 10}


def test_an_answer_that_was_not_waited_for_counts_as_slow() -> None:
    health, _ = _health()
    for _ in range(5):
        health.answered("eth_call", 0.1)
    health.kept_waiting("eth_call", 1.1)
    assert health.ewma_s("eth_call") == pytest.approx(0.3)


def test_rest_doubles_and_ends_with_recovery() -> None:
    health, clock = _health()
    rests_s = []
    for _ in range(12):
        health.failed(RpcUnreachable("x"), clock.now_s)
        rests_s.append(health.rest_s())
        clock.now_s += health.rest_s()
        assert health.rest_s() == 0
    assert rests_s[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert max(rests_s) == pytest.approx(LONGEST_COOLING_S)
    health.recovered()
    health.failed(RpcUnreachable("x"), clock.now_s)
    assert health.rest_s() == pytest.approx(0.1)


def test_failures_of_requests_under_way_together_are_one() -> None:
    health, clock = _health()
    begun_s = clock.now_s
    clock.now_s += 1
    for _ in range(5):
        health.failed(RpcUnreachable("x"), begun_s)
    assert health.rest_s() == pytest.approx(0.1)
    assert health.errors["RpcUnreachable"] == 5


def test_a_rate_limit_rests_as_long_as_it_asks() -> None:
    health, clock = _health()
    health.failed(RateLimited("x", 17.0), clock.now_s)
    assert health.limited
    assert health.rest_s() == pytest.approx(17.0)


def test_a_share_of_failures_makes_it_flaky() -> None:
    health, clock = _health()
    for _ in range(9):
        health.answered("eth_call", 0.1)
    health.failed(RpcUnreachable("x"), clock.now_s)
    assert not health.shown("http://node").flaky
    for _ in range(3):
        health.failed(RpcUnreachable("x"), clock.now_s)
    shown = health.shown("http://node")
    assert (shown.label, shown.flaky, shown.errors) == ("http://node", True, {"RpcUnreachable": 4})
