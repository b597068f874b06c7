"""What the code imports is declared, what is declared is locked with hashes, and set-up can read the lock."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.tree import ROOT, sources

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==\S+(?: ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*requirements: str) -> set[str]:
    return {normal(re.split(r"[<>=!~\[; ]", requirement)[0]) for requirement in requirements}


RUNTIME = declared(*PYPROJECT["project"]["dependencies"])
EXTRAS = declared(*PYPROJECT["project"]["optional-dependencies"]["aws"])
DEVELOPMENT = declared(*PYPROJECT["dependency-groups"]["dev"])


def imported(folder: str) -> set[str]:
    """Top-level modules that are neither ours nor Python's."""
    names: set[str] = set()
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"keeper", "tests", "scripts"}


def undeclared(folder: str, allowed: set[str]) -> set[str]:
    owners = packages_distributions()
    return {name for name in imported(folder) if not {normal(owner) for owner in owners.get(name, [])} & allowed}


def lock_of(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def test_what_the_package_imports_is_declared() -> None:
    assert undeclared("keeper", RUNTIME | EXTRAS) == set()


def test_what_only_an_extra_brings_is_imported_when_it_is_needed_and_no_sooner() -> None:
    """The package works without it."""
    found = [
        (path.name, type(parent).__name__)
        for path in sources("keeper")
        for parent in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for node in ast.iter_child_nodes(parent)
        if isinstance(node, ast.Import) and {alias.name.split(".")[0] for alias in node.names} & EXTRAS
    ]
    assert found
    assert {parent for _, parent in found} <= {"FunctionDef", "Try"}


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_what_tests_and_scripts_import_is_declared(folder: str) -> None:
    assert undeclared(folder, RUNTIME | DEVELOPMENT) == set()


def test_an_undeclared_import_is_found() -> None:
    assert "aiohttp" in undeclared("keeper", RUNTIME - {"aiohttp"})


@pytest.mark.parametrize(
    "name, names", [("requirements.lock", RUNTIME), ("requirements-dev.lock", RUNTIME | DEVELOPMENT)]
)
def test_everything_declared_is_pinned_with_hashes(name: str, names: set[str]) -> None:
    lines = lock_of(name)
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    pinned = {normal(match.group(1)) for line in lines if (match := PIN.match(line))}
    assert names <= pinned


def test_both_locks_agree() -> None:
    pins = [
        {line for line in lock_of(name) if PIN.match(line)} for name in ("requirements.lock", "requirements-dev.lock")
    ]
    assert pins[0] <= pins[1]


def test_set_up_finds_its_installer_in_the_lock() -> None:
    script = (ROOT / "scripts" / "setup.sh").read_text(encoding="utf-8")
    command = next(line for line in script.splitlines() if line.lstrip().startswith("awk '/^uv=="))
    block = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert PIN.match(block[0])
    assert all(HASH.match(line) for line in block[1:])
    assert not block[-1].endswith("\\")
