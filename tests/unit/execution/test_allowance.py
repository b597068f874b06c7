"""Which allowances are raised, and to what."""

from __future__ import annotations

from keeper.core.standing import Funds
from keeper.execution.allowance import bounds_to_set
from tests.unit.execution.builders import COLLATERAL
from tests.unit.execution.fakes import POOL, TOKEN


def test_the_bound_is_the_balance_unless_it_is_configured() -> None:
    funds = {(TOKEN, POOL): Funds(500, 20), (COLLATERAL, POOL): Funds(300, 0)}
    assert bounds_to_set(funds, {COLLATERAL: 1_000}) == {(TOKEN, POOL): (20, 500), (COLLATERAL, POOL): (0, 1_000)}


def test_what_is_enough_or_not_owned_or_unbounded_stays() -> None:
    funds = {(TOKEN, POOL): Funds(500, 500), (COLLATERAL, POOL): Funds(0, 0), (POOL, POOL): Funds(None, None)}
    assert bounds_to_set(funds, {}) == {}


def test_a_configured_bound_below_the_balance_holds() -> None:
    assert bounds_to_set({(TOKEN, POOL): Funds(500, 100)}, {TOKEN: 100}) == {}
    assert bounds_to_set({(TOKEN, POOL): Funds(500, 99)}, {TOKEN: 100}) == {(TOKEN, POOL): (99, 100)}
