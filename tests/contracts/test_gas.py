"""What the executor may cost, on the real contracts."""

from __future__ import annotations

from tests.bench.executor_gas import LOST_RACE_GAS, MANY, MOST_RUNTIME_BYTES, measured
from tests.contracts.compiled import committed_runtime


async def test_one_transaction_costs_no_more_than_three_and_many_borrowers_share_it() -> None:
    by_hand, by_lender, lost_race = await measured()
    for one, many in by_lender.values():
        assert one <= by_hand.total
        assert 100 * many <= 85 * MANY * by_hand.total
    assert lost_race <= LOST_RACE_GAS


def test_it_fits_into_a_contract() -> None:
    assert len(committed_runtime()) <= MOST_RUNTIME_BYTES
