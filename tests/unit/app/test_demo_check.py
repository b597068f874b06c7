"""The demo's verdict: what the chain and the journal say, whatever the keeper claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keeper.app.demo_check import CASES, Account, cases, problems, reasons_on_file, shortfalls
from keeper.core.outcome import Reason
from keeper.core.plan import Clip
from keeper.core.units import WAD
from keeper.store import Store
from tests.unit.app.demo_facts import (
    AFTER_WAD,
    FINAL_BLOCK,
    HEALTHY,
    RESTORED,
    TARGET_WAD,
    TOXIC,
    USD,
    openings,
    ordered,
    outcome,
    readings,
    sent_record,
    settled_record,
    toxic,
)
from tests.unit.store import facts

ON_FILE = {TOXIC: "toxic"}


def test_a_demo_as_it_must_be_has_no_problems() -> None:
    assert problems(settled_record(), readings(), ON_FILE) == []


def test_a_plan_that_promised_its_target_must_be_read_back_at_it() -> None:
    just_missed = replace(outcome(), health_after_wad=TARGET_WAD - 1)
    (problem,) = problems(settled_record(just_missed), readings(TARGET_WAD - 1), ON_FILE)
    assert "sequence 0xb0b0" in problem
    assert "misses its target by 1 wad in block 101" in problem
    assert (
        problems(settled_record(replace(outcome(), health_after_wad=TARGET_WAD)), readings(TARGET_WAD), ON_FILE) == []
    )


def test_the_keepers_claim_does_not_count() -> None:
    found = problems(settled_record(), readings(TARGET_WAD - 5), ON_FILE)
    assert any("misses its target by 5 wad" in problem for problem in found)
    assert any(f"the keeper says health {AFTER_WAD}, the chain {TARGET_WAD - 5}" in problem for problem in found)


def test_an_attempt_without_an_inclusion_is_named() -> None:
    chain = replace(readings(), after={})
    (problem,) = problems(settled_record(), chain, ON_FILE)
    assert problem.endswith("was never included")
    (problem,) = problems(sent_record(), chain, ON_FILE)
    assert problem.endswith("was never included")


def test_a_model_error_or_other_amounts_are_named() -> None:
    wrong = replace(outcome(), model_error_wad=-3, amounts_match=False)
    found = problems(settled_record(wrong), readings(), ON_FILE)
    assert any("a model error of -3 wad" in problem for problem in found)
    assert any("amounts on the chain" in problem for problem in found)


def test_an_unmeasured_model_error_is_a_problem_too() -> None:
    (problem,) = problems(settled_record(replace(outcome(), model_error_wad=None)), readings(), ON_FILE)
    assert "a model error of None wad" in problem


def test_whoever_is_below_one_on_the_chain_needs_a_reason_of_the_closed_list_on_file() -> None:
    for on_file in ({}, {TOXIC: "ordered"}, {TOXIC: "no such reason"}):
        (problem,) = problems(settled_record(), readings(), on_file)
        assert problem.startswith("toxic 0xb1b1")
        assert "below 1 in block 102 without a reason" in problem


def test_somebody_the_keeper_never_saw_is_named() -> None:
    sick = Account(100 * USD, 90 * USD, WAD - 1)
    chain = readings()
    chain = replace(chain, crash={**chain.crash, HEALTHY: sick})
    (problem,) = problems(settled_record(), chain, ON_FILE)
    assert problem.startswith("long 0xb2b2")
    assert "the keeper never judged it" in problem


def test_the_cases_are_told_by_journal_and_chain() -> None:
    record = settled_record()
    record.attempts[facts.ATTEMPT].clips = (Clip.CLOSE_FACTOR, Clip.DUST_JUMP)
    shown = cases(record, readings(), ON_FILE, openings())
    assert shown == {
        "e-mode": [RESTORED],
        "dust gap": [RESTORED],
        "close factor": [RESTORED],
        "sequence": [RESTORED],
        "toxic": [TOXIC],
        "bad debt": [],
    }
    insolvent = cases(record, readings(toxic_collateral_base=999 * USD), ON_FILE, openings())
    assert (insolvent["toxic"], insolvent["bad debt"]) == ([], [TOXIC])
    skipped = cases(record, readings(), {TOXIC: Reason.DUST_GAP.value}, openings())
    assert skipped["dust gap"] == [RESTORED, TOXIC]


def test_what_was_not_shown_is_named() -> None:
    found = shortfalls(settled_record(), readings(), ON_FILE, openings())
    assert "nobody showed the case 'dust gap'" in found
    assert "nobody showed the case 'sequence'" not in found
    assert "only 2 borrowers went below 1; the demo shows at least 20" in found
    assert "only 3 borrowers; the demo has at least 200" in found
    assert len(found) == 2 + len(CASES) - 3


async def test_reasons_come_from_the_store_and_hold_at_the_block_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "keeper.db"
    async with Store.open(path) as store:
        await store.record_standing(facts.CHAIN, facts.MARKET, 100, {TOXIC: toxic(), RESTORED: ordered()})
        await store.record_standing(facts.CHAIN, facts.MARKET, FINAL_BLOCK, {TOXIC: toxic()})
    assert reasons_on_file(path, FINAL_BLOCK) == {TOXIC: "toxic"}
    assert reasons_on_file(path, FINAL_BLOCK + 1) == {}
    assert reasons_on_file(path, 99) == {}
