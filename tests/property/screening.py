"""Markets and borrowers made to stand on the edge: what the screen must never miss."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from keeper.book.book import Book
from keeper.core.lending import BalanceChange, Position
from keeper.core.outcome import Skip
from keeper.core.screening import ScreenTerms
from keeper.core.units import HEALTH_ONE_WAD, RAY, Address
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import ReserveState, State
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_reserve_state, make_state

ADAPTER = AaveV3()
RELEASES = ("3.0.2", "3.2", "3.3", "3.6")
"""Half-up and floored with e-mode prices; with e-modes as bitmaps; the last floored one; explicit rounding and exact."""

FLOORED_WITH_PRICES = "3.0.2"
DAY_S = 86_400
USD = 10**8


def add_only(change: BalanceChange, previous_scaled: int) -> int:
    return previous_scaled + change.value


def book_of(rows: Sequence[Position]) -> Book:
    book = Book(add_only)
    book.load(rows, 0)
    return book


def terms_of(book: Book, state: State, timestamp_s: int) -> ScreenTerms:
    return ADAPTER.screen_terms(state, book.columns, timestamp_s)


def named_of(book: Book, state: State, timestamp_s: int) -> set[Address]:
    return set(book.named(terms_of(book, state, timestamp_s)).accounts)


def sick_of(rows: Sequence[Position], state: State, timestamp_s: int) -> set[Address]:
    """Whoever must be named, by the exact valuation: below 1, or not to be valued."""
    sick = set()
    for row in rows:
        health = ADAPTER.health(state, row, timestamp_s)
        if row.debt_scaled and (isinstance(health, Skip) or health.health_factor_wad < HEALTH_ONE_WAD):
            sick.add(row.borrower)
    return sick


def random_market(rng: random.Random, release: str, *, reserves: int = 6) -> State:
    """Odd reserves: units from 0 to 18 decimals, prices from a trillionth to a million dollars, thresholds at the rims."""
    categories = [
        Category(
            1,
            9_000,
            rng.choice((9_300, 9_999)),
            10_100,
            price_source=Address(b"\x0e" * 20) if release == FLOORED_WITH_PRICES else None,
            collateral_bitmap=rng.getrandbits(reserves),
        ),
        Category(2, 8_000, 8_500, 10_200, collateral_bitmap=rng.getrandbits(reserves)),
    ]
    prices = {1: rng.choice((0, 1, 3 * USD + 1, None))} if release == FLOORED_WITH_PRICES else {}
    states = {i: random_reserve(rng, release) for i in range(reserves)}
    return make_state(release, states, categories, category_prices_base=prices)


def random_reserve(rng: random.Random, release: str) -> ReserveState:
    threshold_bps = rng.choice((0, 1, 5_000, 7_700, 8_250, 9_999))
    config = make_config(
        decimals=rng.choice((0, 2, 6, 8, 18)),
        liquidation_threshold_bps=threshold_bps,
        ltv_bps=max(0, threshold_bps - 100),
        category=rng.choice((0, 1, 2)) if release == FLOORED_WITH_PRICES else 0,
    )
    # Ten dollars a whole token at 2 decimals make a raw unit worth ten cents.
    price_base = rng.choice((1, 7, USD // 3, USD, 10 * USD, 3_000 * USD + 17, 10**6 * USD))
    return make_reserve_state(
        config,
        price_base=None if rng.random() < 0.03 else price_base,
        liquidity_index_ray=RAY + rng.choice((0, 1, rng.randrange(3 * RAY))),
        variable_borrow_index_ray=RAY + rng.choice((0, 1, rng.randrange(4 * RAY))),
        liquidity_rate_ray=rng.randrange(RAY // 5),
        variable_borrow_rate_ray=rng.randrange(RAY // 2),
        last_update_s=NOW_S - rng.choice((0, 1, 12, 30 * DAY_S)),
    )


def random_row(rng: random.Random, state: State, account: Address) -> Position:
    """Up to four collaterals and three debts, from one unit to far too much; now and then nothing but a flag."""
    ids = sorted(state.reserves)
    size = rng.choice((1, 2, 3, 10, 10**6, 10**12, 10**18, 10**24))
    collateral = {i: rng.randint(1, size) for i in rng.sample(ids, rng.randint(0, 4))}
    debt = {i: rng.randint(1, size) for i in rng.sample(ids, rng.randint(0, 3))}
    enabled = {i for i in ids if (i in collateral and rng.random() < 0.9) or rng.random() < 0.02}
    return Position(account, collateral, debt, frozenset(enabled), rng.choice((0, 0, 1, 2, 9)))


def at_the_edge(rng: random.Random, state: State, row: Position, timestamp_s: int) -> Position:
    """The row with one debt such that health is 1 or just below it, give or take a few units; as it is where nothing makes it
    so."""
    if not row.debt_scaled or isinstance(ADAPTER.health(state, row, timestamp_s), Skip):
        return row
    chosen = rng.choice(sorted(row.debt_scaled))

    def owing(scaled: int) -> Position:
        return replace(row, debt_scaled={**row.debt_scaled, chosen: scaled})

    def below_one(scaled: int) -> bool:
        health = ADAPTER.health(state, owing(scaled), timestamp_s)
        return isinstance(health, Skip) or health.health_factor_wad < HEALTH_ONE_WAD

    low, high = 1, 1 << 100
    if below_one(low) or not below_one(high):
        return row
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if below_one(middle) else (middle, high)
    return owing(max(1, high + rng.randint(-2, 1)))


def random_rows(rng: random.Random, state: State, count: int, timestamp_s: int) -> list[Position]:
    rows = [random_row(rng, state, Address(rng.randbytes(20))) for _ in range(count)]
    return [at_the_edge(rng, state, row, timestamp_s) if rng.random() < 0.7 else row for row in rows]


def ticked(rng: random.Random, state: State, ids: Sequence[int], spread: float) -> State:
    """Other prices for some reserves, each moved by up to `spread` either way; now and then one is gone or back."""
    prices: Mapping[int, int | None] = {i: state.reserves[i].price_base for i in ids}
    moved: dict[Address, int | None] = {}
    for reserve_id, price_base in prices.items():
        after: int | None = max(1, int((price_base or USD) * (1 + rng.uniform(-spread, spread))))
        if rng.random() < 0.02:
            after = None
        moved[state.market.by_id[reserve_id].asset] = after
    return state.with_prices(moved)
