"""`keeper config check`: read the configuration, say what is in effect, secrets masked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.core.errors import ConfigError

if TYPE_CHECKING:
    from keeper.settings import Settings
    from keeper.settings.relays import Relays
    from keeper.settings.signing import Signer

config_app = typer.Typer(no_args_is_help=True)

ChainName = Annotated[str | None, typer.Option("--chain", help="Which configured chain, when there are several.")]
ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", envvar="KEEPER_CONFIG", help="Configuration file.", show_default=True)
]
DEFAULT_CONFIG = Path("keeper.toml")


@config_app.callback()
def _group() -> None:
    """Look at the configuration."""


@config_app.command(short_help="Read the configuration and show what is in effect.")
def check(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Read the configuration and the files that it names, without touching the network, and show what is in effect."""
    from rich.table import Table

    from keeper.app.modes import live_concerns
    from keeper.app.terms import endpoints_of, expected_chain_id, final_rpc
    from keeper.cli.render import table_console
    from keeper.settings import load_settings
    from keeper.settings.effective import effective_rows

    settings = load_settings(config)
    for name, chain in settings.chains.items():
        try:
            final_rpc(name, chain, endpoints_of(chain, expected_chain_id(name, chain, chain.load_preset())))
        except ConfigError as error:
            raise ConfigError(f"{config}: {error}") from None
        _check_signers(config, name, chain.signing)
        if chain.relays is not None:
            _check_relays(config, name, chain.relays, list(chain.signing.values()))
    _check_alerts(config, [url.get_secret_value() for url in settings.alerts])
    concerns = [*live_concerns(settings), *_absent_sockets(settings)]
    table = Table(title=f"{config}: {'to be looked at' if concerns else 'in order'}", title_justify="left")
    for heading in ("key", "value", "from"):
        table.add_column(heading, overflow="fold")
    for key, value, origin in effective_rows(settings):
        table.add_row(key, value, origin)
    table_console().print(table)
    for concern in concerns:
        sys.stderr.write(f"keeper: warning: {config}: {concern}\n")


def _absent_sockets(settings: Settings) -> list[str]:
    """No error: the node makes its socket when it runs."""
    return [
        f"chains.{name}.ipc_path: {chain.ipc_path} is no socket now: start the node, or mend the path"
        for name, chain in settings.chains.items()
        if chain.ipc_path is not None and not chain.ipc_path.is_socket()
    ]


def _check_alerts(config: Path, urls: Sequence[str]) -> None:
    from keeper.telemetry.alerts import Alerts

    try:
        Alerts(urls)
    except ConfigError as error:
        raise ConfigError(f"{config}: alerts: {error}") from None


def _check_signers(config: Path, name: str, signing: Mapping[str, Signer]) -> None:
    """Each by itself, and whether two have one key, as far as that shows."""
    from keeper.app.keys import check_signer, known_address
    from keeper.core.units import Address, to_hex

    found: dict[Address, str] = {}
    for place, signer in signing.items():
        try:
            check_signer(signer)
            address = known_address(signer)
            if address is not None and found.setdefault(address, place) != place:
                raise ConfigError(
                    f"has the key of {found[address]}, {to_hex(address)}: each signer needs one of its own"
                )
        except ConfigError as error:
            raise ConfigError(f"{config}: chains.{name}.{place}: {error}") from None


def _check_relays(config: Path, name: str, relays: Relays, signers: Sequence[Signer]) -> None:
    from keeper.app.keys import check_relays

    try:
        check_relays(relays, signers)
    except ConfigError as error:
        raise ConfigError(f"{config}: chains.{name}.relays: {error}") from None
