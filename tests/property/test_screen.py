"""The screen never misses a borrower below 1, nor one that cannot be valued; and names hardly anybody else."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.book.book import Book
from keeper.core.errors import Defect
from keeper.core.lending import Health, Position, Side
from keeper.core.screening import ScreenTerms
from keeper.core.units import BPS, RAY, Address
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import State
from tests.property.screening import (
    ADAPTER,
    DAY_S,
    RELEASES,
    USD,
    at_the_edge,
    book_of,
    named_of,
    random_market,
    random_rows,
    sick_of,
    terms_of,
)
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_reserve_state, make_state

SLACK = Fraction(1, 2**41)
"""Four times the relative bound of the screen: who is named beyond it was named without a cause."""


def needs_a_look(row: Position, book: Book, terms: ScreenTerms, slack: Fraction) -> bool:
    """The screen's condition in exact fractions."""
    weights = dict(zip(book.columns, terms.weights, strict=True))
    sums = {Side.COLLATERAL: Fraction(0), Side.DEBT: Fraction(0)}
    legs = [(Side.COLLATERAL, i, max(0, row.collateral_scaled.get(i, 0) - 1)) for i in row.collateral_enabled]
    legs += [(Side.DEBT, i, scaled + 1) for i, scaled in row.debt_scaled.items()]
    for side, reserve_id, bound in legs:
        weight = weights[side, reserve_id, row.category]
        if weight is None:
            return True
        sums[side] += Fraction(*weight) * bound
    most = max(
        len(r.collateral_scaled.keys() | r.collateral_enabled) + len(r.debt_scaled) for r in book.every_position()
    )
    margin = most * terms.leg_margin_base_bps + terms.row_margin_base_bps
    return sums[Side.COLLATERAL] * (1 - slack) < sums[Side.DEBT] * (1 + slack) + margin


