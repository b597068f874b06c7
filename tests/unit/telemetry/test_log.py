from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from keeper.telemetry.log import Style, configure_logging
from keeper.telemetry.redact import Redactor

CANARY = 'CANARY-"quoted"-käy-0123456789'


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("keeper")
    handlers, level, our_level = root.handlers, root.level, ours.level
    # Another test may have left warnings captured, by what pytest has replaced since.
    logging.captureWarnings(capture=False)
    yield
    root.handlers = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def configured(style: Style, stream: io.StringIO | None = None) -> io.StringIO:
    redactor = Redactor()
    redactor.add(CANARY)
    stream = stream if stream is not None else io.StringIO()
    configure_logging(redactor, style=style, stream=stream)
    return stream


def leak(depth: int = 2) -> None:
    """An error whose message, cause and local names hold the secret."""
    try:
        if depth:
            leak(depth - 1)
        raise ValueError(f"cannot reach {CANARY}")
    except ValueError as error:
        raise RuntimeError(f"gave up: {error!r}") from error


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_line_shows_a_secret(style: Style) -> None:
    stream = configured(style)
    log = structlog.get_logger("keeper.test")
    message = "message " + CANARY
    log.warning(message, url=CANARY, nested={"a": [CANARY]}, error=ValueError(CANARY))
    logging.getLogger("aiohttp.client").error("%s and %r", CANARY, CANARY)
    try:
        leak()
    except RuntimeError:
        log.exception("ours")
        logging.getLogger("web3").exception("a library's")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old " + CANARY, UserWarning, stacklevel=1)
    shown = stream.getvalue()
    assert "old ***" in shown, "a warning is a line of the log"
    assert shown.count("***") >= 8
    for spelling in (CANARY, json.dumps(CANARY)[1:-1], repr(CANARY)[1:-1], "0123456789"):
        assert spelling not in shown


def test_json_is_one_object_a_line_with_names_that_scripts_can_rely_on() -> None:
    stream = configured("json")
    structlog.get_logger("keeper.x").info("sent", block=5, note=None)
    try:
        raise KeyError("gone")
    except KeyError:
        structlog.get_logger("keeper.x").exception("broke")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert {name: first[name] for name in ("event", "level", "logger", "block", "note")} == {
        "event": "sent",
        "level": "info",
        "logger": "keeper.x",
        "block": 5,
        "note": None,
    }
    assert first["timestamp"].endswith("Z")
    assert "KeyError: 'gone'" in second["exception"]


def test_libraries_speak_from_warning_on() -> None:
    stream = configured("json")
    logging.getLogger("aiohttp").info("quiet")
    logging.getLogger("sqlalchemy.engine").info("quiet")
    logging.getLogger("keeper.store").info("ours")
    logging.getLogger("aiohttp").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["ours", "loud"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream, is_json", [(io.StringIO(), True), (Terminal(), False)])
def test_auto_is_json_unless_a_person_looks(stream: io.StringIO, is_json: bool) -> None:
    configured("auto", stream)
    structlog.get_logger("keeper.x").info("hello")
    assert stream.getvalue().startswith("{") is is_json


def test_context_bound_on_the_way_is_in_the_line() -> None:
    stream = configured("json")
    with structlog.contextvars.bound_contextvars(chain="testchain"):
        structlog.get_logger("keeper.x").info("hello")
    line: dict[str, Any] = json.loads(stream.getvalue())
    assert line["chain"] == "testchain"
