"""Differences between book and chain: every stored number, every output, and what totals may be."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from keeper.core.differences import (
    COLLATERAL_TOTAL,
    DEBT_INDEX,
    DEBT_TOTAL,
    HEALTH_PARTS,
    health_differences,
    in_words,
    reserve_differences,
    row_differences,
    same_health,
)
from keeper.core.lending import Health, Position, ReserveTotals
from keeper.core.units import RAY, WAD, Address

WHO = Address(b"\xb0" * 20)
ROW = Position(WHO, {1: 10, 3: 5}, {2: 7}, frozenset({1}), 1)
HEALTH = Health(WAD, 100, 80, 0, 8_000, 7_500, 800_000)
TOTALS = ReserveTotals(100, 50, RAY, RAY + 5)
balances = st.dictionaries(st.integers(0, 4), st.integers(1, 3))
rows = st.builds(Position, st.just(WHO), balances, balances, st.frozensets(st.integers(0, 4)), st.integers(0, 2))


def test_each_stored_number_is_named() -> None:
    other = Position(WHO, {1: 11}, {2: 7, 4: 1}, frozenset({3}), 2)
    found = [(each.what, each.reserve_id, each.ours, each.chain) for each in row_differences(ROW, other)]
    assert found == [
        ("collateral_scaled", 1, 10, 11),
        ("collateral_scaled", 3, 5, 0),
        ("debt_scaled", 4, 0, 1),
        ("collateral_enabled", 1, 1, 0),
        ("collateral_enabled", 3, 0, 1),
        ("category", None, 1, 2),
    ]
    assert all(each.is_row and each.borrower == WHO for each in row_differences(ROW, other))


@given(rows, rows)
def test_rows_differ_exactly_when_they_are_not_equal(first: Position, second: Position) -> None:
    assert bool(row_differences(first, second)) == (first != second)


def test_each_output_of_the_valuation_counts_but_for_what_no_chain_reports() -> None:
    for name in HEALTH_PARTS:
        other = replace(HEALTH, **{name: getattr(HEALTH, name) + 1})
        assert [each.what for each in health_differences(WHO, HEALTH, other)] == [name]
        assert not same_health(HEALTH, other)
    assert len(HEALTH_PARTS) == 6
    assert same_health(HEALTH, replace(HEALTH, weighted_collateral_base_bps=1))


def test_an_account_that_the_chain_cannot_value_differs_from_a_number() -> None:
    [found] = health_differences(WHO, HEALTH, None)
    assert (found.ours, found.chain, found.is_row) == (WAD, None, False)


def test_an_account_that_only_the_chain_can_value_differs_too() -> None:
    [found] = health_differences(WHO, None, HEALTH)
    assert (found.ours, found.chain, found.is_row) == (None, WAD, False)
    assert not same_health(None, HEALTH) and same_health(None, None)


def test_debt_is_all_there_is_and_collateral_no_more_than_there_is() -> None:
    indexes = (RAY, RAY + 5)
    assert reserve_differences(2, (100, 50), indexes, TOTALS) == []
    assert reserve_differences(2, (1, 50), indexes, TOTALS) == [], "others hold the rest"
    assert [each.what for each in reserve_differences(2, (101, 50), indexes, TOTALS)] == [COLLATERAL_TOTAL]
    assert [each.what for each in reserve_differences(2, (0, 49), indexes, TOTALS)] == [DEBT_TOTAL]
    assert [each.what for each in reserve_differences(2, (0, 51), indexes, TOTALS)] == [DEBT_TOTAL]
    assert [each.what for each in reserve_differences(2, (0, 50), (RAY, RAY + 6), TOTALS)] == [DEBT_INDEX]


def test_words_name_the_first_and_count_the_others() -> None:
    found = row_differences(ROW, replace(ROW, debt_scaled={2: 8}, category=2))
    assert in_words(found) == f"debt_scaled of 0x{'b0' * 20} in reserve 2: ours 7, the chain's 8 (and 1 more)"
