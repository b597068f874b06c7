"""`keeper map`: how much debt falls below 1 as prices drop, each alone and several together. Reads only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import readers_may_leave
from keeper.cli.source import MarketEntry, RpcUrl, settings_of


def liquidation_map(
    config: ConfigPath = DEFAULT_CONFIG,
    rpc: RpcUrl = None,
    addresses_provider: MarketEntry = None,
    asset: Annotated[
        list[str] | None, typer.Option("--asset", help="Only this asset alone; by symbol or address; may be repeated.")
    ] = None,
    shock: Annotated[
        str | None,
        typer.Option(
            "--shock",
            help="What falls together, such as WETH,WBTC; else all collateral not within 3 % of one unit of account.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, integers as decimal strings.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with charts into this file; it fetches nothing.")
    ] = None,
) -> None:
    """Show how much debt falls below 1 when prices drop by 1 % to 60 %, one alone and several together."""
    import asyncio
    import json
    import sys

    from keeper.app.looking import look_at_markets
    from keeper.cli.map_report import Wanted, map_object, maps_of
    from keeper.cli.map_view import show_maps
    from keeper.cli.progress import shown_progress

    settings = settings_of(config, rpc, addresses_provider)
    wanted = Wanted(asset or (), [name.strip() for name in shock.split(",") if name.strip()] if shock else ())
    with shown_progress() as progress:
        looks = asyncio.run(look_at_markets(settings, progress))
    maps = maps_of(looks, wanted)
    if html is not None:
        from keeper.cli.map_html import write_page

        write_page(html, maps)
    with readers_may_leave():
        if as_json:
            json.dump([map_object(each) for each in maps], sys.stdout, indent=1)
            sys.stdout.write("\n")
        else:
            show_maps(maps)
