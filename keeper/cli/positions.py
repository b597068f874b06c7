"""`keeper positions`: every borrower with debt, valued at the newest block."""

from __future__ import annotations

from typing import Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import readers_may_leave


def positions(
    config: ConfigPath = DEFAULT_CONFIG,
    rpc: Annotated[str | None, typer.Option("--rpc", help="Node URL, instead of a configuration file.")] = None,
    addresses_provider: Annotated[
        str | None, typer.Option("--addresses-provider", help="The market, instead of a configuration file.")
    ] = None,
    below: Annotated[str | None, typer.Option("--below", help="Only health factors below this, such as 1.0.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, integers as decimal strings.")] = False,
) -> None:
    """List borrowers with their health factor, lowest first."""
    import asyncio

    from keeper.app.looking import list_positions
    from keeper.cli.positions_view import is_below, parse_health, show_json, show_table
    from keeper.cli.progress import shown_progress
    from keeper.core.errors import ConfigError
    from keeper.settings import load_settings, settings_from_arguments

    if (rpc is None) != (addresses_provider is None):
        raise ConfigError("--rpc and --addresses-provider go together; give both, or neither and a configuration file")
    if rpc is not None and addresses_provider is not None:
        settings = settings_from_arguments(rpc, addresses_provider)
    else:
        settings = load_settings(config)
    below_wad = parse_health(below)
    with shown_progress() as progress:
        rows = asyncio.run(list_positions(settings, progress))
    chosen = [row for row in rows if is_below(row, below_wad)]
    with readers_may_leave():
        show_json(chosen) if as_json else show_table(chosen)
