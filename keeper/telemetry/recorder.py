"""One fact, recorded once: journal row, log line, counter and, when it matters to people, an alert."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from keeper.core.events import Event, Kind, Severity, exact_field
from keeper.core.standing import Standing
from keeper.core.units import Address, to_hex
from keeper.ports import Journal
from keeper.telemetry.alerts import Alerts
from keeper.telemetry.redact import Redactor

log = structlog.get_logger(__name__)

_LEVELS = {Severity.NORMAL: logging.INFO, Severity.WARNING: logging.WARNING, Severity.ALERT: logging.ERROR}


class Recorder:
    """Implements the port `Journal` over another one (the store)."""

    def __init__(self, journal: Journal, alerts: Alerts, redactor: Redactor) -> None:
        self._journal = journal
        self._alerts = alerts
        self._redactor = redactor
        self.counts: Counter[tuple[str, Kind]] = Counter()
        """Events by chain and kind since the start."""

    async def record(self, events: Sequence[Event]) -> None:
        """Shown first, then stored: a store in trouble must not keep quiet what happened. Raises what it raises."""
        await self._record(events, shown=True)

    async def record_unshown(self, events: Sequence[Event]) -> None:
        """The same without a log line: for the error that ends the command, which the command itself tells."""
        await self._record(events, shown=False)

    async def _record(self, events: Sequence[Event], *, shown: bool) -> None:
        masked = [replace(event, fields=self._redactor.clean_tree(event.fields)) for event in events]
        for event in masked:
            self.counts[event.chain, event.kind] += 1
            if shown:
                log.log(_LEVELS[event.severity], event.kind.value, **_line(event))
            if event.severity is Severity.ALERT:
                self._alert(event)
        await self._journal.record(masked)

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        await self._journal.record_standing(chain, market, block_number, standing)

    def _alert(self, event: Event) -> None:
        line = _line(event)
        key = ":".join([event.chain, str(event.fields.get("key", event.kind.value)), str(line.get("market", ""))])
        body = "\n".join(f"{name}: {text}" for name, text in line.items() if text not in (None, ""))
        self._alerts.notify(key, f"keeper on {event.chain}: {event.kind.value}", body)


def _line(event: Event) -> dict[str, Any]:
    """What a log line shows: names first, then the plain fields; of a list only how long it is."""
    named = {
        "chain": event.chain,
        "block": event.block_number,
        "market": to_hex(event.market) if event.market is not None else None,
        "borrower": to_hex(event.borrower) if event.borrower is not None else None,
        "attempt": event.attempt,
    }
    line: dict[str, Any] = {name: item for name, item in named.items() if item is not None}
    for name, item in event.fields.items():
        # `event` names the line itself in structlog.
        shown = f"field_{name}" if name in line or name == "event" else name
        line[shown] = len(item) if isinstance(item, list | dict) else _safe(exact_field(name, item))
    return line


def _safe(item: Any) -> Any:
    """Text from a chain may hold terminal escapes."""
    return ascii(item) if isinstance(item, str) and not item.isprintable() else item
