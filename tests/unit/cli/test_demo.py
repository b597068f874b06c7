"""The command's own part: exit codes, what it keeps out, where it writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keeper.app.demo import DemoResult
from keeper.cli import run_cli
from keeper.cli.demo import demo as command
from tests.unit.app.demo_facts import result

Played = Callable[[int | None, Path | None], DemoResult]


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Played], None]]:
    """The play itself takes a chain: tests/devnet has it. Here only how it ended."""
    before = dict(os.environ)

    def replace(played: Played) -> None:
        # The package shows the command, not its module, under this name.
        monkeypatch.setitem(command.__globals__, "_played", played)

    yield replace
    os.environ.update(before)


def test_exit_0_when_nothing_is_wrong(ends_with: Callable[[Played], None], capsys: pytest.CaptureFixture[str]) -> None:
    ends_with(lambda seed, store: result())
    assert run_cli(["demo"]) == 0
    assert "Model error: 0 wad" in capsys.readouterr().out


def test_exit_1_with_the_names(ends_with: Callable[[Played], None], capsys: pytest.CaptureFixture[str]) -> None:
    ends_with(lambda seed, store: result(found=["long 0xb2 misses its target by 1 wad"]))
    assert run_cli(["demo"]) == 1
    assert "long 0xb2 misses its target by 1 wad" in capsys.readouterr().out


def test_exit_130_with_one_line(ends_with: Callable[[Played], None], capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(seed: int | None, store: Path | None) -> DemoResult:
        raise KeyboardInterrupt

    ends_with(interrupted)
    assert run_cli(["demo"]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "keeper: interrupted\n"


def test_options_reach_the_play_and_the_way_to_explain_is_told(
    ends_with: Callable[[Played], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    heard: list[tuple[int | None, Path | None]] = []

    def played(seed: int | None, store: Path | None) -> DemoResult:
        heard.append((seed, store))
        return result()

    ends_with(played)
    assert run_cli(["demo", "--seed", "5", "--store", "a.db", "--svg", str(tmp_path / "a.svg")]) == 0
    assert heard == [(5, Path("a.db"))]
    assert "keeper explain --store a.db 0xb0" in capsys.readouterr().out.replace("0xB0", "0xb0")
    assert (tmp_path / "a.svg").read_text().lstrip().startswith("<svg")


def test_settings_of_the_person_stay_out(ends_with: Callable[[Played], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_MODE", "dry")
    monkeypatch.setenv("KEEPER_CHAINS__MINE__RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("KEEPER_CACHE_DIR", "somewhere")
    seen: list[set[str]] = []

    def played(seed: int | None, store: Path | None) -> DemoResult:
        seen.append({name for name in os.environ if name.startswith("KEEPER_")})
        return result()

    ends_with(played)
    assert run_cli(["demo"]) == 0
    assert seen == [{"KEEPER_CACHE_DIR"}]
