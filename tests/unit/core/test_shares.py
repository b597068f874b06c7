"""What a transaction of several attempts cost and moved, told apart: in proportion to what was repaid, to the last unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keeper.core.ledger import CallValue, Entry, Movement, Purpose
from keeper.core.report import Booked, by_attempt, by_day, moved_raw
from keeper.core.shares import Share, part_of, split, weights
from keeper.core.units import Address, Hash32

PLANNED = st.integers(1, 2**90)
PARTS = st.lists(st.integers(0, 2**90), min_size=1, max_size=8).filter(any)
SIGNER, TOKEN, OTHER = Address(b"\x01" * 20), Address(b"\x02" * 20), Address(b"\x03" * 20)


def share(number: int, planned_raw: int, repaid_raw: int | None) -> Share:
    return Share(f"7-{number}", Address(bytes([number]) * 20), planned_raw, repaid_raw)


SHARES = st.lists(st.tuples(PLANNED, st.integers(0, 2**90)), min_size=1, max_size=8).map(
    lambda drawn: tuple(share(number, *each) for number, each in enumerate(drawn))
)


@given(st.integers(-(2**100), 2**100), PARTS)
def test_parts_add_up_and_are_in_proportion(total: int, by: list[int]) -> None:
    parts = split(total, by)
    first = next(place for place, weight in enumerate(by) if weight)
    assert sum(parts) == total
    for place, (part, weight) in enumerate(zip(parts, by, strict=True)):
        apart = abs(part * sum(by) - total * weight)
        assert part == 0 if not weight else apart < sum(by) * (len(by) if place == first else 1)


def test_who_was_left_out_has_no_part_and_what_reverted_is_shared_as_planned() -> None:
    shares = (share(0, 100, 0), share(1, 50, 50), share(2, 25, 25))
    assert [part_of(99, shares, each.attempt) for each in shares] == [0, 66, 33]
    assert weights((share(0, 100, 0), share(1, 50, 0))) == [100, 50]
    assert weights((share(0, 100, None), share(1, 50, None))) == [100, 50]
    assert part_of(99, (), "7-0") == 99


@given(SHARES, st.integers(0, 2**80), st.integers(-(2**90), 2**90), st.integers(-(2**60), 2**60), st.booleans())
def test_the_report_adds_up_over_those_who_share(
    shares: tuple[Share, ...], cost_wei: int, gained_raw: int, slippage_base: int, succeeded: bool
) -> None:
    entry = Entry(
        chain_id=1,
        signer=SIGNER,
        transaction_hash=Hash32(b"\x07" * 32),
        nonce=1,
        attempt=shares[0].attempt,
        purpose=Purpose.LIQUIDATION,
        borrower=shares[0].borrower,
        call_index=0,
        block_number=9,
        block_hash=Hash32(b"\x09" * 32),
        timestamp_s=86_400,
        succeeded=succeeded,
        gas_used=1,
        gas_price_wei=cost_wei,
        l1_fee_wei=0,
        movements=(Movement(TOKEN, gained_raw), Movement(OTHER, 7)),
    )
    booked = [Booked(entry, CallValue(10**12, 9 * 10**11, 10**11, 10**8, 7, slippage_base), shares)]
    [day], lines = by_day(booked), by_attempt(booked)
    assert [(line.attempt, line.borrower) for line in lines] == [(each.attempt, each.borrower) for each in shares]
    assert [line.transactions for line in lines] == [1] + [0] * (len(shares) - 1)
    assert sum(line.reverted for line in lines) == day.reverted == (0 if succeeded else 1)
    assert sum(line.cost_wei for line in lines) == day.cost_wei == cost_wei
    for token, raw in moved_raw(booked).items():
        assert sum(line.moved_raw.get(token, 0) for line in lines) == raw
    assert day.worth is not None and day.unvalued == sum(line.unvalued for line in lines) == 0
    for name in ("received_wad", "repaid_wad", "gas_wad", "premium_wad", "slippage_wad", "net_wad", "net_wei"):
        parts = [getattr(line.worth, name) for line in lines]
        assert sum(parts) == getattr(day.worth, name), name


def test_what_nobody_shares_is_one_line() -> None:
    entry = Entry(
        1,
        SIGNER,
        Hash32(b"\x07" * 32),
        1,
        "7-0",
        Purpose.LIQUIDATION,
        None,
        0,
        9,
        Hash32(b"\x09" * 32),
        1,
        True,
        3,
        5,
        2,
        (),
    )
    [line] = by_attempt([Booked(entry, None)])
    assert (line.attempt, line.transactions, line.cost_wei, line.worth, line.unvalued) == ("7-0", 1, 17, None, 1)
