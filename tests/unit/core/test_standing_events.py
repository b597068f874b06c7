from __future__ import annotations

from dataclasses import replace

from keeper.core.event_build import standing_events
from keeper.core.events import Event, Kind
from keeper.core.outcome import Reason, Verdict
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address

CHAIN = "testchain"
MARKET = Address(b"\xa0" * 20)
BORROWER = Address(b"\xb0" * 20)
TOXIC = Standing(Reason.TOXIC, "k is 0.99", Verdict.TOXIC, 9)
ORDER = Standing(ORDERED, "sent", Verdict.REACHES_TARGET, 9, "7-b0b0b0b0")


def between(previous: Standing | None, current: Standing | None) -> list[Event]:
    before = {BORROWER: previous} if previous is not None else {}
    now = {BORROWER: current} if current is not None else {}
    return standing_events(CHAIN, MARKET, 7, before, now)


def kinds(previous: Standing | None, current: Standing | None) -> list[Kind]:
    return [event.kind for event in between(previous, current)]


def test_a_borrower_is_seen_once_and_refused_once() -> None:
    assert kinds(None, TOXIC) == [Kind.SEEN, Kind.REFUSED]
    assert kinds(TOXIC, replace(TOXIC, detail="k is 0.98", health_factor_wad=8)) == []


def test_another_reason_is_another_refusal() -> None:
    assert kinds(TOXIC, replace(TOXIC, reason=Reason.UNPROFITABLE)) == [Kind.REFUSED]
    assert kinds(TOXIC, replace(TOXIC, verdict=Verdict.IMPROVES)) == [Kind.REFUSED]


def test_another_simulated_error_is_another_refusal() -> None:
    reverted = Standing(Reason.SIMULATION_REVERTED, "ReservePaused()", None, 9)
    assert kinds(reverted, replace(reverted, detail="ReserveInactive()")) == [Kind.REFUSED]
    assert kinds(reverted, replace(reverted, health_factor_wad=8)) == []


def test_an_error_whose_numbers_change_with_each_block_is_the_same_refusal() -> None:
    reverted = Standing(Reason.SIMULATION_REVERTED, "MustNotLeaveDust(1999, 0x0a)", None, 9)
    assert kinds(reverted, replace(reverted, detail="MustNotLeaveDust(2001, 0xff0b)")) == []
    assert kinds(reverted, replace(reverted, detail="MustNotLeave(2001, 0xff0b)")) == [Kind.REFUSED]


def test_an_order_is_no_refusal() -> None:
    assert kinds(None, ORDER) == [Kind.SEEN]
    assert kinds(TOXIC, ORDER) == []
    assert kinds(ORDER, TOXIC) == [Kind.REFUSED]


def test_whoever_leaves_with_an_attempt_under_way_has_its_outcome() -> None:
    assert kinds(ORDER, None) == []


def test_what_was_only_rehearsed_or_never_judged_to_the_end_brought_nobody_back() -> None:
    (event,) = standing_events(CHAIN, MARKET, 7, {BORROWER: ORDER}, {}, rehearsed=True)
    assert (event.kind, event.fields["last_reason"]) == (Kind.RECOVERED, ORDERED)
    assert kinds(Standing(ORDERED, "being judged", None, 9), None) == [Kind.RECOVERED]


def test_whoever_leaves_without_an_order_recovered() -> None:
    (event,) = between(TOXIC, None)
    assert event.kind is Kind.RECOVERED
    assert event.fields == {"last_reason": "toxic", "last_health_factor_wad": 9}


def test_what_became_of_an_order_is_told_by_its_outcome() -> None:
    assert kinds(ORDER, None) == []
