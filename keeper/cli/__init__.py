"""The commands: thin, one file each. Heavy imports happen inside a command, so that `--help` answers at once.

Exit codes: 0 done, 1 trouble, 2 configuration or usage, 3 work left or a difference found, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from keeper import __version__
from keeper.cli.advice import with_advice
from keeper.cli.audit import audit
from keeper.cli.config import config_app
from keeper.cli.demo import demo
from keeper.cli.devnet import devnet
from keeper.cli.executor import executor_app
from keeper.cli.explain import explain
from keeper.cli.journal import journal
from keeper.cli.kill import kill
from keeper.cli.map import liquidation_map
from keeper.cli.pause import pause
from keeper.cli.positions import NearMayStandAlone, positions
from keeper.cli.report import report
from keeper.cli.resume import resume
from keeper.cli.run import run
from keeper.cli.tx import tx_app
from keeper.core.errors import ConfigError, Defect, KeeperError

INTERRUPTED = 130

app = typer.Typer(
    name="keeper",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes around the help would cost three times all the rest of `--help`
)
# What the list of commands says of each must fit beside its name on 80 columns.
app.command(short_help="Watch the keeper restore borrowers of a real Aave v3 on anvil.")(demo)
app.command(short_help="Start a local market with borrowers, until Ctrl-C.")(devnet)
app.command(short_help="Watch the configured markets and restore borrowers below 1.")(run)
app.command(cls=NearMayStandAlone, short_help="List borrowers by health, or the closest to falling below 1.")(positions)
app.command("map", short_help="Show how much debt falls below 1 when prices drop.")(liquidation_map)
app.command(short_help="Compare everybody in the book with the chain at one block.")(audit)
app.command(short_help="Tell what happened to a borrower, or in one attempt, and why.")(explain)
app.command(short_help="Show what was recorded.")(journal)
app.add_typer(executor_app, name="executor", help="Set up the operator's own contract, and look at it.")
app.command(short_help="Add up what was earned and spent, by attempt and by day.")(report)
app.command(short_help="Send nothing until `keeper resume`; go on watching.")(pause)
app.command(short_help="Lift pauses: send again.")(resume)
app.command(short_help="Pause, and cancel what is on its way.")(kill)
app.add_typer(tx_app, name="tx", help="List what was signed; speed up or cancel what waits.")
app.add_typer(config_app, name="config", help="Look at the configuration.")


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"keeper {__version__}\n")
        raise typer.Exit(0)


@app.callback(help="Restore unhealthy borrowers on lending markets with the least repayment, and prove it.")
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    del version


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code; expected errors are one line on standard error."""
    try:
        # Without standalone mode a command's `typer.Exit` comes back as a return value.
        code = app(args=list(arguments), standalone_mode=False)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except ConfigError as error:
        sys.stderr.write(f"keeper: {error}\n")
        return 2
    except KeeperError as error:
        sys.stderr.write(f"keeper: {with_advice(error)}\n")
        return 1
    except Defect as error:
        sys.stderr.write(f"keeper: a defect of the keeper itself: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001  # the outermost line of defence: usage errors of the command line land here
        return _usage(error)
    if code == INTERRUPTED:
        sys.stderr.write("keeper: interrupted\n")
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> int:
    """A usage error is one line too (the command alone: its help); anything else is a bug and must be seen whole."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        raise error
    message, context = format_message(), getattr(error, "ctx", None)
    if "\n" in message:
        sys.stderr.write(f"{message}\n")
    else:
        hint = f" (`{context.command_path} --help` tells more)" if context is not None else ""
        sys.stderr.write(f"keeper: {message}{hint}\n")
    return int(getattr(error, "exit_code", 2))
