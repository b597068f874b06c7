"""The built wheel works in an empty environment outside the checkout: it finds what it ships, and its commands answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, name_of, sources

pytestmark = pytest.mark.timeout(600)

FIND_ASSETS = """
import json, keeper, keeper.assets as assets
print(json.dumps({
    "package": keeper.__file__,
    "presets": sorted(path.stem for path in assets.asset_folder("config/chains").iterdir()),
    "interfaces": len(list(assets.asset_folder("contracts_abi").rglob("*.json"))),
    "example": assets.read_text("config/keeper.example.toml"),
}))
"""


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Without our environment's variables, so that nothing of the checkout shines through."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "KEEPER_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def uv_install(cwd: Path, *arguments: str | Path) -> None:
    """From uv's cache where it can, so that the test works without a network after set-up."""
    install = (sys.executable, "-m", "uv", "--native-tls", "pip", "install", *arguments)
    if run(*install, "--offline", cwd=cwd, check=False).returncode != 0:
        run(*install, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and its locked dependencies; its parent is outside the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    uv_install(folder, "--python", python, "--require-hashes", "-r", ROOT / "requirements.lock")
    uv_install(folder, "--python", python, "--no-deps", wheel)
    return python.parent


def test_the_wheel_carries_every_file_of_the_package(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {name_of(path) for path in sources("keeper", suffixes=(".py", ".sol", ".js", ".json", ".toml"))}
    shipped = {
        f"keeper/_assets/{name_of(path)}" for path in sources("config", "contracts_abi", suffixes=(".toml", ".json"))
    }
    assert ours | shipped <= packed
    assert not [name for name in packed if "node_modules" in name or name.startswith("tests/")]


def test_the_installed_wheel_finds_its_assets(environment: Path) -> None:
    found = json.loads(run(environment / "python", "-c", FIND_ASSETS, cwd=environment).stdout)
    assert not Path(found["package"]).is_relative_to(ROOT)
    assert found["presets"] == sorted(path.stem for path in (ROOT / "config" / "chains").glob("*.toml"))
    assert found["interfaces"] == len(list((ROOT / "contracts_abi").rglob("*.json")))
    assert found["example"] == (ROOT / "config" / "keeper.example.toml").read_text(encoding="utf-8")


def test_the_installed_command_shows_its_help(environment: Path) -> None:
    shown = run(environment / "keeper", "--help", cwd=environment).stdout
    assert all(command in shown for command in ("demo", "run", "positions", "explain", "journal", "config"))


def test_the_installed_command_checks_a_configuration(environment: Path, tmp_path: Path) -> None:
    example = run(
        environment / "python",
        "-c",
        "import keeper.assets as a; print(a.read_text('config/keeper.example.toml'))",
        cwd=tmp_path,
    )
    (tmp_path / "keeper.toml").write_text(example.stdout, encoding="utf-8")
    assert "sepolia" in run(environment / "keeper", "config", "check", cwd=tmp_path).stdout
    (tmp_path / "keeper.toml").write_text(example.stdout.replace("rpc_url", "rpc_ulr"), encoding="utf-8")
    refused = run(environment / "keeper", "config", "check", cwd=tmp_path, check=False)
    assert refused.returncode == 2
    assert "rpc_ulr" in refused.stderr and "rpc_url" in refused.stderr
