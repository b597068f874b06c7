"""`keeper devnet`: a local anvil with the real Aave v3 contracts and borrowers on it, for as long as it is wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keeper.app.devnet import Standing

POSITIONS, SEED = 60, 1
DONE, INTERRUPTED = 0, 130


def devnet(
    positions: Annotated[int, typer.Option("--positions", min=0, max=2_000, help="How many borrowers.")] = POSITIONS,
    seed: Annotated[int, typer.Option("--seed", help="Other borrowers: any number.")] = SEED,
    version: Annotated[Literal["3.6", "3.0.2"], typer.Option("--version", help="Which Aave v3.")] = "3.6",
) -> None:
    """Start a local devnet, print its RPC address and market, and keep it until Ctrl-C. Nothing of it remains.

    Needs node and npm, no key and no configuration. A block comes every second.
    """
    import asyncio

    from keeper.app.devnet import stand

    is_ready = False

    def ready(standing: Standing) -> None:
        nonlocal is_ready
        is_ready = True
        _show(standing)

    try:
        asyncio.run(stand(version, positions, seed, _say, ready))
    except asyncio.CancelledError:
        raise typer.Exit(DONE if is_ready else INTERRUPTED) from None


def _say(what: str) -> None:
    sys.stderr.write(f"{what} …\n")


def _show(standing: Standing) -> None:
    from keeper.cli.reading import readers_may_leave
    from keeper.cli.render import checksum

    market = checksum(standing.addresses_provider)
    with readers_may_leave():
        sys.stdout.write(
            f"Aave {standing.version} with {standing.borrowers} borrowers, until Ctrl-C:\n"
            f"rpc_url            = {standing.rpc_url}\n"
            f"addresses_provider = {market}\n"
            f"chain_id           = {standing.chain_id}\n\n"
            f"keeper positions --near --rpc {standing.rpc_url} --addresses-provider {market}\n\n"
            "WETH falls by a fifth:\n"
            f"curl -H content-type:application/json -d '{standing.fall}' {standing.rpc_url}\n"
        )