@pytest.mark.parametrize("release", RELEASES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_nobody_below_one_is_missed(release: str, seed: int) -> None:
    rng = random.Random(seed)
    state = random_market(rng, release)
    timestamp_s = NOW_S + rng.choice((0, 1, 12, DAY_S, 400 * DAY_S))
    rows = random_rows(rng, state, 40, timestamp_s)
    book = book_of(rows)
    named = named_of(book, state, timestamp_s)
    assert sick_of(rows, state, timestamp_s) <= named
    terms = terms_of(book, state, timestamp_s)
    with_debt = [row for row in rows if row.debt_scaled]
    assert named <= {row.borrower for row in with_debt if needs_a_look(row, book, terms, SLACK)}
    assert {row.borrower for row in with_debt if needs_a_look(row, book, terms, Fraction(0))} <= named


@pytest.mark.parametrize("release", RELEASES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_whoever_falls_below_one_at_any_second_of_a_span_is_named(release: str, seed: int) -> None:
    """By interest, or by prices that move by themselves; collateral may earn more than the debt costs, too."""
    rng = random.Random(seed)
    state = random_market(rng, release)
    span_s = rng.choice((1, 2, 12, 400))
    if rng.random() < 0.5:
        own, later_s = state.prices_base(), NOW_S + rng.choice((1, span_s, 2 * span_s))
        moved = {key: price and max(1, price * rng.randint(9_900, 10_100) // 10_000) for key, price in own.items()}
        state = state.with_later_prices(later_s, moved)
    seconds = sorted({NOW_S, NOW_S + span_s, *(NOW_S + rng.randint(0, span_s) for _ in range(3))})
    rows = [row for second in seconds for row in random_rows(rng, state, 12, second)]
    book = book_of(rows)
    named = set(book.named(ADAPTER.screen_terms(state, book.columns, NOW_S, NOW_S + span_s)).accounts)
    for second in seconds:
        assert sick_of(rows, state, second) <= named
    assert named_of(book, state, NOW_S) <= named


def two_reserves(release: str, decimals: int, price_base: int, index_ray: int) -> State:
    """Reserve 0 to be held, reserve 1 to be owed."""
    config = make_config(decimals=decimals)
    held = make_reserve_state(config, price_base=price_base, liquidity_index_ray=index_ray)
    owed = make_reserve_state(config, price_base=price_base, variable_borrow_index_ray=index_ray)
    return make_state(release, {0: held, 1: owed})


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("decimals, price_base", [(2, 10 * USD), (0, USD // 10), (2, USD), (18, USD), (18, 1), (6, 7)])
def test_every_small_position_is_judged_right(release: str, decimals: int, price_base: int) -> None:
    """One unit of debt, none of collateral, raw units worth ten cents: all of them, not a sample."""
    for index_ray in (RAY, RAY + 1, RAY * 3 // 2 - 1, 2 * RAY + RAY // 3):
        state = two_reserves(release, decimals, price_base, index_ray)
        rows = [
            Position(Address(bytes([held, owed]) * 10), {0: held} if held else {}, {1: owed}, frozenset({0}), 0)
            for held in range(14)
            for owed in range(1, 12)
        ]
        named = named_of(book_of(rows), state, NOW_S)
        sick = sick_of(rows, state, NOW_S)
        assert sick <= named
        assert {row.borrower for row in rows if not row.collateral_scaled} <= named, "no collateral is always named"


@pytest.mark.parametrize("release", RELEASES)
def test_what_stands_far_above_one_is_not_named(release: str) -> None:
    state = two_reserves(release, 18, 3_000 * USD, RAY * 5 // 4)
    rows = [
        Position(Address(bytes([n]) * 20), {0: 10**18 * n}, {1: 7 * 10**17 * n}, frozenset({0}), 0)
        for n in range(1, 99)
    ]
    assert named_of(book_of(rows), state, NOW_S) == set()


@pytest.mark.parametrize("release", RELEASES)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_very_large_balances_are_judged_right(release: str, seed: int) -> None:
    """Balances far beyond 2**53 and 2**64, within a few units of health 1: more digits than a float has."""
    rng = random.Random(seed)
    state = two_reserves(release, 18, 3_000 * USD + 1, RAY + rng.randrange(RAY))
    rows = []
    for n in range(1, 12):
        held = rng.randrange(1 << rng.choice((54, 65, 90)))
        row = Position(Address(bytes([n]) * 20), {0: held + 2}, {1: 1}, frozenset({0}), 0)
        rows.append(at_the_edge(rng, state, row, NOW_S))
    assert sick_of(rows, state, NOW_S) <= named_of(book_of(rows), state, NOW_S)


@pytest.mark.parametrize("release", RELEASES)
def test_an_overflow_in_the_contract_is_named(release: str) -> None:
    """Where the contract's own arithmetic reverts, the borrower cannot be valued."""
    state = two_reserves(release, 0, 1 << 150, RAY)
    row = Position(Address(b"\x01" * 20), {0: 1 << 120}, {1: 1}, frozenset({0}), 0)
    assert sick_of([row], state, NOW_S) == {row.borrower}
    assert named_of(book_of([row]), state, NOW_S) == {row.borrower}


@pytest.mark.parametrize("release", RELEASES)
def test_a_flag_without_a_balance_still_needs_its_price(release: str) -> None:
    state = two_reserves(release, 18, USD, RAY)
    asset = state.market.by_id[1].asset
    healthy = Position(Address(b"\x01" * 20), {0: 10**20}, {0: 10**18}, frozenset({0}), 0)
    flagged = Position(Address(b"\x02" * 20), {0: 10**20}, {0: 10**18}, frozenset({0, 1}), 0)
    idle = Position(Address(b"\x03" * 20), {0: 10**20, 1: 5}, {0: 10**18}, frozenset({0}), 0)
    blind = state.with_prices({asset: None})
    rows = [healthy, flagged, idle]
    assert sick_of(rows, blind, NOW_S) == {flagged.borrower}
    assert named_of(book_of(rows), blind, NOW_S) == {flagged.borrower}


def test_what_counts_at_a_threshold_of_zero_is_named() -> None:
    """It lowers the average threshold of the rest: here from 80 % to 79.99 %, which makes a healthy borrower sick."""
    reserves = {
        0: make_reserve_state(make_config(decimals=0)),
        1: make_reserve_state(make_config(decimals=0, category=1)),
        2: make_reserve_state(make_config(decimals=0)),
    }
    state = make_state("3.0.2", reserves, [Category(1, 0, 0, 0)])
    row = Position(Address(b"\x01" * 20), {0: 10**9, 1: 10**5}, {2: 8 * 10**8 - 10**3}, frozenset({0, 1}), 1)
    assert sick_of([row], state, NOW_S) == {row.borrower}
    assert named_of(book_of([row]), state, NOW_S) == {row.borrower}


def test_estimates_are_close_to_the_exact_valuation() -> None:
    rng = random.Random(4)
    state = two_reserves("3.6", 18, 3_000 * USD, RAY * 5 // 4)
    rows = [
        Position(
            Address(rng.randbytes(20)),
            {0: rng.randrange(10**17, 10**22)},
            {1: 10**18} if n % 5 else {},
            frozenset({0}),
            0,
        )
        for n in range(60)
    ]
    book = book_of(rows)
    (block,) = book.weighed(terms_of(book, state, NOW_S))
    assert set(block.accounts()) == {row.borrower for row in rows if row.debt_scaled}
    estimated = zip(block.accounts(), block.collateral_base_bps, block.debt_base_bps, strict=True)
    for account, collateral_base_bps, debt_base_bps in estimated:
        exact = ADAPTER.health(state, book.position(account), NOW_S)
        assert isinstance(exact, Health)
        assert collateral_base_bps == pytest.approx(exact.weighted_collateral_base_bps, rel=1e-9)
        assert debt_base_bps == pytest.approx(exact.debt_base * BPS, rel=1e-9)


def test_terms_for_fewer_columns_than_the_book_has_are_a_defect() -> None:
    state = two_reserves("3.6", 18, USD, RAY)
    book = book_of([Position(Address(b"\x01" * 20), {0: 5}, {1: 1}, frozenset({0}), 0)])
    old = terms_of(book, state, NOW_S)
    book.enter(1, [Position(Address(b"\x02" * 20), {0: 5}, {0: 1}, frozenset({0}), 0)])
    with pytest.raises(Defect, match="2 weights for a book of 3 columns"):
        book.named(old)
