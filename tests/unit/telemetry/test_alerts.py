"""Alerts through the real apprise to a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiohttp import web

import keeper.telemetry.alerts
from keeper.core.errors import ConfigError
from keeper.telemetry.alerts import MAX_WAITING, Alerts
from keeper.telemetry.redact import Redactor


class Inbox:
    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.delay_s = 0.0
        self.code = 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hooks/CANARYtoken0123456789"

    async def answer(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.delay_s)
        self.received.append(await request.json())
        return web.Response(status=self.code)


@asynccontextmanager
async def open_inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    app = web.Application()
    app.router.add_post("/{path:.*}", inbox.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    inbox.port = runner.addresses[0][1]
    try:
        yield inbox
    finally:
        await runner.cleanup()


async def test_an_alert_arrives_with_its_secrets_masked() -> None:
    redactor = Redactor()
    redactor.add("SECRETvalue")
    async with open_inbox() as inbox:
        alerts = Alerts([inbox.url], redactor=redactor)
        async with alerts.running():
            alerts.notify("key", "keeper on testchain", "not restored SECRETvalue")
    (message,) = inbox.received
    assert message["title"] == "keeper on testchain"
    assert message["message"] == "not restored ***"


async def test_repeated_alerts_of_one_key_are_held_back_and_counted() -> None:
    now = 0.0
    async with open_inbox() as inbox:
        alerts = Alerts([inbox.url], throttle_s=60, clock=lambda: now)
        async with alerts.running():
            for _ in range(5):
                alerts.notify("model_error", "t", "again")
            alerts.notify("other", "t", "another")
            now = 61.0
            alerts.notify("model_error", "t", "later")
    bodies = [message["message"] for message in inbox.received]
    assert bodies == ["again", "another", "later\n(4 more of this kind since the last alert)"]


async def test_a_slow_receiver_does_not_hold_up_the_loop() -> None:
    async with open_inbox() as inbox:
        inbox.delay_s = 0.5
        alerts = Alerts([inbox.url])
        async with alerts.running():
            started = time.monotonic()
            alerts.notify("key", "t", "slow")
            ticks = 0
            while time.monotonic() - started < 0.3:
                await asyncio.sleep(0.01)
                ticks += 1
            assert ticks > 3
            assert inbox.received == []
    assert len(inbox.received) == 1, "leaving waits for the last one"


async def test_a_receiver_that_never_answers_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio and Python wait for the threads of `asyncio.to_thread` at their end: it is in none of these."""
    monkeypatch.setattr(keeper.telemetry.alerts, "LAST_WORDS_S", 0.2)
    async with open_inbox() as inbox:
        inbox.delay_s = 1.0
        alerts, before = Alerts([inbox.url]), set(threading.enumerate())
        async with alerts.running():
            alerts.notify("key", "t", "never")
            await asyncio.sleep(0.1)
            begun = set(threading.enumerate()) - before
    assert all(thread.daemon for thread in begun)


@pytest.mark.parametrize("trouble", ["refuses", "gone"])
async def test_an_alert_that_cannot_be_delivered_is_a_log_line(trouble: str) -> None:
    async with open_inbox() as inbox:
        inbox.code = 500
        url = inbox.url if trouble == "refuses" else "json://127.0.0.1:1/x"
        alerts = Alerts([url])
        with structlog.testing.capture_logs() as lines:
            async with alerts.running():
                alerts.notify("key", "the title", "lost")
    assert [(line["event"], line["title"]) for line in lines] == [("alert not delivered", "the title")]


async def test_what_does_not_fit_in_line_is_told() -> None:
    async with open_inbox() as inbox:
        alerts = Alerts([inbox.url])
        with structlog.testing.capture_logs() as lines:
            for number in range(MAX_WAITING + 1):
                alerts.notify(f"key {number}", "t", "b")
    assert [(line["event"], line["key"]) for line in lines] == [
        ("alert dropped: too many are waiting", f"key {MAX_WAITING}")
    ]


@pytest.mark.parametrize("url", ["nosuchservice://token-0123456789", "plain words"])
def test_a_url_that_apprise_does_not_know_is_a_configuration_error_without_the_url(url: str) -> None:
    with pytest.raises(ConfigError, match="alert URL 1") as caught:
        Alerts([url])
    assert "token-0123456789" not in str(caught.value)


def test_the_token_of_an_alert_url_is_a_secret_even_where_a_host_would_stand() -> None:
    redactor = Redactor()
    Alerts(["tgram://123456789:abcdefg_hijklmnop/12315544/"], redactor=redactor)
    assert "abcdefg_hijklmnop" not in redactor.clean(
        "POST https://api.telegram.org/bot123456789:abcdefg_hijklmnop/send"
    )


async def test_without_urls_nothing_is_sent_and_nothing_breaks() -> None:
    alerts = Alerts()
    async with alerts.running():
        alerts.notify("key", "t", "b")
    assert alerts._waiting.qsize() == 0
