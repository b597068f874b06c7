"""Which markets a reading command looks at: those of a configuration, or one named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.core.errors import ConfigError

if TYPE_CHECKING:
    from keeper.settings import Settings

RpcUrl = Annotated[str | None, typer.Option("--rpc", help="Node URL, instead of a configuration file.")]
MarketEntry = Annotated[
    str | None, typer.Option("--addresses-provider", help="The market, instead of a configuration file.")
]


def settings_of(config: Path, rpc: str | None, addresses_provider: str | None) -> Settings:
    """Raises `ConfigError`."""
    from keeper.settings import load_settings, settings_from_arguments

    if (rpc is None) != (addresses_provider is None):
        raise ConfigError("--rpc and --addresses-provider go together; give both, or neither and a configuration file")
    if rpc is not None and addresses_provider is not None:
        return settings_from_arguments(rpc, addresses_provider)
    if not config.is_file():
        raise ConfigError(
            f"{config}: no such configuration file; name a market with --rpc and --addresses-provider, or a file with --config"
        )
    return load_settings(config)
