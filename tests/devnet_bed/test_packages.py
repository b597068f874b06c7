"""What is installed is pinned, and what fails says so in one line and leaves nothing half-done."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from keeper.core.errors import ConfigError
from keeper.devnet import packages
from keeper.devnet.cache import build_once, build_once_async, cache_root
from keeper.devnet.errors import DevnetError

SETS = ("anvil", "solc", "aave_v36", "aave_v302")
NPM = Path(packages.__file__).parent / "npm"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", SETS)
def test_locks_are_exact_and_name_no_address(name: str) -> None:
    text = (NPM / name / "package-lock.json").read_text()
    assert "http" not in text
    assert "resolved" not in text
    entries = json.loads(text)["packages"]
    unhashed = {path for path, entry in entries.items() if path and "integrity" not in entry}
    assert all("/anvil-" in path and "linux-amd64" not in path for path in unhashed)
    wanted = json.loads((NPM / name / "package.json").read_text())["dependencies"]
    assert all(entries[f"node_modules/{package}"]["version"] == version for package, version in wanted.items())


def test_the_cache_folder_is_configurable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("KEEPER_CACHE_DIR", raising=False)
    assert cache_root() == tmp_path / "xdg" / "keeper"
    monkeypatch.setenv("KEEPER_CACHE_DIR", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"


def test_an_unwritable_cache_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="KEEPER_CACHE_DIR"):
        build_once(tmp_path / "file" / "entry", lambda _draft: None)


def test_missing_npm_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="npm is not on PATH"):
        packages.install("solc")


def test_a_failing_install_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    said: list[str] = []
    with pytest.raises(DevnetError, match="npm ci of solc failed") as caught:
        packages.install("solc", said.append)
    assert "\n" not in str(caught.value)
    assert said == ["installing solc from the npm registry"]
    assert [path.suffix for path in (tmp_path / "npm").iterdir()] == [".lock"]


def test_two_at_once_build_once(tmp_path: Path) -> None:
    entry, builds = tmp_path / "entry", []

    def build(draft: Path) -> None:
        builds.append(draft)
        time.sleep(0.2)
        (draft / "made").write_text("whole")

    threads = [threading.Thread(target=build_once, args=(entry, build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert (entry / "made").read_text() == "whole"


async def test_coroutines_build_once_too_and_failure_leaves_nothing(tmp_path: Path) -> None:
    entry, builds = tmp_path / "entry", []

    async def fail(draft: Path) -> None:
        raise DevnetError("no luck")

    async def build(draft: Path) -> None:
        builds.append(draft)
        await asyncio.sleep(0.1)

    with pytest.raises(DevnetError, match="no luck"):
        await build_once_async(entry, fail)
    assert names_in(tmp_path) == ["entry.lock"]
    await asyncio.gather(*(build_once_async(entry, build) for _ in range(4)))
    assert len(builds) == 1
    assert entry.is_dir()
