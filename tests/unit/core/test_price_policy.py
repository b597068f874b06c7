"""Policies about prices, value by value."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.core.block import CallResult
from keeper.core.outcome import Reason
from keeper.core.price_policy import (
    Action,
    Concern,
    Doubt,
    PricePolicies,
    PricePolicy,
    PriceReading,
    SequencerPolicy,
    price_concerns,
    refusal,
    sequencer_concern,
)
from keeper.core.prices import LATEST_ROUND_DATA, FeedRound, PriceFeeds, decode_round
from keeper.core.units import Address

NOW_S = 1_800_000_000
ETHER, OTHER = Address(b"\x01" * 20), Address(b"\x02" * 20)
STRICT = PricePolicy(Action.REFUSE, max_age_s=100, max_jump_bps=500)
READING = PriceReading(ETHER, "ETHER", 1_000, 1_000, [FeedRound(1_000, NOW_S - 100, NOW_S - 100)])
ROUND = ["uint80", "int256", "uint256", "uint256", "uint80"]


def found(policy: PricePolicy, reading: PriceReading) -> list[Concern]:
    return price_concerns(PricePolicies(policy), [reading], NOW_S)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"previous_base": None},
        {"price_base": None},
        {"price_base": 1_050},
        {"price_base": 950},
        {"rounds": []},
        {"previous_base": 0},
    ],
)
def test_what_is_within_the_limits_or_not_known_is_no_concern(changed: dict[str, object]) -> None:
    assert found(STRICT, replace(READING, **changed)) == []  # type: ignore[arg-type]


def test_no_limit_is_no_concern() -> None:
    old = replace(READING, price_base=1, rounds=[FeedRound(5, 1, 1)], unknown_age="never looked up")
    assert found(PricePolicy(Action.REFUSE), old) == []


@pytest.mark.parametrize(
    "changed, doubt, detail",
    [
        (
            {"rounds": [FeedRound(1, 0, NOW_S), FeedRound(1, 0, NOW_S - 101)]},
            Doubt.STALE,
            "the price of ETHER is 101 s old, the limit is 100 s",
        ),
        (
            {"price_base": 1_051},
            Doubt.JUMP,
            "the price of ETHER moved by 5.10 % since the last head, the limit is 5.00 %",
        ),
        (
            {"price_base": 949},
            Doubt.JUMP,
            "the price of ETHER moved by -5.10 % since the last head, the limit is 5.00 %",
        ),
        ({"price_base": 0}, Doubt.NOT_POSITIVE, "the price of ETHER is 0"),
        (
            {"unknown_age": "its feed does not answer"},
            Doubt.STALE,
            "the age of the price of ETHER is not known: its feed does not answer",
        ),
        ({"rounds": [FeedRound(-3, 0, NOW_S)]}, Doubt.NOT_POSITIVE, "a feed of ETHER answers -3"),
    ],
)
def test_what_is_beyond_a_limit_is_told_with_the_numbers(changed: dict[str, object], doubt: Doubt, detail: str) -> None:
    reading = replace(READING, **changed)  # type: ignore[arg-type]
    assert found(STRICT, reading) == [Concern(doubt, ETHER, detail, Action.REFUSE)]


def test_an_asset_may_have_limits_of_its_own() -> None:
    policies = PricePolicies(STRICT, {ETHER: PricePolicy(max_age_s=1_000)})
    aged = replace(READING, rounds=[FeedRound(1, 0, NOW_S - 500)])
    [concern] = price_concerns(policies, [aged, replace(aged, key=OTHER)], NOW_S)
    assert concern.key == OTHER


@pytest.mark.parametrize(
    "feed_round, detail",
    [
        (FeedRound(0, NOW_S - 61, NOW_S), None),
        (
            FeedRound(0, NOW_S - 60, NOW_S),
            "the sequencer came back 60 s ago, the grace period is 60 s",
        ),
        (FeedRound(1, NOW_S - 30, NOW_S), "the sequencer has been down for 30 s"),
        (FeedRound(0, 0, 0), "the sequencer's uptime feed does not answer"),
        (None, "the sequencer's uptime feed does not answer"),
    ],
)
def test_the_sequencer(feed_round: FeedRound | None, detail: str | None) -> None:
    concern = sequencer_concern(SequencerPolicy(OTHER, 60), feed_round, NOW_S)
    assert (None if concern is None else concern.detail) == detail


def test_only_who_hangs_on_the_price_is_refused_and_only_where_that_is_asked_for() -> None:
    stale = Concern(Doubt.STALE, ETHER, "old", Action.REFUSE)
    skip = refusal([stale], [OTHER, ETHER])
    assert skip is not None and (skip.reason, skip.detail) == (Reason.UNPRICEABLE, "old")
    assert refusal([stale], [OTHER]) is None
    assert refusal([replace(stale, action=Action.WARN)], [ETHER]) is None
    down = Concern(Doubt.SEQUENCER, None, "down", Action.REFUSE)
    everybody = refusal([down], [])
    assert everybody is not None and everybody.reason is Reason.SEQUENCER_SENTINEL


def test_a_round_is_decoded_with_its_sign() -> None:
    assert keccak(text="latestRoundData()")[:4] == LATEST_ROUND_DATA
    returned = encode(ROUND, [1, -5, 7, 8, 1])
    assert decode_round(CallResult(ok=True, returndata=returned)) == FeedRound(-5, 7, 8)
    assert decode_round(CallResult(ok=True, returndata=returned[:-1])) is None
    assert decode_round(CallResult(ok=False, returndata=returned)) is None


def test_a_price_that_nothing_is_known_to_write_to_is_unknown() -> None:
    labels = {ETHER: "ETHER", OTHER: "OTHER"}
    feeds = PriceFeeds({Address(b"\x09" * 20): frozenset({OTHER})}, {}, labels)
    assert feeds.unknown == ("ETHER",)
    assert PriceFeeds({}, {}, labels).unknown == ("ETHER", "OTHER")
