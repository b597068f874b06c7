"""What the commands that read the store share: where it is, what they may be asked for, a reader that went away."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG
from keeper.core.errors import ConfigError
from keeper.core.events import Kind
from keeper.core.units import Address, address_from_hex

if TYPE_CHECKING:
    from keeper.cli.labels import Labels
    from keeper.store import StoreReader

StorePath = Annotated[
    Path | None,
    typer.Option("--store", help="The store to read; else the one that the configuration names.", show_default=False),
]
_ATTEMPT = re.compile(r"\d+-[0-9a-f]{8}")


@contextmanager
def open_store(store: Path | None, config: Path) -> Iterator[StoreReader]:
    """A reader of the store. Raises `ConfigError` when there is none, `StoreError` when it cannot be used."""
    from keeper.store import StoreReader

    path = store if store is not None else _configured(config)
    if not path.expanduser().is_file():
        raise ConfigError(f"no store at {path}: start the keeper first, or name another file with --store")
    with StoreReader.open(path) as reader:
        yield reader


def _configured(config: Path) -> Path:
    from keeper.settings import Settings, load_settings

    if config == DEFAULT_CONFIG and not config.is_file():
        return Path(Settings.model_fields["store"].default)
    return load_settings(config).store


def read_labels(reader: StoreReader) -> Labels:
    """How amounts are written, as the last verification of each market tells."""
    from keeper.cli.labels import Labels
    from keeper.store import EventFilter

    verified = reader.events(EventFilter(kinds=(Kind.MARKET_VERIFIED,)))
    return Labels.learned((row.market, row.fields) for row in verified)


def to_account(text: str, option: str | None = None) -> Address:
    """Raises `ConfigError` for what is no address, with the option that it was given for."""
    try:
        return address_from_hex(text)
    except ValueError as error:
        raise ConfigError(str(error) if option is None else f"{option}: {error}") from None


def is_attempt(text: str) -> bool:
    """`<head>-<first 4 bytes of the borrower>`, as the journal names attempts."""
    return _ATTEMPT.fullmatch(text) is not None


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """`keeper journal | head`: the rest is not wanted, and that is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end; let that go nowhere.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
