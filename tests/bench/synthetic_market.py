"""A market of any size without a chain: Aave 3.6 with 30 reserves, 3.2 entries a borrower, health spread above 1."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keeper.book.book import Book
from keeper.book.page import WITH_DEBT, Rows
from keeper.book.table import Table
from keeper.core.lending import BalanceChange, Side
from keeper.core.units import BPS, RAY, Address
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.state import State
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_reserve_state, make_state

ADAPTER = AaveV3()
RESERVES = 30
RARE = RESERVES - 1
"""Held or owed by less than one borrower in a hundred."""
THRESHOLD_BPS = 8_000
EMODES = (0, 0, 0, 0, 0, 0, 0, 1, 2, 3)
"""How common each e-mode is; 0 is none. Each has eight reserves, and whoever is in it holds and owes no others."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Synthetic:
    state: State
    book: Book
    entries: int


def market(seed: int) -> State:
    """30 reserves of 18 decimals, prices from ten cents to 100,000 dollars, interest since an hour ago."""
    rng = random.Random(seed)
    reserves = {
        i: make_reserve_state(
            make_config(liquidation_threshold_bps=THRESHOLD_BPS),
            price_base=int(10 ** rng.uniform(7, 13)),
            liquidity_index_ray=RAY + rng.randrange(RAY // 2),
            variable_borrow_index_ray=RAY + rng.randrange(RAY // 2),
            liquidity_rate_ray=rng.randrange(RAY // 20),
            variable_borrow_rate_ray=rng.randrange(RAY // 10),
            last_update_s=NOW_S - 3_600,
        )
        for i in range(RESERVES)
    }
    modes = [Category(n, 9_000, 9_300, 10_100, collateral_bitmap=255 << 8 * (n - 1)) for n in (1, 2, 3)]
    return make_state("3.6", reserves, modes)


def synthetic(borrowers: int, seed: int = 1) -> Synthetic:
    """The market with that many borrowers, every one with debt, their health from 1.0005 up."""
    state = market(seed)
    random_of = np.random.default_rng(seed)
    collaterals = random_of.choice([1, 2, 3], p=[0.4, 0.35, 0.25], size=borrowers)
    debts = random_of.choice([1, 2], p=[0.65, 0.35], size=borrowers)
    counts = collaterals + debts
    owner = np.repeat(np.arange(borrowers), counts)
    leg = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_debt = leg >= np.repeat(collaterals, counts)
    category = random_of.choice(EMODES, size=borrowers)
    popularity = 1 / np.arange(1, RESERVES + 1)
    popularity[RARE] = 0.002 * popularity.sum()
    first = random_of.choice(RESERVES, p=popularity / popularity.sum(), size=borrowers)
    # Reserves at fixed distances from the first one, so that no row has one twice; nobody else leads to the rare one.
    place = np.where(is_debt, leg - np.repeat(collaterals, counts), leg)
    start, mode = np.repeat(first, counts), category[owner]
    start = np.where(is_debt, (start + 11) % RARE, start)
    reserve = np.where(place == 0, start, (start + 1 + 7 * place) % RARE)
    reserve = np.where(mode == 0, reserve, 8 * (mode - 1) + (start + 3 * place) % 8)

    table = Table()
    numbers = np.zeros((2, RESERVES, 4), dtype=np.int32)
    for side, kind in enumerate((Side.COLLATERAL, Side.DEBT)):
        for reserve_id in range(RESERVES):
            for within in {0, reserve_id // 8 + 1} - {4}:
                numbers[side, reserve_id, within] = table.columns.number((kind, reserve_id, within))
    columns = numbers[is_debt.astype(int), reserve, mode]
    low, high = _words(_scaled(state, table, random_of, owner, columns, is_debt))
    table.replace_all(
        Rows(
            accounts=random_of.integers(0, 256, size=(borrowers, 20), dtype=np.uint8),
            categories=category.astype(np.int32),
            states=np.full(borrowers, WITH_DEBT, dtype=np.uint8),
            counts=counts.astype(np.int32),
            columns=columns,
            low=low,
            high=high,
        )
    )
    book = Book(add_only)
    book.take(table, 0)
    return Synthetic(state, book, len(columns))


def add_only(change: BalanceChange, previous_scaled: int) -> int:
    return previous_scaled + change.value


def _scaled(
    state: State,
    table: Table,
    random_of: np.random.Generator,
    owner: NDArray[np.int64],
    columns: NDArray[np.int32],
    is_debt: NDArray[np.bool_],
) -> Floats:
    """Scaled balances such that every health is 1.0005 and more: one in twenty below 1.05, one half below 1.4."""
    terms = ADAPTER.screen_terms(state, table.columns.weighing, NOW_S)
    worth = np.zeros(len(table.columns))
    for number, fraction in zip(table.columns.weighing_numbers().tolist(), terms.weights, strict=True):
        assert fraction is not None, "every reserve has a price"
        worth[number] = fraction[0] / fraction[1]
    borrowers = int(owner[-1]) + 1
    dollars = np.exp(random_of.normal(8, 2, size=len(owner)))
    weighted = dollars * worth[columns] / np.maximum(worth[columns], 1e-30) * 1e8 * BPS
    held = np.bincount(owner[~is_debt], weights=weighted[~is_debt], minlength=borrowers)
    owed = np.bincount(owner[is_debt], weights=weighted[is_debt], minlength=borrowers)
    near = random_of.random(borrowers) < 0.05
    health = 1.0005 + np.where(near, random_of.random(borrowers) / 20, np.exp(random_of.normal(-1, 1, size=borrowers)))
    weighted = np.where(is_debt, weighted * (held / owed / health)[owner], weighted)
    scaled: Floats = np.maximum(np.floor(weighted / worth[columns]), 1)
    return scaled


def _words(scaled: Floats) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    high = np.floor(scaled / 2.0**64)
    return (scaled - high * 2.0**64).astype(np.uint64), high.astype(np.uint64)


def ticked(state: State, reserve_ids: range | tuple[int, ...], factor: float) -> State:
    """Other prices for some reserves."""
    prices: dict[Address, int | None] = {}
    for reserve_id in reserve_ids:
        price_base = state.reserves[reserve_id].price_base
        assert price_base is not None, "every reserve has a price"
        prices[state.market.by_id[reserve_id].asset] = int(price_base * factor)
    return state.with_prices(prices)
