from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from keeper.core.outcome import Reason, Verdict
from keeper.core.standing import Standing
from keeper.core.units import Address
from keeper.store.standing_changes import Ended, OpenRow, standing_changes
from tests.unit.store.facts import BORROWER, OTHER_BORROWER, standing


def test_a_new_borrower_opens_a_row() -> None:
    changes = standing_changes({}, {BORROWER: standing()}, 10, 7)
    assert changes.opened == {BORROWER: OpenRow(7, standing(), 10, standing().health_factor_wad, 10)}
    assert changes.rows == changes.opened
    assert changes.closed == {}


def test_the_same_reason_goes_on_with_newer_numbers() -> None:
    first = standing_changes({}, {BORROWER: standing(detail="a")}, 10, 7)
    later = replace(standing(detail="b"), health_factor_wad=5)
    changes = standing_changes(first.rows, {BORROWER: later}, 15, 8)
    assert changes.opened == {}
    assert changes.closed == {}
    assert changes.rows == {BORROWER: OpenRow(7, later, 10, standing().health_factor_wad, 15)}


def test_another_reason_or_verdict_or_simulated_error_ends_the_row() -> None:
    reverted = Standing(Reason.SIMULATION_REVERTED, "HealthFactorNotBelowThreshold()", Verdict.REACHES_TARGET, 9)
    others = [
        standing("unprofitable"),
        replace(standing(), verdict=Verdict.TOXIC),
        reverted,
        replace(reverted, detail="ReservePaused()"),
    ]
    before, rows = standing(), standing_changes({}, {BORROWER: standing()}, 10, 1).rows
    for number, now in enumerate(others, start=2):
        changes = standing_changes(rows, {BORROWER: now}, 10 + number, number)
        assert changes.closed[BORROWER].ended is Ended.CHANGED
        assert changes.closed[BORROWER].row.standing == before
        assert changes.closed[BORROWER].ended_block == 10 + number
        assert changes.opened[BORROWER].first_block == 10 + number
        before, rows = now, changes.rows


def test_whoever_is_no_longer_below_one_is_closed_at_the_last_head_at_which_it_was() -> None:
    rows = standing_changes({}, {BORROWER: standing(), OTHER_BORROWER: standing()}, 10, 1).rows
    rows = standing_changes(rows, {BORROWER: standing(), OTHER_BORROWER: standing()}, 12, 3).rows
    changes = standing_changes(rows, {OTHER_BORROWER: standing()}, 15, 3)
    closed = changes.closed[BORROWER]
    assert (closed.ended, closed.row.last_block, closed.ended_block) == (Ended.NOT_BELOW_ONE, 12, 15)
    assert list(changes.rows) == [OTHER_BORROWER]


def test_after_a_gap_nothing_goes_on() -> None:
    rows = standing_changes({}, {BORROWER: standing(), OTHER_BORROWER: standing()}, 10, 1).rows
    changes = standing_changes(rows, {BORROWER: standing()}, 900, 3, after_gap=True)
    assert {row.ended for row in changes.closed.values()} == {Ended.GAP}
    assert set(changes.closed) == {BORROWER, OTHER_BORROWER}
    assert list(changes.opened) == [BORROWER]


def test_a_reorg_to_a_lower_head_does_not_end_a_row_before_it_began() -> None:
    rows = standing_changes({}, {BORROWER: standing()}, 105, 1).rows
    changes = standing_changes(rows, {BORROWER: standing()}, 104, 2)
    assert changes.closed == {}
    assert changes.rows[BORROWER].first_block == changes.rows[BORROWER].last_block == 105


Heads = list[dict[Address, Standing]]
_BORROWERS = st.sampled_from([Address(bytes([number]) * 20) for number in range(4)])
_STANDINGS = st.builds(standing, st.sampled_from(["toxic", "unprofitable", "ordered"]), st.integers(1, 10))
_HEADS = st.lists(st.tuples(st.dictionaries(_BORROWERS, _STANDINGS), st.booleans()), max_size=12)


@given(heads=_HEADS)
def test_replaying_the_changes_gives_every_head_back(heads: list[tuple[dict[Address, Standing], bool]]) -> None:
    """What is stored tells, for each judged head, who stood where: nobody twice, nobody missing."""
    rows: Mapping[Address, OpenRow] = {}
    written: dict[int, tuple[Address, str, int, int]] = {}
    next_id = 1
    for number, (now, after_gap) in enumerate(heads):
        changes = standing_changes(rows, now, number, next_id, after_gap=after_gap)
        next_id += len(changes.opened)
        for borrower, closed in changes.closed.items():
            assert rows[borrower].row_id == closed.row.row_id
        for borrower, row in [*changes.rows.items(), *((who, closed.row) for who, closed in changes.closed.items())]:
            written[row.row_id] = (borrower, row.standing.reason, row.first_block, row.last_block)
        rows = changes.rows
    for number, (now, _) in enumerate(heads):
        stood = [(who, reason) for who, reason, first, last in written.values() if first <= number <= last]
        assert sorted(stood) == sorted((who, stands.reason) for who, stands in now.items())
