"""docs/JOURNAL.md and the code agree: every kind, every field, every type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.core import attempt_build, event_build
from keeper.core.differences import Difference, LoggedChange, Mismatch
from keeper.core.errors import RpcTimeout
from keeper.core.events import MONEY_SUFFIXES, Event, Kind, Severity
from keeper.core.intent import IntentStatus
from keeper.core.order import FeeQuote
from keeper.core.outcome import Reason, Verdict
from keeper.core.pauses import EVERYBODY, KILL_FILE, Pause, Scope, StandingPause
from keeper.core.plan import Clip
from keeper.core.standing import Standing
from keeper.store.encoding import event_row
from keeper.store.reader import JournalRow
from tests.unit.store.facts import (
    ATTEMPT,
    BORROWER,
    CHAIN,
    LIQUIDATOR,
    MARKET,
    OTHER_BORROWER,
    WETH,
    block,
    failed_outcome,
    outcome,
    plan,
    prices,
    standing,
    submission,
)

DOCS = Path(__file__).parents[3] / "docs" / "JOURNAL.md"
PAUSED = StandingPause(1, Pause(Scope(1, LIQUIDATOR), "gas", "too much", 9), "2026-01-01T00:00:00.000Z")
TYPES = {"text", "number", "decimal", "bool", "address", "hash", "list", "list of address"}

EVENTS: Sequence[Event] = (
    event_build.started(CHAIN, version="0.1.0", mode="live", chain_id=1, signers=[LIQUIDATOR, WETH], markets=[MARKET]),
    event_build.started(CHAIN, version="0.1.0", mode="dry", chain_id=1, signers=[LIQUIDATOR], markets=[]),
    event_build.stopped(CHAIN, "asked to"),
    event_build.endpoint(
        CHAIN, 9, "http://a", archive=False, state_depth_blocks=128, batches=True, simulates=False, detail="one by one"
    ),
    event_build.endpoint(
        CHAIN, 9, "http://b", archive=None, state_depth_blocks=None, batches=None, simulates=None, detail="not reached"
    ),
    event_build.caught_up(CHAIN, MARKET, block(9), 500, "snapshot"),
    event_build.paused(CHAIN, 9, PAUSED),
    event_build.paused(CHAIN, 9, replace(PAUSED, pause=Pause(EVERYBODY, KILL_FILE, "it exists"), since="")),
    event_build.resumed(CHAIN, 9, PAUSED),
    event_build.resumed(CHAIN, 9, replace(PAUSED, pause=Pause(EVERYBODY, KILL_FILE, "it exists"), since="")),
    event_build.reorg(CHAIN, block(9), block(8), 7),
    event_build.reorg(CHAIN, block(9), block(8), None),
    event_build.market_verified(
        CHAIN,
        MARKET,
        9,
        protocol="aave_v3",
        revision="3.6",
        checked_borrowers=12,
        base_decimals=8,
        assets=[event_build.AssetLabel(WETH, "WETH", 18)],
    ),
    event_build.market_verified(CHAIN, MARKET, 9, protocol="aave_v3", revision="3.6", checked_borrowers=12),
    event_build.market_refused(CHAIN, MARKET, 9, "stable debt"),
    event_build.market_changed(CHAIN, MARKET, 9, "ReserveInitialized"),
    event_build.mismatch(
        CHAIN,
        MARKET,
        Mismatch(
            Difference("debt_scaled", BORROWER, 2, 41, 42),
            block(9),
            (LoggedChange(8, block(8).hash, 3, "mint debt"),),
            7,
            "its row is read again",
            1_700_000_000,
        ),
    ),
    event_build.mismatch(
        CHAIN,
        MARKET,
        Mismatch(Difference("health_factor_wad", BORROWER, None, 41, None), block(9), (), None, "none", None),
    ),
    event_build.mismatch(
        CHAIN, MARKET, Mismatch(Difference("total_debt_scaled", None, 2, None, 42), block(9), (), 7, "none", None)
    ),
    event_build.audit_blind(CHAIN, MARKET, RpcTimeout("no answer")),
    event_build.alert(CHAIN, "balance", "low"),
    event_build.trouble(CHAIN, RpcTimeout("no answer")),
    event_build.seen(CHAIN, MARKET, 9, BORROWER, 10**18, 1_700_000_000),
    *event_build.standing_events(
        CHAIN,
        MARKET,
        9,
        {OTHER_BORROWER: standing(), LIQUIDATOR: replace(standing(), health_factor_wad=None)},
        {
            BORROWER: standing(),
            WETH: Standing("unpriceable", "", Verdict.IMPROVES, None),
        },
    ),
    attempt_build.decided(CHAIN, ATTEMPT, plan(), prices()),
    attempt_build.sent(CHAIN, submission()),
    attempt_build.sent(CHAIN, submission("dry")),
    attempt_build.replaced(
        CHAIN,
        9,
        BORROWER,
        ATTEMPT,
        signer=LIQUIDATOR,
        nonce=7,
        remedy="cancel",
        why="not mined since block 3",
        replaced_hash=block(3).hash,
        transaction_hash=block(4).hash,
        fees=FeeQuote(1, 2, 3),
        answer="accepted",
        detail="",
    ),
    attempt_build.replaced(
        CHAIN,
        9,
        None,
        None,
        signer=LIQUIDATOR,
        nonce=7,
        remedy="cancel",
        why="others wait above it",
        replaced_hash=None,
        transaction_hash=None,
        fees=None,
        answer="refused",
        detail="the cap",
    ),
    *attempt_build.outcome_events(CHAIN, outcome()),
    *attempt_build.outcome_events(CHAIN, failed_outcome()),
    *attempt_build.outcome_events(CHAIN, replace(outcome(), restored=False, model_error_wad=-1, amounts_match=False)),
    *attempt_build.outcome_events(
        CHAIN,
        replace(failed_outcome(), mined=(replace(failed_outcome().mined[0], revert=None),)),
    ),
)


def documented() -> dict[str, dict[str, str]]:
    """Kind → field → type, from the tables of the page; `not_restored` says it is like `restored`."""
    kinds: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"### `(\w+)`", line):
            fields = kinds[heading[1]] = {}
        elif kinds and (row := re.match(r"\| `([\w.\[\]]+)` \| ([^|]+) \|", line)):
            fields[row[1]] = row[2].strip()
    assert kinds["not_restored"] == {}
    kinds["not_restored"] = kinds["restored"]
    return kinds


def flattened(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in fields.items():
        yield prefix + name, item
        for element in item if isinstance(item, list) else ():
            if isinstance(element, dict):
                yield from flattened(element, f"{prefix}{name}[].")


def type_of(name: str, item: Any) -> str:
    if isinstance(item, bool):
        return "bool"
    if isinstance(item, int):
        return "number"
    if isinstance(item, list):
        return "list of address" if name in ("markets", "signers") else "list"
    assert isinstance(item, str)
    if name.endswith(MONEY_SUFFIXES):
        assert re.fullmatch(r"-?\d+", item), name
        return "decimal"
    if re.fullmatch(r"0x[0-9a-f]{40}", item):
        return "address"
    return "hash" if re.fullmatch(r"0x[0-9a-f]{64}", item) else "text"


def test_every_kind_is_documented_and_built() -> None:
    kinds = {kind.value for kind in Kind}
    assert set(documented()) == kinds
    assert {event.kind.value for event in EVENTS} == kinds


@pytest.mark.parametrize("kind", list(Kind))
def test_every_field_and_its_types_are_documented(kind: Kind) -> None:
    told = documented()[kind.value]
    found: dict[str, set[str]] = {}
    measured = {Kind.RESTORED, Kind.NOT_RESTORED}
    alike = measured if kind in measured else {kind}
    for event in EVENTS:
        if event.kind in alike:
            fields = json.loads(event_row(event, "now")["fields"])
            assert set(fields) == {name for name in told if "[]" not in name}, "all fields of a kind are always there"
            for name, item in flattened(fields):
                found.setdefault(name, set()).add("null" if item is None else type_of(name, item))
    assert found.keys() == told.keys()
    for name, types in found.items():
        alternatives = set(told[name].split(" or "))
        assert alternatives <= TYPES | {"null"}, name
        assert types == alternatives, f"{kind.value}.{name}: recorded {types}, documented {alternatives}"


def test_the_names_of_every_line_are_documented_in_their_order() -> None:
    page = DOCS.read_text(encoding="utf-8").split("## Every line")[1].split("\n## ")[0]
    names = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert tuple(names) == JournalRow.__slots__


def test_the_closed_lists_are_documented_whole() -> None:
    page = DOCS.read_text(encoding="utf-8")

    def listed(field: str, start: str) -> set[str]:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{field}` | {start}"))
        return set(re.findall(r"`(\w+)`", row.split("|")[3]))

    assert listed("reason", "text") == {reason.value for reason in Reason}
    assert listed("verdict", "text or null") == {verdict.value for verdict in Verdict}
    assert listed("calls[].clip", "text") == {clip.value for clip in Clip}
    assert listed("severity", "text") == {severity.value for severity in Severity}


def test_names_that_the_store_keeps_as_text_do_not_change() -> None:
    assert [status.value for status in IntentStatus] == [
        "intended",
        "sent",
        "unknown",
        "lost",
        "mined",
        "reverted",
        "refused",
        "dropped",
    ]


def test_a_disagreement_with_the_chain_is_an_alert_of_its_own() -> None:
    wrong = [
        replace(outcome(), model_error_wad=1),
        replace(outcome(), amounts_match=False),
    ]
    for each in wrong:
        events = attempt_build.outcome_events(CHAIN, each)
        assert [event.kind for event in events] == [Kind.MINED, Kind.MINED, Kind.RESTORED, Kind.ALERT]
        assert events[-1].severity is Severity.ALERT
    right = attempt_build.outcome_events(CHAIN, replace(outcome(), amounts_match=None))
    assert [event.kind for event in right] == [Kind.MINED, Kind.MINED, Kind.RESTORED]


def test_overshoot_is_what_is_beyond_the_target() -> None:
    short = replace(outcome(), health_after_wad=outcome().target_wad - 4, restored=False)
    assert attempt_build.outcome_events(CHAIN, outcome())[-1].fields["overshoot_wad"] == 11
    assert attempt_build.outcome_events(CHAIN, short)[-1].fields["overshoot_wad"] == -4
