"""`keeper devnet`: a local anvil with the real Aave v3 contracts and borrowers on it, for as long as it is wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keeper.app.devnet import Pools, Standing
    from keeper.core.units import Address

POSITIONS, SEED = 60, 1
DONE, INTERRUPTED = 0, 130


def devnet(
    positions: Annotated[int, typer.Option("--positions", min=0, max=2_000, help="How many borrowers.")] = POSITIONS,
    seed: Annotated[int, typer.Option("--seed", help="Other borrowers: any number.")] = SEED,
    version: Annotated[Literal["3.6", "3.0.2"], typer.Option("--version", help="Which Aave v3.")] = "3.6",
    fund: Annotated[
        list[str] | None,
        typer.Option("--fund", metavar="ADDRESS", help="Give it gas and tokens to repay with; repeatable."),
    ] = None,
    pools: Annotated[bool, typer.Option("--pools", help="With Uniswap V3 pools, for an executor.")] = False,
) -> None:
    """Start a local devnet, print its RPC address and market, and keep it until Ctrl-C. Nothing of it remains.

    Needs node and npm, no key and no configuration. A block comes every second.
    """
    import asyncio

    from keeper.app.devnet import Wish, stand
    from keeper.cli.reading import to_account

    wish = Wish(version, positions, seed, [to_account(each, "--fund") for each in fund or ()], pools)
    is_ready = False

    def ready(standing: Standing) -> None:
        nonlocal is_ready
        is_ready = True
        _show(standing)

    try:
        asyncio.run(stand(wish, _say, ready))
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
        if standing.pools is not None:
            sys.stdout.write(_pools_text(standing.pool, standing.pools))


def _pools_text(market: Address, pools: Pools) -> str:
    """What goes into the configuration, and what the owner of an executor allows."""
    from keeper.cli.render import checksum

    allowed = [(market, "market", "")]
    allowed += [(pool, "pool", f"  # WETH and {symbol}") for symbol, pool in pools.by_symbol.items()]
    allow = "".join(f"keeper executor allow {checksum(each)} --as {role} --live{why}\n" for each, role, why in allowed)
    return (
        "\nAn executor sells in these pools, once its owner has allowed them:\n"
        "[chains.NAME.routes]\n"
        f'v3_factories = ["{checksum(pools.factory)}"]\n'
        f"{allow}"
    )
