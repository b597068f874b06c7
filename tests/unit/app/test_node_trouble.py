"""What is heard of a node between heads is written down, with the weight that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from keeper.app.node_trouble import NodeTrouble
from keeper.chain.heads import Stall
from keeper.chain.notice import Notice, NoticeKind
from keeper.core.errors import ConfigError, RpcTimeout, StoreError
from keeper.core.events import Event, Kind, Severity
from keeper.core.standing import Standing
from keeper.core.units import Address
from keeper.telemetry.health import ChainHealth
from keeper.telemetry.redact import Redactor


class Written:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.full = False

    async def record(self, events: Sequence[Event]) -> None:
        if self.full:
            raise StoreError("the disk is gone")
        self.events += events

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        raise AssertionError("nobody stands anywhere here")


def trouble_and_journal() -> tuple[NodeTrouble, Written]:
    journal = Written()
    return NodeTrouble("mainnet", journal, ChainHealth(lambda: 0.0, Redactor())), journal


async def test_what_people_must_see_to_is_an_alert_and_what_costs_only_speed_a_warning() -> None:
    trouble, journal = trouble_and_journal()
    async with trouble.told():
        for kind in NoticeKind:
            trouble.on_notice(Notice(kind, f"about {kind}"))
        trouble.on_stall(Stall(None, 70.0, None))
        await asyncio.sleep(0.01)
    severities = {event.fields["key"]: event.severity for event in journal.events}
    assert severities == {
        "subscription_lost": Severity.WARNING,
        "subscription_back": Severity.WARNING,
        "no_pending": Severity.WARNING,
        "node_behind": Severity.ALERT,
        "node_disbelieved": Severity.ALERT,
        "clock_skew": Severity.ALERT,
        "stalled": Severity.ALERT,
    }


async def test_a_subscription_that_comes_and_goes_is_told_of_now_and_then() -> None:
    trouble, journal = trouble_and_journal()
    async with trouble.told():
        for _ in range(20):
            trouble.on_notice(Notice(NoticeKind.SUBSCRIPTION_LOST, "lost"))
            trouble.on_notice(Notice(NoticeKind.SUBSCRIPTION_BACK, "back"))
            trouble.on_error(RpcTimeout("late"))
        await asyncio.sleep(0.01)
    assert [event.kind for event in journal.events] == [Kind.ALERT, Kind.ALERT, Kind.TROUBLE]


async def test_errors_come_out_as_they_are() -> None:
    """Who runs a chain tells a configuration error, which ends the process, from trouble that passes."""

    async def told(error: Exception | None) -> None:
        trouble, journal = trouble_and_journal()
        async with trouble.told():
            if error is not None:
                raise error
            journal.full = True
            trouble.on_stall(Stall(None, 70.0, None))
            await asyncio.sleep(5)

    with pytest.raises(ConfigError, match="mend it"):
        await told(ConfigError("mend it"))
    with pytest.raises(StoreError, match="the disk is gone"):
        await told(None)
