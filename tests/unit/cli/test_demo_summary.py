"""The summary's rows, totals and verdict, from values."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from keeper.app.demo_record import Amount, Token
from keeper.cli.demo_summary import Totals, amounts_text, overshoot_text, rows, summary, totals
from keeper.core.outcome import Verdict
from keeper.core.plan import Clip
from keeper.core.units import NO_DEBT_HEALTH_WAD, WAD
from tests.unit.app.demo_facts import (
    RESTORED,
    RESTORED_NAME,
    TARGET_WAD,
    TOXIC,
    TOXIC_NAME,
    USD,
    empty_record,
    outcome,
    result,
    settled_record,
    toxic,
)
from tests.unit.store import facts


def drawn(*, found: tuple[str, ...] = (), width: int = 160) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(summary(result(found=found)))
    return capture.get()


def test_a_restored_borrower_in_one_row() -> None:
    row, _ = rows(result())
    assert (row.borrower, row.before, row.planned, row.after) == (RESTORED_NAME, "0.9700", "1.0500", "1.0500")
    assert (row.target, row.overshoot) == ("1.0500", "+11 wad")
    assert (row.repaid, row.seized, row.calls, row.model_error) == ("1,070 USDC", "0.5615 WETH", "2", "0")
    assert (row.remark, row.style) == ("held below 1", "green")


def test_after_is_what_the_chain_answers_not_what_the_keeper_says() -> None:
    row, _ = rows(result(after_wad=TARGET_WAD - 1))
    assert (row.after, row.overshoot, row.style) == ("1.0499", "-1 wad", "red")


def test_somebody_left_alone_has_the_reason_in_its_row() -> None:
    _, row = rows(result())
    assert (row.borrower, row.before, row.after, row.remark) == (TOXIC_NAME, "0.7000", "0.7000", "toxic")
    assert (row.repaid, row.calls, row.style) == ("", "", "yellow")
    record = settled_record()
    record.reasons[TOXIC] = replace(toxic(), verdict=Verdict.BAD_DEBT)
    assert rows(result(record))[1].remark == "toxic (bad debt)"


def test_somebody_without_a_reason_is_red() -> None:
    record = empty_record()
    record.first_health_wad[TOXIC] = WAD - 1
    (row,) = rows(result(record))
    assert (row.before, row.remark, row.style) == ("0.9999", "no reason", "red")


def test_a_failed_attempt_and_its_successor_share_a_row() -> None:
    record = settled_record(facts.failed_outcome())
    (failed,) = record.attempts.values()
    (second,) = settled_record().attempts.values()
    second.name, second.verdict, second.clips = "again", Verdict.REACHES_SAFETY, (Clip.DEBT, Clip.DUST_JUMP)
    record.attempts["again"] = second
    row = rows(result(record))[0]
    assert (row.calls, row.repaid) == ("2", "1,070 USDC")
    assert row.remark == "reaches safety; all of a debt; dust jump; attempt 2"
    assert totals([failed, second]).restored == 1


def test_totals_count_every_attempts_gas() -> None:
    record = settled_record()
    assert totals(record.attempts.values()) == Totals(
        restored=1,
        repaid_base=1_070 * USD,
        received_base=1_123 * USD,
        gas_base=2 * USD,
        gas_wei=2 * 290_000 * 11 * 10**8,
    )
    assert totals(record.attempts.values()).net_base == 51 * USD
    assert totals([]) == Totals(0, 0, 0, 0, 0)


def test_overshoot_in_words() -> None:
    assert overshoot_text(None, TARGET_WAD) == "unknown"
    assert overshoot_text(NO_DEBT_HEALTH_WAD, TARGET_WAD) == "debt free"
    assert overshoot_text(TARGET_WAD, TARGET_WAD) == "0.0000000000"
    assert overshoot_text(TARGET_WAD + 10**16, TARGET_WAD) == "+0.0100000000"


def test_amounts_of_one_token_are_added_and_of_two_are_listed() -> None:
    weth, usdc = Token("WETH", 18), Token("USDC", 6)
    assert amounts_text([Amount(10**18, weth), Amount(5 * 10**17, weth)]) == "1.5 WETH"
    assert amounts_text([Amount(10**18, weth), Amount(2_500_000, usdc)]) == "1 WETH\n2.5 USDC"
    assert amounts_text([]) == ""


def test_the_summary_says_what_was_shown_earned_and_proven() -> None:
    text = " ".join(drawn().split())
    for part in (
        f"shown: {RESTORED_NAME} · {TOXIC_NAME}",
        "repaid $1,070.00 · received $1,123.00 · gas $2.00 (0.00063 ETH) · net profit $51.00",
        "2 of 3 borrowers fell below 1. Plans that promised their target: 1, all read back at or above it",
        "Still below 1: 1, each with its reason",
        "left alone, toxic: Every call would leave it worse off",
        "held below 1: kept below 1",
    ):
        assert part in text


def test_the_summary_begins_with_the_prices_after_the_crash() -> None:
    record = settled_record()
    record.start_prices = {"USDC": USD, "WETH": 3_200 * USD}
    record.prices = {"USDC": USD, "WETH": 2_816 * USD}
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(summary(result(record)))
    assert capture.get().startswith("after the crash: WETH 2,816.00 -12.0 %")


def test_trouble_on_the_way_is_told() -> None:
    record = settled_record()
    record.troubles.append("block 7: RpcTimeout no answer")
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(summary(result(record)))
    assert "on the way: block 7: RpcTimeout no answer" in capture.get()


def test_problems_replace_the_praise() -> None:
    text = drawn(found=("long 0xb2 misses its target",))
    assert "FAILED. Not as it must be: 1" in text
    assert "long 0xb2 misses its target" in text
    assert "read back at or above it" not in text


def test_the_restored_borrower_is_the_one_of_the_facts() -> None:
    assert result().record.attempts[facts.ATTEMPT].borrower == RESTORED == outcome().borrower


def test_a_narrow_terminal_cuts_no_figure_but_leaves_columns_out_and_says_so() -> None:
    whole, narrow = drawn(), drawn(width=80)
    assert "…" not in narrow.replace(RESTORED_NAME, "").replace(TOXIC_NAME, "")
    assert "0.9700   1.0500  1.0500  1.0500" in narrow
    assert "also overshoot, amounts" in narrow
    assert "1,070 USDC" in whole
    assert "also overshoot, amounts" not in whole
