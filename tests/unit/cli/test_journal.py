from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keeper.cli import run_cli
from keeper.cli.render import checksum
from keeper.core import event_build
from keeper.store import Store
from tests.unit.cli.telling import write_store
from tests.unit.store.facts import BORROWER, CHAIN, MARKET, USDC

NAMES = ["seq", "at", "chain", "kind", "block_number", "market", "borrower", "attempt", "severity", "fields"]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "keeper.db")


@pytest.fixture
def lines(store: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    def read(*options: str) -> list[dict[str, Any]]:
        assert run_cli(["journal", "--json", "--store", str(store), *options]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return read


Lines = Callable[..., list[dict[str, Any]]]


def test_every_line_is_one_object_with_the_documented_names(lines: Lines) -> None:
    rows = lines()
    assert all(list(row) == NAMES for row in rows)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["kind"] for row in rows] == [
        *("started", "market_verified", "caught_up", "seen", "refused"),
        *("decided", "sent", "seen", "refused", "mined", "mined", "restored"),
    ]


def test_addresses_have_their_checksum_wherever_they_are_and_money_is_text(lines: Lines) -> None:
    decided = next(row for row in lines() if row["kind"] == "decided")
    assert decided["market"] == checksum(MARKET)
    assert decided["borrower"] == checksum(BORROWER)
    call = decided["fields"]["calls"][0]
    assert call["debt_asset"] == checksum(USDC)
    assert call["debt_to_cover_raw"] == "950000000"
    assert decided["fields"]["target_wad"] == "1050000000000000000"
    assert decided["fields"]["liquidation_threshold_bps"] == 8250


def test_options_narrow_it_down(lines: Lines) -> None:
    assert {row["kind"] for row in lines("--kind", "mined", "--kind", "restored")} == {"mined", "restored"}
    assert {row["borrower"] for row in lines("--borrower", "0x" + "b0" * 20)} == {checksum(BORROWER)}
    assert {row["block_number"] for row in lines("--since", "101")} == {101}
    assert [row["kind"] for row in lines("--last", "2")] == ["mined", "restored"]
    assert lines("--since", "102") == []


def test_people_get_a_table(store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run_cli(["journal", "--store", str(store)]) == 0
    shown = capsys.readouterr().out
    assert "Restored. Health 0.9700 before → 1.0500 planned → 1.0500 read back" in shown
    assert "100-b0b0b0b0" in shown
    assert len(shown.splitlines()) == 13


@pytest.mark.parametrize("columns", [60, 80, 100, 139])
def test_a_narrow_terminal_gets_the_sentences_below_each_other(
    columns: int, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run_cli(["journal", "--store", str(store), "--kind", "restored"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("testchain  block 101  restored  100-b0b0b0b0")
    assert all(line.startswith("  ") and len(line) <= columns for line in rest)
    told = " ".join(" ".join(line.split()) for line in rest)
    assert told.startswith("Restored. Health 0.9700 before → 1.0500 planned → 1.0500 read back (target 1.0500")
    assert len(rest) <= 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--store", "nowhere.db"], "no store at nowhere.db: start the keeper first"),
        (["--borrower", "0x12"], "not an address"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(
    arguments: list[str],
    message: str,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(store.parent)
    assert run_cli(["journal", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_file_that_is_no_store_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello " * 1000)
    assert run_cli(["journal", "--store", str(tmp_path / "notes.txt")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_configuration_names_the_store(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = '[chains.x]\nrpc_url = "http://127.0.0.1:1"\naddresses_provider = "0x' + "a0" * 20 + '"\n'
    config = tmp_path / "some.toml"
    config.write_text(f'store = "{store}"\n{chain}')
    assert run_cli(["journal", "--json", "--config", str(config)]) == 0
    assert capsys.readouterr().out.count("\n") == 12
    monkeypatch.chdir(store.parent)
    assert run_cli(["journal", "--json"]) == 0, "without a configuration, the default name in this folder"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    store = write_store(tmp_path / "keeper.db", {})
    # More than a pipe holds, so that writing goes on after `head` has left.
    write_many(store)
    command = f"{sys.executable} -m keeper journal --json --store {store} | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert ended.stdout.count("\n") == 1


def write_many(store: Path) -> None:
    async def write() -> None:
        async with Store.open(store) as opened:
            await opened.record([event_build.stopped(CHAIN, "x" * 200)] * 2000)

    asyncio.run(write())


def test_following_shows_what_is_recorded_from_now_on(store: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "keeper",
        "journal",
        "--json",
        "--follow",
        "--kind",
        "stopped",
        "--store",
        str(store),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        late = threading.Timer(30, reader.kill)
        late.start()
        try:
            write_many(store)
            rows = [json.loads(reader.stdout.readline()) for _ in range(2000)]
        finally:
            late.cancel()
            reader.kill()
    assert {row["kind"] for row in rows} == {"stopped"}
    assert len({row["seq"] for row in rows}) == 2000
