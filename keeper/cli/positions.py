"""`keeper positions`: every borrower with debt, valued at the newest block; or those closest to falling below 1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import readers_may_leave
from keeper.cli.source import MarketEntry, RpcUrl, settings_of
from keeper.core.errors import ConfigError

NEAR = "--near"
NEAREST = 20


class NearMayStandAlone(TyperCommand):
    """`--near` without a number means `--near 20`; the parser itself knows no options with an optional value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for place, argument in reversed(list(enumerate(args))):
            if (argument == NEAR and not args[place + 1 : place + 2]) or (
                argument == NEAR and args[place + 1][:1] == "-"
            ):
                args.insert(place + 1, str(NEAREST))
        return super().parse_args(ctx, args)


def positions(
    config: ConfigPath = DEFAULT_CONFIG,
    rpc: RpcUrl = None,
    addresses_provider: MarketEntry = None,
    below: Annotated[str | None, typer.Option("--below", help="Only health factors below this, such as 1.0.")] = None,
    near: Annotated[
        int | None,
        typer.Option(
            NEAR,
            metavar="[N]",
            min=1,
            help=f"The N ({NEAREST}) closest to falling below 1 by one price alone, and that price.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, integers as decimal strings.")] = False,
) -> None:
    """List borrowers with their health factor, lowest first; or the closest to falling below 1."""
    if near is not None:
        if below is not None:
            raise ConfigError("--near and --below are two questions; ask one of them")
        _near(config, rpc, addresses_provider, near, as_json)
    else:
        _all(config, rpc, addresses_provider, below, as_json)


def _all(config: Path, rpc: str | None, provider: str | None, below: str | None, as_json: bool) -> None:
    import asyncio

    from keeper.app.looking import list_positions
    from keeper.cli.positions_view import is_below, parse_health, show_json, show_table
    from keeper.cli.progress import shown_progress

    settings = settings_of(config, rpc, provider)
    below_wad = parse_health(below)
    with shown_progress() as progress:
        rows = asyncio.run(list_positions(settings, progress))
    chosen = [row for row in rows if is_below(row, below_wad)]
    with readers_may_leave():
        show_json(chosen) if as_json else show_table(chosen, below)


def _near(config: Path, rpc: str | None, provider: str | None, count: int, as_json: bool) -> None:
    import asyncio

    from keeper.app.looking import look_at_markets
    from keeper.cli.positions_near import closest, show_json, show_tables
    from keeper.cli.progress import shown_progress

    settings = settings_of(config, rpc, provider)
    with shown_progress() as progress:
        looks = asyncio.run(look_at_markets(settings, progress))
    found = [closest(look, count) for look in looks]
    with readers_may_leave():
        show_json(found) if as_json else show_tables(found)
