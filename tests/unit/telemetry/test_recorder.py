from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from keeper.core import attempt_build, event_build
from keeper.core.errors import StoreError
from keeper.core.events import Event, Kind
from keeper.core.standing import Standing
from keeper.core.units import Address
from keeper.store import Store, StoreReader
from keeper.telemetry.alerts import Alerts
from keeper.telemetry.recorder import Recorder
from keeper.telemetry.redact import Redactor
from tests.unit.store.facts import ATTEMPT, BORROWER, CHAIN, MARKET, failed_outcome, outcome, plan, prices, standing


class HeardAlerts(Alerts):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, str, str]] = []

    def notify(self, key: str, title: str, body: str) -> None:
        self.heard.append((key, title, body))


class BrokenStore:
    """A journal whose disk is gone."""

    async def record(self, events: Sequence[Event]) -> None:
        raise StoreError("store: disk I/O error")

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        raise StoreError("store: disk I/O error")


def redactor() -> Redactor:
    made = Redactor()
    made.add("CANARYsecret")
    return made


async def test_one_event_is_a_row_a_line_a_count_and_if_it_matters_an_alert(tmp_path: Path) -> None:
    alerts = HeardAlerts()
    with structlog.testing.capture_logs() as lines:
        async with Store.open(tmp_path / "keeper.db") as store:
            recorder = Recorder(store, alerts, redactor())
            await recorder.record([attempt_build.decided(CHAIN, ATTEMPT, plan(), prices())])
            await recorder.record(attempt_build.outcome_events(CHAIN, failed_outcome()))
            await recorder.record_standing(CHAIN, MARKET, 100, {BORROWER: standing()})
    kinds = ["decided", "reverted", "not_restored"]
    with StoreReader.open(tmp_path / "keeper.db") as reader:
        assert [row.kind for row in reader.events()] == kinds
        assert len(reader.standing()) == 1
    assert [(line["event"], line["log_level"]) for line in lines] == list(
        zip(kinds, ["info", "warning", "error"], strict=True)
    )
    assert recorder.counts == {(CHAIN, Kind(kind)): 1 for kind in kinds}
    ((key, title, body),) = alerts.heard
    assert title == f"keeper on {CHAIN}: not_restored"
    assert key.startswith(f"{CHAIN}:not_restored:0x")
    assert "borrower: 0xb0b0" in body
    assert "detail: the contract refused the first call" in body


async def test_a_line_shows_the_plain_fields_and_of_lists_the_length() -> None:
    with structlog.testing.capture_logs() as lines:
        recorder = Recorder(Silent(), HeardAlerts(), redactor())
        await recorder.record([attempt_build.decided(CHAIN, ATTEMPT, plan(), prices())])
        await recorder.record([event_build.market_changed(CHAIN, MARKET, 7, "ReserveInitialized")])
    decided, changed = lines
    assert (decided["chain"], decided["block"], decided["attempt"]) == (CHAIN, 100, ATTEMPT)
    assert (decided["calls"], decided["verdict"]) == (2, "reaches_target")
    assert (changed["event"], changed["field_event"]) == ("market_changed", "ReserveInitialized")
    # Money is decimal text, as in the journal: many JSON readers lose the digits of a number beyond 2⁵³.
    assert decided["target_wad"] == str(plan().target_wad)


async def test_a_secret_in_an_error_reaches_neither_row_nor_line_nor_alert(tmp_path: Path) -> None:
    alerts = HeardAlerts()
    with structlog.testing.capture_logs() as lines:
        async with Store.open(tmp_path / "keeper.db") as store:
            recorder = Recorder(store, alerts, redactor())
            await recorder.record([event_build.trouble(CHAIN, ValueError("at CANARYsecret"))])
            await recorder.record([event_build.alert(CHAIN, "key", "at CANARYsecret")])
    with StoreReader.open(tmp_path / "keeper.db") as reader:
        assert [row.fields["detail"] for row in reader.events()] == ["at ***", "at ***"]
    assert "CANARYsecret" not in str(lines) + str(alerts.heard)


async def test_terminal_escapes_from_a_chain_are_shown_as_such() -> None:
    with structlog.testing.capture_logs() as lines:
        recorder = Recorder(Silent(), HeardAlerts(), redactor())
        await recorder.record([event_build.alert(CHAIN, "key", "evil\x1b[2Jname\n")])
    assert lines[0]["detail"] == "'evil\\x1b[2Jname\\n'"


async def test_when_the_store_fails_the_line_and_the_alert_are_out_already() -> None:
    alerts = HeardAlerts()
    recorder = Recorder(BrokenStore(), alerts, redactor())
    with structlog.testing.capture_logs() as lines, pytest.raises(StoreError):
        await recorder.record(attempt_build.outcome_events(CHAIN, failed_outcome()))
    assert [line["event"] for line in lines] == ["reverted", "not_restored"]
    assert len(alerts.heard) == 1


async def test_alerts_of_one_kind_and_market_share_a_key() -> None:
    alerts = HeardAlerts()
    recorder = Recorder(Silent(), alerts, redactor())
    for error_wad in (5, 6):
        wrong = replace(outcome(), model_error_wad=error_wad)
        await recorder.record(attempt_build.outcome_events(CHAIN, wrong))
    keys = {key for key, _, _ in alerts.heard}
    assert len(alerts.heard) == 2
    assert len(keys) == 1
    assert "model_error" in keys.pop()


class Silent:
    """A journal for tests that look at lines and alerts only."""

    async def record(self, events: Sequence[Event]) -> None:
        return None

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        return None
