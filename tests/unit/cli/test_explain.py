from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keeper.cli import run_cli
from keeper.cli.overview import overview
from keeper.cli.reading import read_labels
from keeper.cli.render import checksum
from keeper.core import attempt_build, event_build
from keeper.core.errors import RpcTimeout, RpcUnreachable
from keeper.core.intent import Intent, IntentStatus
from keeper.core.order import Answer
from keeper.core.outcome import Reason
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import WAD, Address, Hash32, to_hex
from keeper.store import Store, StoreReader
from tests.unit.cli.telling import NOON, ORDER, TOXIC, UNPROFITABLE, Heads, verified, write_store
from tests.unit.store.facts import (
    ATTEMPT,
    BORROWER,
    CHAIN,
    LIQUIDATOR,
    MARKET,
    OTHER_BORROWER,
    failed_outcome,
    outcome,
    plan,
    prices,
    submission,
)

Explain = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keeper.db"


@pytest.fixture
def explained(path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    def explain(*subject: str) -> str:
        assert run_cli(["explain", *subject, "--store", str(path)]) == 0
        return capsys.readouterr().out

    return explain


def in_order(text: str, *parts: str) -> bool:
    """All parts are there, each after the one before it."""
    position = 0
    for part in parts:
        found = text.find(part, position)
        assert found >= 0, f"{part!r} is not in its place in:\n{text}"
        position = found + len(part)
    return True


def test_a_borrowers_story_is_told_from_first_seen_to_restored(path: Path, explained: Explain) -> None:
    write_store(path)
    assert in_order(
        explained("0x" + "B0" * 20),
        f"{checksum(BORROWER)} on {CHAIN}, market {checksum(MARKET)}",
        "block 98",
        "Seen below 1: health 0.9900.",
        "blocks 98 to 99; then something else held",
        "Not liquidated, unprofitable (profit -0.12): What it would bring does not pay",
        f"block 100, attempt {ATTEMPT}",
        "Decided on 2 calls: health 0.9700 → 1.0500 planned, target 1.0500; it reaches the target (reaches_target).",
        "Call 1: repay 950 USDC�[31m and seize 0.5 WETH, bonus 5.00 %; size: kept below 1",
        "Call 2: repay 120 USDC",
        "size: the least that is enough",
        "Sent 2 transactions, expected profit",
        "nonce 5",
        "Call 2 was mined: 290,000 gas at 1.1 gwei.",
        "Restored. Health 0.9700 before → 1.0500 planned → 1.0500 read back (target 1.0500, +11 wad beyond it).",
        "Repaid 950 USDC",
        "Profit 0.00",
        "Our arithmetic gives the chain's health to the wei.",
        "Now (block 101, judged",
        "not below 1.",
    )


def test_who_still_stands_below_one_is_told_so(path: Path, explained: Explain) -> None:
    write_store(path)
    assert in_order(
        explained("0x" + "b1" * 20),
        "blocks 100 to 101, and still so",
        "Not liquidated, toxic (k is 0.8662): Every call would leave it worse off",
        "with the calls that are allowed every call would make it worse (toxic)",
        "Now (block 101",
        "below 1, health 0.8000; toxic (k is 0.8662): Every call",
    )


def test_an_attempts_story_is_its_own_with_its_transactions(path: Path, explained: Explain) -> None:
    write_store(path)
    asyncio.run(record_intent(path))
    text = explained(ATTEMPT)
    assert in_order(
        text,
        f"Attempt {ATTEMPT}: {checksum(BORROWER)}",
        "Decided on 2 calls",
        "Restored.",
        "(nonce 5): whether a node has it is not known; its nonce is held until that is clear.",
    )
    assert "unprofitable" not in text


async def record_intent(path: Path) -> None:
    async with Store.open(path) as store:
        unknown = IntentStatus.UNKNOWN
        await store.record_intents(
            [Intent(31_337, LIQUIDATOR, 5, Hash32(b"\xe0" * 32), b"\x02", ATTEMPT, BORROWER, 0, 100, unknown)]
        )


def test_a_failure_is_told_with_its_cause(path: Path, explained: Explain) -> None:
    uncertain = submission()
    first = replace(uncertain.transactions[0], answer=Answer.UNKNOWN, detail="no answer within 20 s")
    second = replace(uncertain.transactions[1], answer=Answer.NOT_SENT, transaction_hash=None, nonce=None)
    heads: Heads = {
        100: (
            {BORROWER: ORDER},
            [
                attempt_build.decided(CHAIN, ATTEMPT, plan(), prices()),
                attempt_build.sent(CHAIN, replace(uncertain, transactions=(first, second))),
            ],
        ),
        101: ({BORROWER: TOXIC}, attempt_build.outcome_events(CHAIN, failed_outcome())),
        102: ({}, attempt_build.outcome_events(CHAIN, replace(outcome(), restored=False, health_after_wad=WAD))),
    }
    write_store(path, heads)
    assert in_order(
        explained("0x" + "b0" * 20),
        "Call 1: unknown as 0xe0e0",
        "(no answer within 20 s).",
        "Call 2: not sent.",
        "Call 1 reverted: HealthFactorNotBelowThreshold; 290,000 gas",
        "Not restored. Nothing was mined, so nothing could be read back; health was 0.9700, 1.0500 planned.",
        "the contract refused the first call.",
        "Not restored. Health 0.9700 before → 1.0500 planned → 1.0000 read back (target 1.0500, 0.0500 short of it).",
        "Back at 1 or above without our doing",
        "not below 1.",
    )


def test_whoever_falls_by_the_next_block_only_is_told_so(path: Path, explained: Explain) -> None:
    falling = replace(UNPROFITABLE, health_factor_wad=WAD + 1)
    write_store(path, {100: ({BORROWER: falling}, [])})
    assert in_order(
        explained("0x" + "b0" * 20),
        "Seen to fall below 1 by the next block: health 1.0000 now.",
        "below 1 by the next block, health 1.0000; unprofitable",
    )


def test_a_dry_run_says_that_nothing_was_sent(path: Path, explained: Explain) -> None:
    dry = Standing(ORDERED, "restored in the rehearsal; unchanged since", None, 97 * WAD // 100, ATTEMPT)
    write_store(path, {100: ({BORROWER: dry}, [attempt_build.sent(CHAIN, submission("dry"))])})
    assert in_order(
        explained("0x" + "b0" * 20),
        "Dry run, nothing was sent: 2 transactions would have gone",
        "ordered (restored in the rehearsal; unchanged since)",
    )


def test_without_labels_amounts_are_raw_and_named_so(path: Path, explained: Explain) -> None:
    write_store(path, first=verified(labels=False))
    assert in_order(explained(ATTEMPT), "debt of 15,000,000,000 base units", "repay 950,000,000 raw 0xD1d1d1D1")


def test_of_a_long_story_the_middle_is_left_out(path: Path, explained: Explain) -> None:
    heads: Heads = {
        number: ({BORROWER: replace(UNPROFITABLE, reason=str(list(Reason)[number % 2]))}, []) for number in range(300)
    }
    write_store(path, heads)
    text = explained("0x" + "b0" * 20)
    assert in_order(text, "block 0", "entries left out: `keeper journal --borrower` has them all", "block 299")
    assert len(text.splitlines()) < 160


def test_what_another_version_recorded_is_shown_as_it_is(path: Path, explained: Explain) -> None:
    strange = replace(event_build.seen(CHAIN, MARKET, 100, BORROWER, 5), fields={"mood": "ill\x1b[2J"})
    write_store(path, {100: ({BORROWER: replace(TOXIC, reason="eclipse")}, [strange])})
    assert in_order(explained("0x" + "b0" * 20), 'seen: {"mood": "ill\\u001b[2J"}', "eclipse", "Reason: eclipse.")


@pytest.mark.parametrize(
    "subject, code, message",
    [
        ("0x" + "77" * 20, 1, f"the store knows nothing of {checksum(bytes([0x77] * 20))}"),
        ("5-00000000", 1, "the store knows no attempt 5-00000000"),
        ("0x1234", 2, "not an address"),
        ("whatever", 2, "neither a borrower"),
    ],
)
def test_an_unknown_subject_is_one_line(
    path: Path, capsys: pytest.CaptureFixture[str], subject: str, code: int, message: str
) -> None:
    write_store(path)
    assert run_cli(["explain", subject, "--store", str(path)]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


# -- how things stand ----------------------------------------------------------------------------------------------
def told(path: Path, minutes_later: float = 0) -> str:
    with StoreReader.open(path) as reader:
        labels = read_labels(reader)
        return "\n".join(line.text for line in overview(reader, labels, NOON + timedelta(minutes=minutes_later)))


def at_noon(path: Path, reason: str = "") -> None:
    stands = {BORROWER: replace(TOXIC, reason=reason)} if reason else {}
    write_store(path, {98: (stands, []), 99: (stands, [])}, now=lambda: NOON)


def test_nobody_below_one_is_normal(path: Path) -> None:
    at_noon(path)
    assert in_order(
        told(path, 1),
        "Judged 2 heads without a gap, from block 98 (2026-01-31 12:00:00) to block 99",
        "judged 1 min ago",
        "No borrower is below 1.",
        "In the last 24 hours: nothing.",
        "Normal: there is nothing to do.",
    )


def test_reasons_that_last_are_normal_and_others_worth_a_look(path: Path, tmp_path: Path) -> None:
    at_noon(path, reason=Reason.TOXIC)
    assert in_order(told(path), "1 borrower is below 1:", "1 × toxic: Every call", "Normal: each of them has a reason")
    other = tmp_path / "other.db"
    at_noon(other, reason=Reason.NO_INVENTORY)
    assert in_order(told(other), "1 × no_inventory: The keeper's account", "Worth a look: no_inventory.")
    third = tmp_path / "third.db"
    at_noon(third, reason=ORDERED)
    assert in_order(told(third), "Normal: an order stands")


def test_silence_is_not_normal(path: Path) -> None:
    at_noon(path)
    assert "Not normal, if the keeper should be running: nobody has judged since then." in told(path, 6)


def test_a_refused_market_is_not_normal_until_it_is_verified(path: Path) -> None:
    refused = event_build.market_refused(CHAIN, MARKET, 97, "stable debt")
    write_store(path, {98: ({}, [refused])}, now=lambda: NOON)
    assert in_order(told(path), "The market is refused: stable debt", "Not normal: nothing is done in this market")
    write_store(path, {99: ({}, [])}, now=lambda: NOON)
    assert "Normal: there is nothing to do." in told(path)


def test_a_gap_and_a_crowd_are_told_in_short(path: Path) -> None:
    at_noon(path)
    crowd = {Address(bytes([number]) * 20): TOXIC for number in range(1, 8)}
    write_store(path, {200: (crowd, [])}, now=lambda: NOON)
    assert in_order(
        told(path),
        "Judged 1 head without a gap, from block 200",
        "Before that, up to block 99",
        "7 borrowers are below 1:",
        "7 × toxic",
        "… and 2 more",
        "7 seen",
    )


def test_a_store_without_a_judged_market_says_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(path, {})
    assert run_cli(["explain", "--store", str(path)]) == 1
    assert "no judged market yet" in capsys.readouterr().err


def test_the_command_shows_it(path: Path, explained: Explain) -> None:
    write_store(path)
    assert in_order(explained(), f"{CHAIN}, market {checksum(MARKET)}", checksum(OTHER_BORROWER), "Normal:")


# -- a node that cannot be reached -----------------------------------------------------------------------------------
def test_a_node_that_cannot_be_reached_is_named(path: Path, explained: Explain) -> None:
    gone = event_build.trouble(CHAIN, RpcUnreachable("node.example.org does not answer"))
    write_store(path)
    write_store(path, {}, gone)
    says = f"The node of {CHAIN} cannot be reached since"
    for shown in (explained(), explained(to_hex(BORROWER)), explained(ATTEMPT)):
        assert in_order(shown, says, "node.example.org does not answer: is the node running, and rpc_url right?")


def test_a_node_that_was_judged_by_since_then_is_not(path: Path) -> None:
    at_noon(path)
    write_store(path, {}, event_build.trouble(CHAIN, RpcTimeout("slow")), now=lambda: NOON - timedelta(minutes=1))
    assert "The node" not in told(path)
    write_store(path, {}, event_build.trouble(CHAIN, RpcTimeout("slow")), now=lambda: NOON + timedelta(minutes=1))
    says = (
        f"The node of {CHAIN} is in trouble (RpcTimeout) since 2026-01-31 12:01:00 UTC, slow: is the node overloaded?"
    )
    assert says in told(path)
    assert "Worth a look: the node." in told(path)
    assert "Normal:" not in told(path)


def test_trouble_of_another_kind_is_not_the_nodes(path: Path) -> None:
    at_noon(path)
    write_store(path, {}, event_build.trouble(CHAIN, ValueError("odd")), now=lambda: NOON + timedelta(minutes=1))
    assert "The node" not in told(path)


def test_before_the_first_judged_head_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(path, {}, event_build.trouble(CHAIN, RpcUnreachable("nobody there")))
    assert run_cli(["explain", "--store", str(path)]) == 1
    error = capsys.readouterr().err
    assert "no judged market yet: The node of" in error and "nobody there" in error
    assert error.count("\n") == 1
