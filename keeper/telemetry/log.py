"""Log lines: readable on a terminal, JSON elsewhere; ours from `info`, libraries' from `warning`; secrets masked."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from keeper.telemetry.redact import Redactor

OUR_LOGGER = "keeper"
Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "json"]


def configure_logging(
    redactor: Redactor, *, level: Level = "info", style: Style = "auto", stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process, ours (structlog) and the libraries' (standard library) alike.

    `auto` is console on a terminal and JSON elsewhere. Lines go to `stream`, standard error by default, so that
    standard output stays for answers. Values, messages and tracebacks pass through `redactor`.
    """
    target = stream if stream is not None else sys.stderr
    console = style == "console" or (style == "auto" and target.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                _Masked(redactor, _console(target) if console else structlog.processors.JSONRenderer()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OUR_LOGGER).setLevel(level.upper())
    logging.captureWarnings(capture=True)


class _Masked:
    """Masks before rendering, where a secret is still in one piece, and after, for what only a renderer turns to text."""

    def __init__(self, redactor: Redactor, render: Processor) -> None:
        self._redactor = redactor
        self._render = render

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        masked: MutableMapping[str, Any] = self._redactor.clean_tree(event)
        return self._redactor.clean(str(self._render(logger, name, masked)))


def _console(target: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
