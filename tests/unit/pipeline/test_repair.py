"""The steps of a repair, and what is remembered of the logs: bounded, and no longer than it is true."""

from __future__ import annotations

from keeper.core.block import Log
from keeper.core.differences import DEBT_TOTAL, Difference
from keeper.core.lending import BalanceChange, BookEvent, CollateralFlag, MarketChanged, Side
from keeper.core.units import RAY, Address, Hash32
from keeper.pipeline.repair import HOLD_S, MOST_TOLD, SEARCH_AGAIN_S, Repair
from keeper.pipeline.rows import ROWS_PER_HEAD, Wanted
from keeper.pipeline.traces import TOLD, Traces

FIRST, SECOND = (Address(bytes([byte]) * 20) for byte in (1, 2))
EVERYBODY = [Address(number.to_bytes(20, "big")) for number in range(ROWS_PER_HEAD + 5)]
ROW = Difference("debt_scaled", FIRST, 2, 7, 8)
TOTAL = Difference(DEBT_TOTAL, None, 2, 7, 8)
HEALTH = Difference("health_factor_wad", FIRST, None, 7, 8)


def test_first_what_is_named_then_everybody_then_a_search() -> None:
    wanted = Wanted()
    repair = Repair(wanted)
    assert "its row" in repair.begin([ROW], 0, EVERYBODY)
    assert wanted.next_slice() == {FIRST}
    wanted.were_read({FIRST})
    assert "every row" in repair.begin([TOTAL], 10, EVERYBODY)
    read: set[Address] = set()
    for _ in range(2):
        part = wanted.next_slice()
        assert 0 < len(part) <= ROWS_PER_HEAD
        wanted.were_read(part)
        read |= part
    assert read == set(EVERYBODY) and not wanted
    assert not repair.take_search(20)
    assert "searched" in repair.begin([TOTAL], 20, EVERYBODY)
    assert repair.take_search(21) and not repair.take_search(21)
    repair.done()
    assert not repair.under_way and "its row" in repair.begin([ROW], 9 * HOLD_S, EVERYBODY)


def test_a_wrong_valuation_of_a_right_row_asks_for_the_market() -> None:
    wanted = Wanted()
    repair = Repair(wanted)
    assert "discovered" in repair.begin([HEALTH], 0, EVERYBODY)
    assert repair.discover_again and not wanted


def test_a_search_that_did_not_help_is_not_repeated_at_once() -> None:
    repair = Repair(Wanted())
    repair.begin_anew()
    assert "searched" in repair.begin([TOTAL], 0, EVERYBODY)
    assert repair.take_search(1)
    repair.begin_anew()
    assert "searched" in repair.begin([TOTAL], 2, EVERYBODY)
    assert not repair.take_search(SEARCH_AGAIN_S) and repair.needs_search
    assert repair.take_search(1 + SEARCH_AGAIN_S)


def test_who_is_not_in_the_book_is_read_first() -> None:
    wanted = Wanted()
    wanted.doubted |= set(EVERYBODY)
    wanted.missing |= {FIRST, SECOND}
    part = wanted.next_slice()
    assert len(part) == ROWS_PER_HEAD and {FIRST, SECOND} <= part
    wanted.were_read(part)
    assert not wanted.missing and len(wanted.next_slice()) == len(EVERYBODY) + 2 - ROWS_PER_HEAD


def test_what_one_head_had_no_time_for_need_not_wait_for_the_next_and_what_comes_later_does() -> None:
    wanted = Wanted()
    wanted.missing |= set(EVERYBODY)
    found = []
    for _ in range(2):
        wanted.were_read(wanted.next_slice())
        found.append((len(wanted), wanted.is_long))
    assert found == [(len(EVERYBODY) - ROWS_PER_HEAD, True), (0, False)]
    wanted.missing.add(FIRST)
    assert not wanted.is_long


def test_three_in_an_hour_hold_and_three_in_a_day_do_not() -> None:
    often, seldom = Repair(Wanted()), Repair(Wanted())
    for number in range(3):
        often.begin([ROW], 100 * number, EVERYBODY)
        seldom.begin([ROW], HOLD_S * number, EVERYBODY)
        often.done()
        seldom.done()
    often.begin([ROW], 300, EVERYBODY)
    seldom.begin([ROW], 3 * HOLD_S, EVERYBODY)
    assert often.held_until_s(301) == 300 + HOLD_S
    assert often.held_until_s(300 + HOLD_S) is None
    assert seldom.held_until_s(3 * HOLD_S + 1) is None


def test_what_stays_different_is_told_once_and_not_without_bound() -> None:
    repair = Repair(Wanted())
    many = [Difference("debt_scaled", who, 2, 7, 8) for who in EVERYBODY[: 2 * MOST_TOLD]]
    assert repair.news(many) == many[:MOST_TOLD]
    assert repair.news(many) == many[MOST_TOLD:]
    assert repair.news(many) == []
    repair.done()
    assert repair.news(many) == many[:MOST_TOLD]


def log(block_number: int) -> Log:
    return Log(Address(bytes(20)), (), b"", block_number, Hash32(bytes(32)), Hash32(bytes(32)), 0)


def mint(who: Address, reserve_id: int = 2) -> BalanceChange:
    return BalanceChange(who, reserve_id, Side.DEBT, BalanceChange.Kind.MINT, 5, 0, RAY)


def blocks(traces: Traces, who: Address | None, reserve_id: int | None = None) -> list[int]:
    return [each.block_number for each in traces.of(who, reserve_id)]


def test_traces_tell_what_touched_a_row_since_it_was_right() -> None:
    traces = Traces()
    events: list[BookEvent] = [
        mint(FIRST),
        mint(SECOND, 3),
        CollateralFlag(FIRST, 1, enabled=True),
        MarketChanged("Upgraded"),
    ]
    for number, event in enumerate(events, start=10):
        traces.note(log(number), event)
    assert blocks(traces, FIRST) == [10, 12, 13]
    assert blocks(traces, None, 3) == [11, 13]
    traces.was_right(FIRST, 10)
    assert blocks(traces, FIRST) == [12, 13]
    traces.rewind(11)
    assert blocks(traces, FIRST) == []
    assert blocks(traces, SECOND) == [11]
    assert traces.since_block == 10


def test_traces_are_bounded_and_say_from_where_on_they_are_whole() -> None:
    traces = Traces(kept=8)
    for number in range(100):
        traces.note(log(number), mint(FIRST))
    assert blocks(traces, FIRST) == list(range(92, 100))
    assert traces.since_block == 92
    longer = Traces()
    for number in range(100):
        longer.note(log(number), mint(FIRST))
    assert blocks(longer, FIRST) == list(range(100 - TOLD, 100))
