"""The command line itself: help, usage errors, what it costs to ask."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from keeper import __version__
from keeper.cli import run_cli

COMMANDS = (
    *("demo", "devnet", "run", "positions", "map", "audit", "explain", "journal", "executor", "config"),
    *("report", "pause", "resume", "kill", "tx"),
)
HELP_WITHIN_S = 0.4
HEAVY = (
    "rich",
    "pydantic",
    "sqlalchemy",
    "aiohttp",
    "eth_account",
    "web3",
    "keeper.app",
    "keeper.settings",
    "keeper.store",
)


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:")[1].split("\n")
    assert {line.split()[0] for line in listed if line.strip()} == set(COMMANDS)


def test_the_list_of_commands_is_cut_nowhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_cli(["--help"]) == run_cli(["config", "--help"]) == 0
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["--version"]) == 0
    assert capsys.readouterr().out == f"keeper {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([command, "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["config"], ["executor"]])
def test_nothing_asked_for_is_answered_with_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(arguments) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, names",
    [
        (["runn"], "'run'"),
        (["run", "--onec"], "--onec"),
        (["run", "--config"], "--config"),
        (["run", "live"], "live"),
        (["config", "chek"], "'check'"),
        (["positions", "--below"], "--below"),
    ],
)
def test_a_usage_error_is_one_line(arguments: list[str], names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("keeper: ") and error.count("\n") == 1
    assert names in error


def test_the_help_loads_nothing_heavy() -> None:
    """What makes `--help` quick, without a stop-watch: the work is imported by the command that does it."""
    code = "import sys; from keeper.cli import run_cli; run_cli(['--help']); sys.stderr.write(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ended.stderr.split()
    assert "keeper.cli.run" in loaded
    assert [name for name in loaded if name in HEAVY] == []


def test_the_help_is_quick() -> None:
    """Processor time, which other work on the machine does not stretch."""
    best_s = min(_help_s() for _ in range(3))
    assert best_s < HELP_WITHIN_S


def _help_s() -> float:
    before = os.times()
    started_s = time.monotonic()
    ended = subprocess.run([sys.executable, "-m", "keeper", "--help"], capture_output=True, check=False)
    elapsed_s, after = time.monotonic() - started_s, os.times()
    assert ended.returncode == 0
    used_s = after.children_user - before.children_user + after.children_system - before.children_system
    return min(elapsed_s, used_s)
