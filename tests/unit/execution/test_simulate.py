"""The request that simulates, and how orders are shared out to requests. The rounds are tested on a real chain."""

from __future__ import annotations

from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.funding import Dealt, needs_of
from keeper.execution.simulate import REQUEST_GAS, needed_gas, simulation_request, split_by_gas
from keeper.execution.slots import Slot
from tests.unit.execution.builders import order
from tests.unit.execution.fakes import POOL, TOKEN, head

SLOT = Slot(TOKEN, Hash32(b"\x01" * 32))
OTHER_SLOT = Slot(TOKEN, Hash32(b"\x02" * 32))
NOTHING_DEALT = Dealt((), frozenset())


def test_one_block_after_the_head_at_the_time_asked_for() -> None:
    request = simulation_request([], head(7), 4_242, 1_000_000, NOTHING_DEALT)
    assert request == {
        "blockStateCalls": [{"blockOverrides": {"number": "0x8", "time": hex(4_242)}, "calls": []}],
        "validation": False,
        "traceTransfers": False,
    }


def test_dealt_words_lie_under_the_calls() -> None:
    dealt = Dealt(((SLOT, 5), (OTHER_SLOT, 6)), frozenset())
    [block] = simulation_request([], head(7), 4_242, 1, dealt)["blockStateCalls"]
    assert block["stateOverrides"] == {
        to_hex(TOKEN): {
            "stateDiff": {
                to_hex(SLOT.key): to_hex((5).to_bytes(32, "big")),
                to_hex(OTHER_SLOT.key): to_hex((6).to_bytes(32, "big")),
            }
        }
    }


def test_the_gas_limit_is_raised_only_when_a_block_does_not_hold_the_orders() -> None:
    within, beyond = head(7).gas_limit, head(7).gas_limit + 1
    assert (
        "gasLimit"
        not in simulation_request([], head(7), 1, within, NOTHING_DEALT)["blockStateCalls"][0]["blockOverrides"]
    )
    overrides = simulation_request([], head(7), 1, beyond, NOTHING_DEALT)["blockStateCalls"][0]["blockOverrides"]
    assert overrides["gasLimit"] == hex(REQUEST_GAS)


def test_orders_that_fit_share_a_request_and_more_are_split() -> None:
    few = [order(attempt=f"1-{n}") for n in range(5)]
    assert split_by_gas(few) == [few]
    many = [order(attempt=f"1-{n}") for n in range(200)]
    parts = split_by_gas(many)
    assert [each for part in parts for each in part] == many
    assert len(parts) > 1
    assert all(needed_gas(part) <= REQUEST_GAS for part in parts)
    assert split_by_gas([]) == []


def test_an_order_larger_than_a_request_goes_alone() -> None:
    huge = order(gas=REQUEST_GAS, gas_limit=REQUEST_GAS, attempt="1-huge")
    assert split_by_gas([order(), huge, order(attempt="1-b1")])[1] == [huge]


def test_needs_add_up_per_asset_and_spender() -> None:
    other_pool = Address(b"\x51" * 20)
    assert needs_of([order(), order(calls=2)]) == {(TOKEN, POOL): 3_000}
    assert (TOKEN, other_pool) not in needs_of([order()])
