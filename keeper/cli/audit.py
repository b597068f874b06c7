"""`keeper audit`: is the book what the chain stores?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import readers_may_leave
from keeper.cli.source import MarketEntry, RpcUrl, settings_of
from keeper.core.errors import ConfigError

EQUAL, DIFFERENT = 0, 3


def audit(
    config: ConfigPath = DEFAULT_CONFIG,
    rpc: RpcUrl = None,
    addresses_provider: MarketEntry = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Audit the book saved here; else the configured store's.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, integers as decimal strings.")] = False,
) -> None:
    """Compare every borrower of the book with the chain at one block. Reads only.

    Every stored number, every output of the chain's own valuation, every reserve's totals and indexes. The exit code tells:
    0 everything is equal, 3 something differs (each difference is named), 1 trouble, 2 configuration.
    """
    import asyncio

    from keeper.app.auditing import audit_markets
    from keeper.cli.audit_view import counted, show_json, show_tables
    from keeper.cli.progress import shown_progress

    settings = settings_of(config, rpc, addresses_provider)
    if store is not None and rpc is not None:
        raise ConfigError("--store holds the books of a configuration's chains: give --config with it, not --rpc")
    if store is None and rpc is None and settings.store.expanduser().is_file():
        store = settings.store
    with shown_progress() as progress, counted() as told:
        found = asyncio.run(audit_markets(settings, store, progress, told))
    with readers_may_leave():
        show_json(found) if as_json else show_tables(found)
    raise typer.Exit(DIFFERENT if any(each.audit.differences for each in found) else EQUAL)
