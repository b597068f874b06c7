"""The demo's picture of the keeper's work, from the events that the keeper really records."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.app.demo_record import Amount, maybe_number, number
from keeper.core import attempt_build, event_build
from keeper.core.errors import RpcUnreachable
from keeper.core.units import WAD
from tests.unit.app.demo_facts import (
    AFTER_WAD,
    HEALTHY,
    INCLUSION_BLOCK,
    RESTORED,
    TARGET_WAD,
    TOKENS,
    TOXIC,
    empty_record,
    opening_events,
    outcome,
    sent_record,
    settled_record,
    toxic,
)
from tests.unit.store import facts


def test_a_decision_becomes_an_open_attempt() -> None:
    record = sent_record()
    (attempt,) = record.open_attempts()
    assert (attempt.name, attempt.borrower, attempt.state) == (facts.ATTEMPT, RESTORED, "sent")
    assert (attempt.verdict, attempt.target_wad, attempt.clips) == ("reaches_target", TARGET_WAD, ("below_one", None))
    assert attempt.health_before_wad == 97 * WAD // 100 + 3
    assert attempt.overshoot_wad is None


def test_an_outcome_settles_it_with_amounts_gas_and_overshoot() -> None:
    (attempt,) = settled_record().attempts_of(RESTORED)
    assert (attempt.state, attempt.inclusion_block, attempt.settled) == ("restored", INCLUSION_BLOCK, True)
    assert (attempt.health_after_wad, attempt.overshoot_wad) == (AFTER_WAD, 11)
    assert (attempt.model_error_wad, attempt.amounts_match) == (0, True)
    assert attempt.repaid == [Amount(950_000_000, TOKENS[facts.USDC]), Amount(120_000_000, TOKENS[facts.USDC])]
    assert attempt.received == [Amount(499 * 10**15, TOKENS[facts.WETH]), Amount(625 * 10**14, TOKENS[facts.WETH])]
    assert attempt.gas_wei == 2 * 290_000 * 11 * 10**8
    assert (attempt.received_base, attempt.repaid_base, attempt.gas_base) == (1_123 * 10**8, 1_070 * 10**8, 2 * 10**8)


def test_a_failed_outcome_keeps_its_gas_and_says_why() -> None:
    record = settled_record(facts.failed_outcome())
    (attempt,) = record.attempts_of(RESTORED)
    assert (attempt.state, attempt.health_after_wad, attempt.model_error_wad) == ("not_restored", None, None)
    assert attempt.gas_wei == 290_000 * 11 * 10**8
    assert attempt.detail == "the contract refused the first call"
    assert (attempt.repaid, attempt.received_base) == ([], 0)


def test_who_was_ever_below_one_in_the_order_of_the_names() -> None:
    record = empty_record()
    record.hear(event_build.seen(facts.CHAIN, facts.MARKET, 100, HEALTHY, None))
    record.judge(100, {TOXIC: toxic()})
    assert record.sick() == [TOXIC, HEALTHY]
    assert record.first_health_wad == {HEALTHY: None, TOXIC: 7 * WAD // 10}


def test_a_reason_stays_known_after_the_borrower_recovered_and_an_order_is_no_reason() -> None:
    record = sent_record()
    record.judge(101, {})
    assert record.reasons == {TOXIC: toxic()}
    assert record.standings == {}


def test_verification_and_trouble_are_kept() -> None:
    record = sent_record()
    record.hear(event_build.trouble(facts.CHAIN, RpcUnreachable("gone"), block_number=7))
    record.hear(event_build.alert(facts.CHAIN, "model_error", "differs", block_number=8))
    assert (record.verified, record.checked_borrowers) == ("Aave v3.6", 50)
    assert record.troubles == ["block 7: RpcUnreachable gone", "block 8: differs"]


def test_a_refused_market_is_refused_until_it_is_verified_again() -> None:
    record = sent_record()
    record.hear(event_build.market_refused(facts.CHAIN, facts.MARKET, 9, "no known rules"))
    assert record.refused == "no known rules"
    record.hear(opening_events()[0])
    assert record.refused is None


def test_a_disagreement_is_heard() -> None:
    record = settled_record(replace(outcome(), model_error_wad=5, amounts_match=False))
    (attempt,) = record.attempts_of(RESTORED)
    assert (attempt.model_error_wad, attempt.amounts_match) == (5, False)
    assert "differs by 5 wad" in record.troubles[0]


def test_events_of_no_interest_change_nothing() -> None:
    record = sent_record()
    before = (dict(record.attempts), dict(record.standings), list(record.troubles))
    record.hear(event_build.stopped(facts.CHAIN, "asked to stop"))
    assert (record.attempts, record.standings, record.troubles) == before


def test_numbers_are_read_as_the_journal_writes_them() -> None:
    assert number({"a": 5, "b": "12"}, "a") == 5
    assert number({"a": 5, "b": "12"}, "b") == 12
    assert maybe_number({"a": None}, "a") is None
    with pytest.raises(ValueError, match="a is missing"):
        number({"a": None}, "a")
    with pytest.raises(TypeError, match="a is no number"):
        number({"a": True}, "a")


def test_every_event_of_an_attempt_belongs_to_a_known_one() -> None:
    with pytest.raises(KeyError):
        empty_record().hear(attempt_build.sent(facts.CHAIN, facts.submission()))
