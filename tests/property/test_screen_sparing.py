"""Looking at few rows finds whom looking at all rows finds: over ticks, time and rows that change."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.book import page as page_module
from keeper.book import table as table_module
from keeper.book.book import Book
from keeper.core.lending import Position
from keeper.core.units import Address
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
from tests.unit.protocols.aave_v3.builders import NOW_S


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


def market_of_many(rng: random.Random) -> tuple[State, list[Position]]:
    """Healthy borrowers of a common asset; one in a hundred also has a rare one."""
    state = random_market(rng, "3.6", reserves=3)
    state = state.with_prices({state.market.by_id[i].asset: 10**11 for i in state.reserves})
    rows = []
    for n in range(600):
        rare = {2: 10**16} if n % 100 == 0 else {}
        owed = rng.randrange(10**18, 10**19)
        rows.append(Position(Address(rng.randbytes(20)), {0: 4 * owed, **rare}, {1: owed}, frozenset({0, *rare}), 0))
    return state, rows


def touched(book: Book, state: State, timestamp_s: int) -> int:
    return book.named(terms_of(book, state, timestamp_s)).touched_rows


def worthwhile(seed: int) -> tuple[State, Book]:
    """A market whose three reserves weigh something, and its book."""
    for attempt in range(seed, seed + 1_000):
        state, rows = market_of_many(random.Random(attempt))
        configs = [reserve.config for reserve in state.reserves.values()]
        if all(config.decimals == 18 and config.liquidation_threshold_bps > 5_000 for config in configs):
            return state, book_of(rows)
    raise AssertionError("no such market")


def test_a_tick_of_a_rare_asset_touches_its_holders_only() -> None:
    state, book = worthwhile(1)
    rare = state.market.by_id[2].asset
    assert touched(book, state, NOW_S) == len(book)
    assert touched(book, state, NOW_S) == 0, "nothing moved"
    assert touched(book, state.with_prices({rare: 2 * 10**11}), NOW_S) == 6
    assert touched(book, state, NOW_S) == 6, "and back"


def test_after_ordering_small_moves_touch_the_lowest_only() -> None:
    state, book = worthwhile(2)
    common = state.market.by_id[0].asset
    settle(book, state, NOW_S)
    lower = state.with_prices({common: 10**11 * 999 // 1_000})
    assert touched(book, lower, NOW_S + 12) < len(book) // 10


def test_large_moves_fall_back_to_everybody() -> None:
    state, book = worthwhile(3)
    common = state.market.by_id[0].asset
    settle(book, state, NOW_S)
    crash = state.with_prices({common: 10**11 * 45 // 100})
    assert touched(book, crash, NOW_S + 12) == len(book)


def test_a_changed_row_is_judged_again() -> None:
    state, book = worthwhile(4)
    touched(book, state, NOW_S)
    row = next(book.positions())
    book.enter(1, [Position(row.borrower, {}, row.debt_scaled, frozenset(), 0)])
    named = book.named(terms_of(book, state, NOW_S))
    assert named.accounts == [row.borrower]
    assert named.touched_rows == 1


def test_the_most_indebted_come_first() -> None:
    state, book = worthwhile(5)
    common = state.market.by_id[0].asset
    named = book.named(terms_of(book, state.with_prices({common: 1}), NOW_S)).accounts
    debts = [(-book.position(account).debt_scaled[1], account) for account in named]
    assert debts == sorted(debts)
    assert len(named) == len(book)
