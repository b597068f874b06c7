"""The book: apply, unwind, snapshot."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.book.book import Book
from keeper.core.errors import Defect, MissedLog
from keeper.core.lending import BalanceChange, BookEvent, CategorySet, CollateralFlag, MarketChanged, Position, Side
from keeper.core.units import Address

ACCOUNTS = [Address(bytes([n]) * 20) for n in range(1, 5)]


def add_only(change: BalanceChange, previous_scaled: int) -> int:
    return previous_scaled + change.value


def checked(change: BalanceChange, previous_scaled: int) -> int:
    after = previous_scaled + change.value
    if after < 0:
        raise MissedLog("below zero")
    return after


def mint(account: Address, reserve_id: int, side: Side, value: int) -> BalanceChange:
    return BalanceChange(account, reserve_id, side, BalanceChange.Kind.MINT, value, 0, 10**27)


def opened(*, undo_blocks: int = 64) -> Book:
    book = Book(add_only, undo_blocks=undo_blocks)
    book.load([Position(account, {}, {}, frozenset(), 0) for account in ACCOUNTS], 0)
    return book


def rows_of(book: Book) -> dict[Address, Position]:
    return {row.borrower: row for row in book.every_position()}


def set_of(book: Book) -> set[Address]:
    return {row.borrower for row in book.positions()}


def test_rows_follow_the_events_in_order() -> None:
    book = opened()
    borrower = ACCOUNTS[0]
    book.apply(
        5,
        [
            mint(borrower, 0, Side.COLLATERAL, 100),
            CollateralFlag(borrower, 0, True),
            mint(borrower, 1, Side.DEBT, 40),
            CategorySet(borrower, 3),
            MarketChanged("nothing to do with rows"),
        ],
    )
    assert book.position(borrower) == Position(borrower, {0: 100}, {1: 40}, frozenset({0}), 3)
    assert [row.borrower for row in book.positions()] == [borrower]


def test_a_repaid_borrower_is_no_longer_listed_but_keeps_its_collateral() -> None:
    book = opened()
    book.apply(1, [mint(ACCOUNTS[0], 0, Side.COLLATERAL, 7), mint(ACCOUNTS[0], 1, Side.DEBT, 4)])
    book.apply(2, [mint(ACCOUNTS[0], 1, Side.DEBT, -4)])
    assert list(book.positions()) == []
    assert book.position(ACCOUNTS[0]).collateral_scaled == {0: 7}


def test_an_account_that_never_entered_is_passed_over() -> None:
    book = Book(add_only)
    book.apply(1, [mint(ACCOUNTS[0], 0, Side.COLLATERAL, 7)])
    assert ACCOUNTS[0] not in book


def test_an_account_that_entered_after_the_ancestor_must_be_read_again() -> None:
    book = opened()
    stranger = Address(b"\x99" * 20)
    book.apply(3, [mint(ACCOUNTS[0], 1, Side.DEBT, 4)])
    book.enter(3, [Position(stranger, {}, {0: 5}, frozenset(), 0)])
    book.apply(4, [mint(stranger, 0, Side.DEBT, 1)])
    assert book.unwind(2) == {stranger}
    assert stranger not in book
    assert set_of(book) == set()
    assert book.position(ACCOUNTS[0]).debt_scaled == {}


def test_a_row_that_was_corrected_after_the_ancestor_must_be_read_again() -> None:
    book = opened()
    book.apply(3, [mint(ACCOUNTS[0], 1, Side.DEBT, 4)])
    book.apply(4, [mint(ACCOUNTS[0], 1, Side.DEBT, 1)])
    book.enter(5, [Position(ACCOUNTS[0], {}, {1: 7}, frozenset(), 0)])
    assert book.unwind(4) == {ACCOUNTS[0]}
    assert ACCOUNTS[0] not in book


def test_events_of_the_new_branch_pass_over_whoever_must_be_read_again() -> None:
    book = Book(checked)
    stranger = Address(b"\x99" * 20)
    book.enter(5, [Position(stranger, {}, {0: 5}, frozenset(), 0)])
    book.unwind(4)
    book.apply(5, [mint(stranger, 3, Side.COLLATERAL, -6)])
    assert stranger not in book


def test_blocks_out_of_order_are_a_defect() -> None:
    book = opened()
    book.apply(2, [CategorySet(ACCOUNTS[0], 1)])
    with pytest.raises(Defect, match="applied after"):
        book.apply(2, [CategorySet(ACCOUNTS[0], 2)])


def test_unwinding_beyond_the_kept_depth_is_refused() -> None:
    book = opened(undo_blocks=2)
    for number in range(1, 5):
        book.apply(number, [CategorySet(ACCOUNTS[0], number)])
    assert book.can_unwind_to(2)
    assert not book.can_unwind_to(1)
    with pytest.raises(Defect, match="cannot unwind"):
        book.unwind(1)


events = st.lists(
    st.one_of(
        st.builds(
            mint,
            st.sampled_from(ACCOUNTS),
            st.integers(0, 3),
            st.sampled_from(Side),
            st.integers(1, 10**30),
        ),
        st.builds(CollateralFlag, st.sampled_from(ACCOUNTS), st.integers(0, 3), st.booleans()),
        st.builds(CategorySet, st.sampled_from(ACCOUNTS), st.integers(0, 3)),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(blocks=st.lists(events, min_size=1, max_size=12), cut=st.integers(0, 12))
def test_unwind_after_apply_restores_the_book(blocks: list[list[BookEvent]], cut: int) -> None:
    book, expected = opened(), opened()
    for number, block in enumerate(blocks, start=1):
        book.apply(number, block)
        if number <= cut:
            expected.apply(number, block)
    book.unwind(cut)
    assert rows_of(book) == rows_of(expected)
    assert set_of(book) == set_of(expected)
    for number, block in enumerate(blocks[cut:], start=cut + 1):
        book.apply(number, block)
        expected.apply(number, block)
    assert rows_of(book) == rows_of(expected)


def test_a_balance_beyond_128_bits_is_a_defect() -> None:
    book = opened()
    book.apply(1, [mint(ACCOUNTS[0], 0, Side.COLLATERAL, 2**128 - 1)])
    assert book.position(ACCOUNTS[0]).collateral_scaled == {0: 2**128 - 1}
    with pytest.raises(Defect, match="128 bits"):
        book.apply(2, [mint(ACCOUNTS[0], 0, Side.COLLATERAL, 1)])


def test_more_balances_than_the_bound_allows_are_a_defect() -> None:
    row = Position(ACCOUNTS[0], dict.fromkeys(range(200), 1), dict.fromkeys(range(57), 1), frozenset(), 0)
    with pytest.raises(Defect, match="257 balances"):
        Book(add_only).enter(1, [row])


def test_a_sample_is_of_borrowers_and_the_same_for_the_same_seed() -> None:
    book, other = Book(add_only), Book(add_only)
    rows = [Position(Address(bytes([n]) * 20), {0: 1}, {1: n} if n % 3 else {}, frozenset(), 0) for n in range(1, 100)]
    book.enter(1, rows)
    other.enter(1, rows[50:])
    other.enter(1, rows[:50])
    sample = book.sample(20, seed=7)
    assert sample == other.sample(20, seed=7)
    assert sample != book.sample(20, seed=8)
    assert len({row.borrower for row in sample}) == 20
    assert all(row.debt_scaled for row in sample)
    assert {row.borrower for row in book.sample(1_000, seed=7)} == set_of(book)
    assert Book(add_only).sample(5, seed=7) == []


def test_totals_are_exact() -> None:
    book = opened()
    large = 2**127 + 2**64 - 1
    book.enter(1, [Position(account, {0: large}, {1: 3}, frozenset({0}), n) for n, account in enumerate(ACCOUNTS)])
    book.enter(2, [Position(ACCOUNTS[0], {0: large, 4: 5}, {}, frozenset(), 0)])
    assert book.totals() == {(0, Side.COLLATERAL): 4 * large, (4, Side.COLLATERAL): 5, (1, Side.DEBT): 9}
    assert book.borrowers == 3


def test_an_event_that_moves_more_than_there_is_is_named_and_moves_nothing() -> None:
    book = Book(checked)
    book.load([Position(account, {}, {1: 5}, frozenset(), 0) for account in ACCOUNTS], 0)
    too_much = mint(ACCOUNTS[0], 1, Side.DEBT, -6)
    assert book.apply(1, [mint(ACCOUNTS[1], 1, Side.DEBT, -5), too_much, mint(ACCOUNTS[0], 0, Side.COLLATERAL, 7)]) == [
        too_much
    ]
    assert book.position(ACCOUNTS[0]) == Position(ACCOUNTS[0], {0: 7}, {1: 5}, frozenset(), 0)
    assert book.position(ACCOUNTS[1]).debt_scaled == {}
    book.unwind(0)
    assert book.position(ACCOUNTS[0]).collateral_scaled == {}
