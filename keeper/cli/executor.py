"""`keeper executor deploy | allow | withdraw | show`: the operator's own contract. Dry unless told otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.cli.config import DEFAULT_CONFIG, ChainName, ConfigPath
from keeper.cli.reading import to_account
from keeper.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from keeper.app.executor import Ordered
    from keeper.core.units import Address
    from keeper.settings import Settings

executor_app = typer.Typer(no_args_is_help=True)

Live = Annotated[bool, typer.Option("--live", help='Sign and send; needs mode = "live" in the file too.')]
Named = Annotated[str, typer.Argument(metavar="ADDRESS", help="Whom it is about.")]
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="Its symbol in a configured market, or its address.")]


class As(StrEnum):
    """What an address may be allowed as."""

    MARKET = "market"
    MORPHO = "morpho"
    POOL = "pool"
    PAIR = "pair"
    ROUTER = "router"
    OPERATOR = "operator"
    NOTHING = "nothing"


@executor_app.callback()
def _group() -> None:
    """The operator's own executor contract: borrow, liquidate, swap, repay in one transaction."""


@executor_app.command(short_help="Create an executor contract.")
def deploy(
    config: ConfigPath = DEFAULT_CONFIG,
    chain: ChainName = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Who sets it up and withdraws; default the signer.")
    ] = None,
    recipient: Annotated[
        str | None, typer.Option("--recipient", help="To whom it pays out, for ever; default the owner.")
    ] = None,
    live: Live = False,
) -> None:
    """Create an executor contract. Its owner and its recipient can never be changed."""
    from keeper.app import executor

    _order(executor.deploy(_settings(config), chain, _known(owner), _known(recipient), live=live))


@executor_app.command(short_help="Say what it may call, who may operate it, what operators may lose.")
def allow(
    target: Named,
    roles: Annotated[
        list[As] | None, typer.Option("--as", help="What it may be called as from now on; several with several --as.")
    ] = None,
    may_lose: Annotated[
        str | None,
        typer.Option(
            "--may-lose", metavar="AMOUNT", help="Of this token operators may lose so much in all, whole tokens."
        ),
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    chain: ChainName = None,
    live: Live = False,
) -> None:
    """Say what a contract may be called as, or who may operate, from now on; or what operators may lose of a token.

    `--as nothing` takes all roles of a contract away, and `--as operator --as nothing` an operator's.
    """
    from keeper.app import executor

    settings, wanted = _settings(config), set(roles or ())
    if bool(wanted) == (may_lose is not None):
        raise ConfigError("say either what it may be with --as, or what of it operators may lose with --may-lose")
    if may_lose is not None:
        _order(executor.may_lose(settings, chain, target, may_lose, live=live))
        return
    address = to_account(target)
    if As.OPERATOR in wanted:
        if wanted - {As.OPERATOR, As.NOTHING}:
            raise ConfigError("an operator calls the executor, the others are called by it: order them one by one")
        _order(executor.allow(settings, chain, address, None, As.NOTHING not in wanted, live=live))
        return
    if As.NOTHING in wanted and len(wanted) > 1:
        raise ConfigError("--as nothing stands alone, or beside --as operator")
    _order(executor.allow(settings, chain, address, _roles(wanted), None, live=live))


@executor_app.command(short_help="Pay out what it holds to its recipient.")
def withdraw(
    token: Token,
    amount: Annotated[
        str | None, typer.Argument(metavar="[AMOUNT]", help="In whole tokens; default all of it.", show_default=False)
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    chain: ChainName = None,
    live: Live = False,
) -> None:
    """Pay out tokens to the recipient that the executor was created with. A pause does not stand in the way."""
    from keeper.app import executor

    _order(executor.withdraw(_settings(config), chain, token, amount, live=live))


@executor_app.command(short_help="Show whose it is, what it may call, what it holds.")
def show(config: ConfigPath = DEFAULT_CONFIG, chain: ChainName = None) -> None:
    """Show owner, recipient, operators, who is allowed as what, balances; and whether its code is this keeper's."""
    import asyncio

    from keeper.app import executor
    from keeper.cli.executor_view import show_state

    show_state(asyncio.run(executor.show(_settings(config), chain)))


def _settings(config: ConfigPath) -> Settings:
    from keeper.settings import load_settings

    return load_settings(config)


def _order(order: Coroutine[Any, Any, Ordered]) -> None:
    import asyncio

    from keeper.cli.executor_view import show_order

    show_order(asyncio.run(order))


def _roles(wanted: set[As]) -> Any:
    from keeper.core.executor import ExecutorRole
    from keeper.execution.executor_state import ROLE_WORDS

    found = ExecutorRole(0)
    for role, word in ROLE_WORDS.items():
        if word in wanted:
            found |= role
    return found


def _known(text: str | None) -> Address | None:
    return None if text is None else to_account(text)
