"""Alerts to people, by apprise URLs. Sending never holds up the event loop; a failure is a log line, nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from keeper.core.errors import ConfigError
from keeper.telemetry.redact import Redactor

if TYPE_CHECKING:
    from apprise import Apprise

THROTTLE_S = 600.0
MAX_WAITING = 100
SEND_TIMEOUT_S = 30.0
LAST_WORDS_S = 5.0
"""How long a stop waits for alerts that are still to be sent."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Alert:
    title: str
    body: str


@dataclass(slots=True)
class _Throttle:
    sent_at: float
    held_back: int = 0


class Alerts:
    """Throttled per key: after one alert of a key, the next ones within the window are only counted."""

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        redactor: Redactor | None = None,
        throttle_s: float = THROTTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `ConfigError` for a URL that apprise does not understand. Without URLs nothing is ever sent."""
        self._redactor = redactor if redactor is not None else Redactor()
        self._throttle_s = throttle_s
        self._clock = clock
        self._throttles: dict[str, _Throttle] = {}
        self._waiting: asyncio.Queue[Alert | None] = asyncio.Queue(MAX_WAITING)
        self._apprise = _parse(urls, self._redactor) if urls else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends what `notify` hands over; on leaving, waits a moment for the last ones."""
        # Owned and awaited here: a task group would cancel it before the last alert is out.
        task = asyncio.create_task(self._send_all(), name="alerts")  # noqa: TID251
        try:
            yield
        finally:
            with contextlib.suppress(asyncio.QueueFull):
                self._waiting.put_nowait(None)
            done, _ = await asyncio.wait({task}, timeout=LAST_WORDS_S)
            if not done:
                task.cancel()
                log.warning("alerts not sent before the stop", waiting=self._waiting.qsize())
                await asyncio.wait({task})

    def notify(self, key: str, title: str, body: str) -> None:
        """Hand over one alert; returns at once."""
        if self._apprise is None:
            return
        now = self._clock()
        throttle = self._throttles.get(key)
        if throttle is not None and now - throttle.sent_at < self._throttle_s:
            throttle.held_back += 1
            return
        if throttle is not None and throttle.held_back:
            body = f"{body}\n({throttle.held_back} more of this kind since the last alert)"
        self._throttles[key] = _Throttle(now)
        try:
            self._waiting.put_nowait(Alert(self._redactor.clean(title), self._redactor.clean(body)))
        except asyncio.QueueFull:
            log.warning("alert dropped: too many are waiting", key=key)

    async def _send_all(self) -> None:
        while (alert := await self._waiting.get()) is not None:
            await self._send(alert)

    async def _send(self, alert: Alert) -> None:
        assert self._apprise is not None, "alerts wait only where there are URLs"
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                delivered = await _beside(partial(self._apprise.notify, title=alert.title, body=alert.body))
        except TimeoutError:
            log.warning("alert not delivered in time", title=alert.title)
        except Exception as error:  # noqa: BLE001 - apprise loads plug-ins: none of their errors may stop the keeper
            log.warning("alert not delivered", title=alert.title, error=type(error).__name__)
        else:
            if not delivered:
                log.warning("alert not delivered", title=alert.title)


async def _beside(call: Callable[[], object]) -> object:
    """What `call` returns, made in a thread that dies with the process: at its end asyncio and Python wait for all other kinds,
    and a service that does not answer would hold up a stop."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[object] = loop.create_future()

    def settle(answer: object, error: Exception | None) -> None:
        if answered.cancelled():
            return
        if error is None:
            answered.set_result(answer)
        else:
            answered.set_exception(error)

    def work() -> None:
        answer: object = None
        failed: Exception | None = None
        try:
            answer = call()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            failed = error
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(settle, answer, failed)

    threading.Thread(target=work, name="alert", daemon=True).start()
    return await answered


def _parse(urls: Sequence[str], redactor: Redactor) -> Apprise:
    from apprise import Apprise

    parsed = Apprise()
    for number, url in enumerate(urls, start=1):
        _hide(url, redactor)
        with warnings.catch_warnings():
            # Its mail plug-in imports a module that newer Pythons drop.
            warnings.simplefilter("ignore", DeprecationWarning)
            with _quiet("apprise"):  # it would write the URL as it is; our error says the rest
                known = parsed.add(url)
        if not known:
            raise ConfigError(
                f"alert URL {number} (scheme {urlsplit(url).scheme or 'none'!r}) is none that apprise understands:"
                " see the list of services in apprise's documentation"
            )
    return parsed


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _hide(url: str, redactor: Redactor) -> None:
    """In alert URLs the token often stands where other URLs have their host."""
    redactor.add(url)
    redactor.add_url(url)
    host = urlsplit(url).netloc.rpartition("@")[2]
    if "." not in host and not host.startswith("localhost"):
        redactor.add(host)
