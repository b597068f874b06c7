"""Limits, one by one: at the limit an order goes, one unit above it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.ledger import CallValue, Stake, Swapped
from keeper.core.outcome import Reason, Skip
from keeper.core.rails import (
    REASON_S,
    REORG_S,
    Limit,
    Limits,
    Spent,
    Trip,
    counted,
    judge,
    judge_prices,
    shown,
    spent_by,
    tripped,
)
from keeper.core.spending import Lift, OnItsWay, Settled
from keeper.core.units import WAD, Address

SIGNER = Address(b"\x01" * 20)
KINDS = ("gas", "notional", "loss")
UNITS = {"gas": "gas_wei", "notional": "notional_wad", "loss": "loss_wad"}


def stake(kind: str, amount: int) -> Stake:
    return replace(Stake(0, 0, 0), **{UNITS[kind]: amount})


def limits(kind: str, limit: Limit) -> Limits:
    return {
        "gas": Limits(gas_wei=limit),
        "notional": Limits(notional_wad=limit),
        "loss": Limits(loss_wad=limit),
    }[kind]


def mined(number: int, *, succeeded: bool = True, at_s: int = 10_000, cost_wei: int = 5) -> Settled:
    return Settled(number, 1, SIGNER, at_s, succeeded, cost_wei, None, Stake(10, 100, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_per_transaction(kind: str) -> None:
    allowed = limits(kind, Limit(per_transaction=10))
    assert judge(Spent(), allowed, [stake(kind, 10), stake(kind, 10)]) is None, "each is a transaction of its own"
    answer = judge(Spent(), allowed, [stake(kind, 1), stake(kind, 11)])
    assert isinstance(answer, Skip)
    assert answer.reason is Reason.OVER_LIMIT
    assert answer.detail.startswith(f"{kind} of up to")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", ["hour", "day"])
def test_per_hour_and_day(kind: str, span: str) -> None:
    allowed = limits(kind, Limit(**{f"per_{span}": 10}))
    used = stake(kind, 6)
    spent = Spent(hour=used) if span == "hour" else Spent(day=used)
    assert judge(spent, allowed, [stake(kind, 4)]) is None
    answer = judge(spent, allowed, [stake(kind, 2), stake(kind, 3)])
    assert isinstance(answer, Trip)
    assert answer.rail == kind
    assert f"in the last {span}" in answer.detail
    waiting = spent.plus(stake(kind, 1))
    assert judge(waiting, allowed, [stake(kind, 3)]) is None
    held = judge(waiting, allowed, [stake(kind, 4)])
    assert isinstance(held, Skip)
    assert held.reason is Reason.RESERVED, "its end may leave more room"
    alone = judge(spent, allowed, [stake(kind, 11)])
    assert isinstance(alone, Skip)
    assert alone.reason is Reason.OVER_LIMIT, "no waiting helps it: the others go on"


def test_no_limit_is_no_bound() -> None:
    assert judge(Spent().plus(Stake(10**30, 10**40, 10**40)), Limits(), [Stake(10**30, 10**40, 10**40)]) is None


def test_the_hour_and_the_day_end() -> None:
    now_s = 100_000
    rows = [
        mined(1, at_s=now_s - 86_400),
        mined(2, at_s=now_s - 86_399),
        mined(3, at_s=now_s - 3_600),
        mined(4, at_s=now_s),
    ]
    spent = spent_by(rows, [], [], now_s)
    assert (spent.hour.gas_wei, spent.day.gas_wei) == (5, 15)


def test_a_mined_transaction_counts_as_it_was_and_at_worst_where_that_is_not_known() -> None:
    one = mined(1, cost_wei=7)
    assert counted(one) == Stake(7, 100, 20)
    assert counted(replace(one, succeeded=False)) == Stake(7, 0, 20), "it repaid nothing"
    earned = CallValue(received_base=300, repaid_base=200, native_price_base=2 * WAD, base_unit=WAD)
    assert counted(replace(one, value=earned)) == Stake(7, 200, 0)
    lost = replace(earned, received_base=210)
    assert counted(replace(one, value=lost)) == Stake(7, 200, 4), "10 earned, 14 for gas"
    assert counted(replace(one, stake=None)) == Stake(7, 0, 0), "an older keeper did not say"


def test_what_a_reorg_may_put_back_leaves_no_room_for_others() -> None:
    """Mined it cost 5 of 10; in another block it may cost all of it."""
    allowed, mined_s = Limits(gas_wei=Limit(per_hour=20)), 10_000
    fresh, later = (spent_by([mined(1)], [], [], mined_s + after_s) for after_s in (REORG_S - 1, REORG_S))
    assert (fresh.hour, fresh.on_its_way) == (later.hour, Stake(5, 0, 0))
    assert later.on_its_way == Stake(0, 0, 0)
    held = judge(fresh, allowed, [Stake(11, 0, 0)])
    assert isinstance(held, Skip) and held.reason is Reason.RESERVED
    assert judge(fresh, allowed, [Stake(10, 0, 0)]) is None
    assert judge(later, allowed, [Stake(15, 0, 0)]) is None
    back = spent_by([], [OnItsWay(1, SIGNER, 1, "a", Stake(10, 100, 20))], [], mined_s)
    assert back.on_its_way.gas_wei == fresh.hour.gas_wei + fresh.on_its_way.gas_wei
    reverted = spent_by([replace(mined(1, succeeded=False), lost_race=True)], [], [], mined_s)
    assert reverted.on_its_way == Stake(5, 100, 0), "there it may succeed"


def test_of_two_with_one_nonce_the_worse_counts() -> None:
    waiting = [
        OnItsWay(1, SIGNER, 3, "a", Stake(5, 100, 1)),
        OnItsWay(1, SIGNER, 3, "cancel", Stake(6, 0, 0)),
        OnItsWay(1, SIGNER, 4, "b", Stake(1, 1, 1)),
        OnItsWay(2, SIGNER, 4, "c", Stake(1, 1, 1)),
    ]
    assert spent_by([], waiting, [], 0).on_its_way == Stake(8, 102, 3)


def test_reverts_in_a_row_end_with_a_success_or_a_lift() -> None:
    allowed = Limits(reverts_in_a_row=2)
    failed = [mined(number, succeeded=False) for number in (1, 2)]
    assert tripped(spent_by(failed[:1], [], [], 10_000), allowed) is None
    trip = tripped(spent_by(failed, [], [], 10_000), allowed)
    assert trip == Trip("reverts_in_a_row", "the last 2 transactions reverted")
    assert judge(spent_by(failed, [], [], 10_000), allowed, [Stake(0, 0, 0)]) == trip
    assert tripped(spent_by([*failed, mined(3)], [], [], 10_000), allowed) is None
    assert tripped(spent_by(failed, [], [Lift(1, SIGNER, 2)], 10_000), allowed) is None
    assert tripped(spent_by(failed, [], [Lift(None, None, 1)], 10_000), allowed) is None
    assert tripped(spent_by(failed, [], [Lift(2, None, 2)], 10_000), allowed) == trip, "another chain's"
    again = [*failed, mined(3, succeeded=False), mined(4, succeeded=False)]
    assert tripped(spent_by(again, [], [Lift(1, SIGNER, 2)], 10_000), allowed) == trip


def test_the_share_of_reverts_counts_once_there_are_enough() -> None:
    allowed = Limits(revert_rate_bps=5_000, revert_rate_least=4)
    rows = [mined(1, succeeded=False), mined(2), mined(3, succeeded=False)]
    assert tripped(spent_by(rows, [], [], 10_000), allowed) is None
    assert tripped(spent_by([*rows, mined(4), mined(5)], [], [], 10_000), allowed) is None, "two of five"
    trip = tripped(spent_by([*rows, mined(4)], [], [], 10_000), allowed)
    assert trip == Trip("revert_rate", "2 of the 4 transactions of the last hour reverted")
    assert tripped(spent_by([*rows, mined(4)], [], [], 10_000 + 3_600), allowed) is None, "an hour ago"


def test_lost_races_count_by_their_gas_and_not_by_their_number() -> None:
    allowed = Limits(gas_wei=Limit(per_hour=60), reverts_in_a_row=2, revert_rate_bps=5_000, revert_rate_least=2)
    lost = [replace(mined(number, succeeded=False), lost_race=True) for number in range(10)]
    assert tripped(spent_by(lost, [], [], 10_000), allowed) is None
    answer = judge(spent_by(lost, [], [], 10_000), allowed, [Stake(11, 0, 0)])
    assert isinstance(answer, Trip) and answer.rail == "gas", "whoever makes us lose race after race gets no further"
    ours = [mined(20, succeeded=False), *lost, mined(21, succeeded=False)]
    trip = tripped(spent_by(ours, [], [], 10_000), allowed)
    assert trip == Trip("reverts_in_a_row", "the last 2 transactions reverted"), "nor do they hide errors of our own"
    rate = Limits(revert_rate_bps=5_000, revert_rate_least=2)
    assert tripped(spent_by([mined(1), *ours], [], [], 10_000), rate) is not None
    assert tripped(spent_by([mined(1), mined(2), *ours[:-1]], [], [], 10_000), rate) is None, "one of three"


def test_a_revert_whose_reason_is_still_being_read_waits_but_not_for_ever() -> None:
    allowed = Limits(reverts_in_a_row=1)
    unread = replace(mined(1, succeeded=False, at_s=10_000), lost_race=None)
    assert tripped(spent_by([unread], [], [], 10_000 + REASON_S - 1), allowed) is None
    assert tripped(spent_by([unread], [], [], 10_000 + REASON_S), allowed) is not None


def test_amounts_are_shown_with_every_digit() -> None:
    assert [shown(each) for each in (0, 1, WAD, 15 * WAD // 10, 10**21)] == [
        "0",
        "0.000000000000000001",
        "1",
        "1.5",
        "1000",
    ]


def test_a_venue_too_far_from_the_oracle_is_doubted_either_way() -> None:
    allowed = Limits(price_deviation_bps=500)
    assert judge_prices([], allowed) is None
    assert judge_prices([Swapped(1_000, 950), Swapped(1_000, 1_050)], allowed) is None
    assert judge_prices([Swapped(1_000, 1)], Limits()) is None
    for bought_base in (949, 1_051):
        answer = judge_prices([Swapped(1_000, 1_000), Swapped(1_000, bought_base)], allowed)
        assert answer is not None
        assert answer.reason is Reason.OVER_LIMIT
        assert f"gives {bought_base} base for what is worth 1000" in answer.detail
