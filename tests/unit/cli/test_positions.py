"""`keeper positions`: the contract of docs/COMMANDS.md on rows made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from keeper.cli import positions_view, run_cli
from keeper.cli.positions_view import is_below, parse_health, show_json, show_table
from keeper.core.errors import ConfigError
from keeper.core.lending import Health
from keeper.core.units import NO_DEBT_HEALTH_WAD, WAD, Address
from keeper.core.valued import Valued

MARKET = Address(bytes.fromhex("a0" * 20))
KEYS = [
    "borrower",
    "market",
    "block_number",
    "health_factor_wad",
    "collateral_base",
    "debt_base",
    "liquidation_threshold_bps",
]


def row(serial: int, health_wad: int | None) -> Valued:
    health = None
    if health_wad is not None:
        health = Health(
            health_factor_wad=health_wad,
            collateral_base=2 * 10**17,
            debt_base=10**17,
            available_borrows_base=0,
            liquidation_threshold_bps=8250,
            ltv_bps=8000,
            weighted_collateral_base_bps=2 * 10**17 * 8250,
        )
    return Valued(Address(bytes([serial]) * 20), MARKET, 2**60, health, 8)


def test_every_object_has_exactly_the_documented_keys_and_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_json([row(1, 9 * 10**17), row(2, NO_DEBT_HEALTH_WAD)])
    listed = json.loads(capsys.readouterr().out)
    assert [list(each) for each in listed] == [KEYS, KEYS]
    assert all(isinstance(text, str) for each in listed for text in each.values())
    assert listed[0] == {
        "borrower": "0x0101010101010101010101010101010101010101",
        "market": "0xA0a0a0A0A0A0a0a0A0A0a0A0a0A0a0A0A0A0a0a0",
        "block_number": str(2**60),
        "health_factor_wad": "900000000000000000",
        "collateral_base": "200000000000000000",
        "debt_base": "100000000000000000",
        "liquidation_threshold_bps": "8250",
    }
    assert listed[1]["health_factor_wad"] == str(2**256 - 1)


def test_what_is_not_known_is_null_and_below_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_json([row(1, None)])
    [listed] = json.loads(capsys.readouterr().out)
    assert [listed[key] for key in KEYS[3:]] == [None] * 4
    assert is_below(row(1, None), None)
    assert not is_below(row(1, None), 10 * WAD)


def test_nobody_is_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    show_json([])
    assert json.loads(capsys.readouterr().out) == []


def test_below_is_exact_and_means_below() -> None:
    assert parse_health("1.0") == parse_health("1") == WAD
    assert parse_health("1.000000000000000001") == WAD + 1
    assert is_below(row(1, WAD - 1), WAD)
    assert not is_below(row(1, WAD), WAD)
    assert is_below(row(1, 5 * WAD), parse_health(None))


@pytest.mark.parametrize("text", ["one", "-1", "NaN", "Infinity", "", "1,05"])
def test_below_wants_a_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--below wants a number"):
        parse_health(text)
    arguments = ["--rpc", "http://127.0.0.1:9", "--addresses-provider", "0x" + "a0" * 20]
    assert run_cli(["positions", *arguments, f"--below={text}"]) == 2
    assert "--below wants a number" in capsys.readouterr().err


def test_the_table_shows_whole_addresses_and_who_has_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([row(1, None), row(2, 9 * 10**17), row(3, NO_DEBT_HEALTH_WAD)])
    shown = capsys.readouterr().out
    assert "3 borrowers" in shown
    assert "0x0101010101010101010101010101010101010101" in shown
    assert "no price" in shown
    assert "0.9000" in shown
    assert "8250 bps" in shown


def test_eighty_columns_break_no_address(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions_view, "table_console", lambda: Console(width=80))
    show_table([row(1, 9 * 10**17)])
    shown = capsys.readouterr().out
    assert "0x0101010101010101010101010101010101010101" in shown
    assert "2.00B" in shown
    assert "threshold" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_nobody_below_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([], "1.05")
    assert capsys.readouterr().out == "No borrower below 1.05\n"


@pytest.mark.parametrize("arguments", [["--rpc", "http://127.0.0.1:9"], ["--addresses-provider", "0x" + "a0" * 20]])
def test_a_node_without_a_market_is_no_whole_question(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["positions", *arguments]) == 2
    assert "go together" in capsys.readouterr().err


def test_where_there_is_no_file_it_says_that_none_is_needed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_cli(["positions", "--config", str(tmp_path / "nothing.toml")]) == 2
    error = capsys.readouterr().err
    assert "nothing.toml: no such configuration file" in error and "--rpc and --addresses-provider" in error


@pytest.mark.parametrize(
    "rpc, provider, complaint",
    [
        ("127.0.0.1:8545", "0x" + "a0" * 20, "--rpc: an RPC URL is not of the form http"),
        ("http://127.0.0.1:9/c4n4ry", "0xa0", "--addresses-provider: not an address"),
    ],
)
def test_bad_arguments_are_one_line_without_the_url(
    rpc: str, provider: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["positions", "--rpc", rpc, "--addresses-provider", provider]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert "c4n4ry" not in error
