"""The import contracts of pyproject.toml hold, and each can fail: on a copy of the package with one forbidden import."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {contract["id"] for contract in CONFIG["tool"]["importlinter"]["contracts"]}

VIOLATIONS = [
    ("keeper/core/units.py", "import keeper.chain.jsonrpc", "layers"),
    ("keeper/execution/__init__.py", "import keeper.chain.jsonrpc", "layers"),
    ("keeper/utils.py", "x = 1", "layers"),
    ("keeper/book/__init__.py", "import logging", "pure"),
    ("keeper/protocols/aave_v3/__init__.py", "import time", "pure"),
    ("keeper/stress/__init__.py", "import random", "pure"),
    ("keeper/protocols/other/__init__.py", "import keeper.protocols.aave_v3", "protocols"),
    ("keeper/store/__init__.py", "import keeper.book", "outer"),
    ("keeper/pipeline/__init__.py", "import keeper.execution", "pipeline"),
    ("keeper/devnet/__init__.py", "import keeper.settings", "settings"),
    ("keeper/store/__init__.py", "import keeper.devnet", "devnet"),
    ("keeper/store/__init__.py", "import keeper.assets", "assets"),
    ("keeper/execution/dry.py", "import keeper.execution.live", "live"),
    ("keeper/execution/dry.py", "import eth_account", "keys"),
    ("keeper/chain/jsonrpc.py", "from eth_keys import keys", "keys"),
    ("keeper/core/units.py", "import keeper.core.errors\nimport keeper.core.block", "cycles"),
]


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "keeper", tmp_path / "keeper", ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file, line, contract", VIOLATIONS)
def test_a_violation_is_found(copy: Path, file: str, line: str, contract: str) -> None:
    target = copy / file
    target.parent.mkdir(exist_ok=True)
    with target.open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    done = lint(copy, "--contract", contract)
    assert done.returncode == 1, done.stdout
    assert "Contracts: 0 kept, 1 broken." in done.stdout


def test_every_contract_has_a_violation_to_show() -> None:
    assert {contract for _, _, contract in VIOLATIONS} == CONTRACTS
