"""Looking at few rows finds whom looking at all rows finds: over ticks, time and rows that change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.book import page as page_module
from keeper.book import table as table_module
from keeper.book.book import Book
from keeper.core.lending import Position, Side
from keeper.core.units import RAY, Address
from keeper.protocols.aave_v3.state import State
from tests.property.screening import (
    RELEASES,
    book_of,
    named_of,
    random_market,
    random_row,
    random_rows,
    sick_of,
    terms_of,
    ticked,
)
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_reserve_state, make_state

PRICE_BASE = 1_000 * 10**8


@pytest.fixture(scope="module", autouse=True)
def small_pages() -> Iterator[None]:
    """Pages of 128 rows, so that a few hundred borrowers fill several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "PAGE_ROWS", 128)
        patch.setattr(table_module, "PAGE_ROWS", 128)
        yield


def change_rows(rng: random.Random, book: Book, state: State, block: int) -> None:
    """A few rows change, a few accounts come in, and now and then the last blocks are taken back."""
    known = sorted(book.accounts())
    rows = [random_row(rng, state, rng.choice(known)) for _ in range(rng.randint(0, 4))]
    rows += [random_row(rng, state, Address(rng.randbytes(20))) for _ in range(rng.randint(0, 2))]
    book.enter(block, rows)
    if rng.random() < 0.1:
        book.unwind(block - 1)


def settle(book: Book, state: State, timestamp_s: int) -> None:
    for _ in range(9):
        if not book.reorder(terms_of(book, state, timestamp_s)):
            break


@pytest.mark.parametrize("release", RELEASES)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32))
def test_few_rows_tell_what_all_rows_tell(release: str, seed: int) -> None:
    rng = random.Random(seed)
    state = random_market(rng, release, reserves=8)
    timestamp_s = NOW_S
    book = book_of(random_rows(rng, state, 300, timestamp_s))
    for block in range(1, 16):
        if rng.random() < 0.4:
            timestamp_s += rng.choice((1, 12, 12, 3_600))
        if rng.random() < 0.8:
            ids = rng.sample(sorted(state.reserves), rng.choice((1, 1, 2, len(state.reserves))))
            state = ticked(rng, state, ids, rng.choice((1e-9, 0.001, 0.02, 0.4)))
        if rng.random() < 0.5:
            change_rows(rng, book, state, block)
        if rng.random() < 0.3:
            settle(book, state, timestamp_s)
        rows = list(book.every_position())
        named = named_of(book, state, timestamp_s)
        assert sick_of(rows, state, timestamp_s) <= named
        assert named_of(book_of(rows), state, timestamp_s) <= named


