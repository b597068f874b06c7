"""A head ages by the steady clock; the time of day only adds to that."""

from __future__ import annotations

import pytest

from keeper.core.block import BlockRef
from keeper.core.errors import Defect
from keeper.core.units import Hash32
from keeper.pipeline.head_age import HeadAge

HEAD = BlockRef(7, Hash32(b"\x07" * 32), Hash32(b"\x06" * 32), 1_000_000, None, 30_000_000)


@pytest.mark.parametrize(
    "now_s, age_s", [(1_000_000, 0), (1_000_003, 3), (1_000_500, 500), (999_000, 0), (0, 0)], ids=str
)
def test_its_age_is_that_at_arrival_and_the_time_since(now_s: float, age_s: float) -> None:
    steady_s = [50.0]
    age = HeadAge(lambda: now_s, lambda: steady_s[0])
    assert age.begin(HEAD) == now_s
    assert (age.age_s(), age.taken_s(), age.chain_s()) == (age_s, 0, 1_000_000 + age_s)
    steady_s[0] += 90
    assert (age.age_s(), age.taken_s(), age.chain_s()) == (age_s + 90, 90, 1_000_000 + age_s + 90)
    age.begin(HEAD)
    assert age.age_s() == age_s


def test_a_clock_that_is_set_meanwhile_changes_nothing() -> None:
    now_s = [1_000_002.0]
    age = HeadAge(lambda: now_s[0], lambda: 0.0)
    age.begin(HEAD)
    now_s[0] -= 10_000
    assert age.age_s() == 2


def test_there_is_no_age_without_a_head() -> None:
    with pytest.raises(Defect, match="before one came"):
        HeadAge(lambda: 0.0).age_s()
