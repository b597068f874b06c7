"""The columns against a plain dictionary: whatever is written, the same comes back."""

from __future__ import annotations

import random

import pytest

from keeper.book import addresses as addresses_module
from keeper.book import page as page_module
from keeper.book import table as table_module
from keeper.book.screen import Screen
from keeper.book.table import Table, addresses_in
from keeper.core.errors import Defect
from keeper.core.lending import Position, Side
from keeper.core.units import Address


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 100 rows and frequent merges, so that a small book has all that a large one has."""
    for module in (page_module, table_module):
        monkeypatch.setattr(module, "PAGE_ROWS", 100)
    monkeypatch.setattr(addresses_module, "RECENT_MOST", 16)


def random_position(rng: random.Random, account: Address, most: int = 6) -> Position:
    """Some balances; now and then none at all."""
    collateral = {i: rng.getrandbits(rng.choice((3, 60, 70, 128))) for i in rng.sample(range(9), rng.randint(0, most))}
    debt = {i: rng.getrandbits(rng.choice((3, 60, 70, 128))) for i in rng.sample(range(9), rng.randint(0, 3))}
    enabled = frozenset(rng.sample(range(9), rng.randint(0, 4)))
    kept = [{i: scaled for i, scaled in side.items() if scaled} for side in (collateral, debt)]
    return Position(account, kept[0], kept[1], enabled, rng.choice((0, 0, 1, 200)))


def fresh_account(rng: random.Random) -> Address:
    """Many share their first 8 bytes, as they hardly ever do."""
    return Address(rng.choice((bytes(8), b"\xff" * 8, rng.randbytes(8))) + rng.randbytes(12))


def assert_same(table: Table, model: dict[Address, Position]) -> None:
    assert len(table) == len(model)
    assert {row.borrower: row for row in table.walk(with_debt=False)} == model
    assert {row.borrower for row in table.walk(with_debt=True)} == {a for a, row in model.items() if row.debt_scaled}
    assert sorted(addresses_in(table.packed_accounts())) == sorted(model)
    assert table.borrowers == sum(bool(row.debt_scaled) for row in model.values())
    assert sorted(table.row(number).borrower for number in table.by_address().tolist()) == sorted(model)
    sums: dict[tuple[int, Side], int] = {}
    for row in model.values():
        for side, balances in ((Side.COLLATERAL, row.collateral_scaled), (Side.DEBT, row.debt_scaled)):
            for reserve_id, scaled in balances.items():
                sums[reserve_id, side] = sums.get((reserve_id, side), 0) + scaled
    adding_up = table.adding_up()
    for _ in table.pages:
        next(adding_up)  # no page is added up together with another
    with pytest.raises(StopIteration) as done:
        next(adding_up)
    assert done.value.value == sums


@pytest.mark.parametrize("seed", range(6))
def test_the_table_is_a_dictionary(seed: int) -> None:
    rng = random.Random(seed)
    table, model = Table(), dict[Address, Position]()
    for _ in range(60):
        known = list(model)
        accounts = {fresh_account(rng) for _ in range(rng.randint(0, 12))}
        accounts |= set(rng.sample(known, min(len(known), rng.randint(0, 20))))
        rows = [random_position(rng, account, most=rng.choice((2, 9))) for account in sorted(accounts)]
        table.put(rows)
        model |= {row.borrower: row for row in rows}
        if rng.random() < 0.3:
            gone = rng.sample(sorted(model), rng.randint(0, len(model) // 4))
            table.discard([*gone, fresh_account(rng)])
            for account in gone:
                del model[account]
    assert_same(table, model)
    for account in rng.sample(sorted(model), 50):
        assert table.get(account) == model[account]
    assert table.get(fresh_account(rng)) is None
    assert fresh_account(rng) not in table


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_only_some_of_it_is_a_table_too(share: float) -> None:
    rng = random.Random(3)
    rows = [random_position(rng, fresh_account(rng)) for _ in range(250)]
    table = Table()
    table.put(rows)
    chosen = {row.borrower: row for row in rows if rng.random() < share}
    kept = table.only({*chosen, fresh_account(rng)})
    assert_same(kept, chosen)
    assert_same(table, {row.borrower: row for row in rows})
    later = random_position(rng, fresh_account(rng))
    kept.put([later])
    assert_same(kept, {**chosen, later.borrower: later})


def test_a_table_has_one_screen() -> None:
    table = Table()
    Screen(table)
    with pytest.raises(Defect, match="one screen"):
        Screen(table)


def test_holes_are_packed_away() -> None:
    rng = random.Random(1)
    table = Table()
    accounts = [fresh_account(rng) for _ in range(300)]
    table.put([random_position(rng, account) for account in accounts])
    table.discard(accounts[:280])
    assert sum(page.count for page in table.pages) < 300
    assert sorted(addresses_in(table.packed_accounts())) == sorted(accounts[280:])


def test_entries_that_shrink_and_grow_stay_with_their_row() -> None:
    table = Table()
    account, other = Address(b"\x01" * 20), Address(b"\x02" * 20)
    table.put([Position(account, {0: 1}, {}, frozenset(), 0), Position(other, {0: 2}, {}, frozenset(), 0)])
    for width in (5, 0, 9, 1, 3):
        row = Position(account, {i: i + 1 for i in range(width)}, {}, frozenset(), 0)
        table.put([row])
        assert table.get(account) == row
        assert table.get(other) == Position(other, {0: 2}, {}, frozenset(), 0)
