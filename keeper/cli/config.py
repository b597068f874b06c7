"""`keeper config check`: read the configuration, say what is in effect, secrets masked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

config_app = typer.Typer(no_args_is_help=True)

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", envvar="KEEPER_CONFIG", help="Configuration file.", show_default=True)
]
DEFAULT_CONFIG = Path("keeper.toml")


@config_app.callback()
def _group() -> None:
    """Look at the configuration."""


@config_app.command()
def check(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Read the configuration without touching the network, and show what is in effect."""
    from rich.table import Table

    from keeper.app.terms import endpoints_of, expected_chain_id, final_rpc
    from keeper.cli.render import table_console
    from keeper.settings import load_settings
    from keeper.settings.effective import effective_rows

    settings = load_settings(config)
    for name, chain in settings.chains.items():
        final_rpc(name, chain, endpoints_of(chain, expected_chain_id(name, chain, chain.load_preset())))
    table = Table(title=f"{config}: in order", title_justify="left")
    for name in ("key", "value", "from"):
        table.add_column(name, overflow="fold")
    for key, value, origin in effective_rows(settings):
        table.add_row(key, value, origin)
    table_console().print(table)