def market_of_many(seed: int) -> tuple[State, Book]:
    """600 healthy borrowers of a common asset; one in a hundred also has a rare one."""
    rng = random.Random(seed)
    reserves = {
        i: make_reserve_state(
            price_base=PRICE_BASE,
            liquidity_index_ray=RAY + rng.randrange(RAY // 10),
            variable_borrow_index_ray=RAY + rng.randrange(RAY // 10),
            liquidity_rate_ray=rng.randrange(RAY // 100),
            variable_borrow_rate_ray=rng.randrange(RAY // 10),
        )
        for i in range(3)
    }
    rows = []
    for n in range(600):
        rare = {2: 10**16} if n % 100 == 0 else {}
        owed = rng.randrange(10**18, 10**19)
        rows.append(Position(Address(rng.randbytes(20)), {0: 4 * owed, **rare}, {1: owed}, frozenset({0, *rare}), 0))
    return make_state("3.6", reserves), book_of(rows)


def touched(book: Book, state: State, timestamp_s: int) -> int:
    return book.named(terms_of(book, state, timestamp_s)).touched_rows


def test_a_tick_of_a_rare_asset_touches_its_holders_only() -> None:
    state, book = market_of_many(1)
    rare = state.market.by_id[2].asset
    assert touched(book, state, NOW_S) == len(book)
    assert touched(book, state, NOW_S) == 0, "nothing moved"
    assert touched(book, state.with_prices({rare: 2 * PRICE_BASE}), NOW_S) == 6
    assert touched(book, state, NOW_S) == 6, "and back"


def test_after_ordering_small_moves_touch_the_lowest_only() -> None:
    state, book = market_of_many(2)
    common = state.market.by_id[0].asset
    settle(book, state, NOW_S)
    lower = state.with_prices({common: PRICE_BASE * 999 // 1_000})
    assert touched(book, lower, NOW_S + 12) < len(book) // 10


def test_large_moves_fall_back_to_everybody() -> None:
    state, book = market_of_many(3)
    common = state.market.by_id[0].asset
    settle(book, state, NOW_S)
    crash = state.with_prices({common: PRICE_BASE * 45 // 100})
    assert touched(book, crash, NOW_S + 12) == len(book)


def test_a_changed_row_is_judged_again() -> None:
    state, book = market_of_many(4)
    touched(book, state, NOW_S)
    row = next(book.positions())
    book.enter(1, [Position(row.borrower, {}, row.debt_scaled, frozenset(), 0)])
    named = book.named(terms_of(book, state, NOW_S))
    assert named.accounts == [row.borrower]
    assert named.touched_rows == 1


def test_the_most_indebted_come_first() -> None:
    state, book = market_of_many(5)
    common = state.market.by_id[0].asset
    named = book.named(terms_of(book, state.with_prices({common: 1}), NOW_S)).accounts
    debts = [(-book.position(account).debt_scaled[1], account) for account in named]
    assert debts == sorted(debts)
    assert len(named) == len(book)


@pytest.mark.parametrize("seed", range(6))
def test_the_order_spares_nobody_who_falls_below_one(seed: int) -> None:
    """Health spread from 1 to 1.4, each price falls or rises by itself, days pass: fewer rows, the same names."""
    rng = random.Random(seed)
    state, book = market_of_many(seed)
    terms = terms_of(book, state, NOW_S)
    weights = dict(zip(book.columns, terms.weights, strict=True))
    for row in list(book.positions()):
        held, owed = weights[Side.COLLATERAL, 0, 0], weights[Side.DEBT, 1, 0]
        assert held is not None and owed is not None
        per_debt = Fraction(*held) / Fraction(*owed)
        debt = int(row.collateral_scaled[0] * per_debt / Fraction(1 + rng.random() * 2 / 5))
        book.enter(1, [Position(row.borrower, {0: row.collateral_scaled[0]}, {1: debt}, frozenset({0}), 0)])
    rows = list(book.every_position())
    spared = 0
    for step in range(8):
        settle(book, state, NOW_S)
        spread = rng.choice((0.0001, 0.001, 0.01, 0.05))
        moved = ticked(rng, state, (0, 1), spread)
        timestamp_s = NOW_S + step * rng.choice((0, 12, 86_400))
        named = book.named(terms_of(book, moved, timestamp_s))
        assert sick_of(rows, moved, timestamp_s) <= set(named.accounts) == named_of(book_of(rows), moved, timestamp_s)
        spared += named.touched_rows < len(book)
    assert spared > 0


def test_who_could_not_be_valued_at_the_order_is_judged_again_every_time() -> None:
    state, book = market_of_many(6)
    common, rare = state.market.by_id[0].asset, state.market.by_id[2].asset
    blind = state.with_prices({rare: None})
    settle(book, blind, NOW_S)
    still_blind = blind.with_prices({common: PRICE_BASE * 999 // 1_000})
    named = book.named(terms_of(book, still_blind, NOW_S + 12))
    holders = {row.borrower for row in book.positions() if 2 in row.collateral_enabled}
    assert len(holders) == 6
    assert holders == set(named.accounts)
    assert named.touched_rows < len(book) // 10
    assert named_of(book, still_blind.with_prices({rare: PRICE_BASE}), NOW_S + 12) == set()


def test_a_price_that_goes_missing_after_the_order_names_its_holders() -> None:
    state, book = market_of_many(7)
    settle(book, state, NOW_S)
    blind = state.with_prices({state.market.by_id[2].asset: None})
    assert len(named_of(book, blind, NOW_S + 12)) == 6


def test_a_wider_row_widens_the_margin_for_everybody() -> None:
    """Two entries and a distance of three base units are enough; of nine entries it is not, so everybody is judged again."""
    config = make_config(decimals=0)
    state = make_state("3.6", {i: make_reserve_state(config, price_base=1) for i in range(9)})
    edge = Position(Address(b"\x01" * 20), {0: 11}, {1: 4}, frozenset({0}), 0)
    others = [Position(Address(bytes([n]) * 20), {0: 10**6}, {1: 4}, frozenset({0}), 0) for n in range(3, 60)]
    book = book_of([edge, *others])
    assert named_of(book, state, NOW_S) == set()
    wide = Position(Address(b"\x02" * 20), dict.fromkeys(range(8), 10**6), {8: 1}, frozenset(range(8)), 0)
    book.enter(1, [wide])
    assert named_of(book, state, NOW_S) == {edge.borrower} == named_of(book_of(list(book.positions())), state, NOW_S)


def test_a_row_that_changed_after_the_order_is_judged_again() -> None:
    state, book = market_of_many(8)
    settle(book, state, NOW_S)
    row = next(book.positions())
    book.enter(1, [Position(row.borrower, {}, row.debt_scaled, frozenset(), 0)])
    stranger = Position(Address(b"\x07" * 20), {}, {1: 1}, frozenset(), 0)
    book.enter(1, [stranger])
    named = book.named(terms_of(book, state, NOW_S + 12))
    assert set(named.accounts) == {row.borrower, stranger.borrower}
    assert named.touched_rows < len(book) // 10
