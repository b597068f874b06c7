"""Each rule, fed what it forbids and what it allows."""

from __future__ import annotations

import pytest

from tests.architecture import rules


@pytest.mark.parametrize(
    "source",
    ["x = 1.5", "x = 1e18", "x = y / z", "x /= 2", "x = float(y)", "x = round(y)", "x = 10**-18", "x = 2j"],
)
def test_inexact_numbers_are_found(source: str) -> None:
    assert len(rules.inexact_numbers(source)) == 1


@pytest.mark.parametrize("source", ["x = y // z", "x = 10**18", "def f(seconds: float) -> None: ...", "x = 'a / b'"])
def test_integers_pass(source: str) -> None:
    assert rules.inexact_numbers(source) == []


@pytest.mark.parametrize(
    "source",
    ["import time", "from os import path", "def f():\n    import httpx", "from . import x", "import web3.main"],
)
def test_impure_imports_are_found(source: str) -> None:
    assert len(rules.impure_imports(source)) == 1


def test_pure_imports_pass() -> None:
    assert rules.impure_imports("from collections.abc import Mapping\nfrom keeper.core.units import WAD") == []


@pytest.mark.parametrize(
    "source",
    [
        "if mode == 'dry': ...",
        "x = 'live' != settings.mode",
        "x = mode in ('live', 'other')",
        "match mode:\n    case 'fork': ...",
        "match mode:\n    case Mode.LIVE: ...",
        "x = mode is Mode.DRY",
    ],
)
def test_mode_comparisons_are_found(source: str) -> None:
    assert len(rules.mode_comparisons(source)) == 1


@pytest.mark.parametrize(
    "source", ["Mode = Literal['dry', 'live']", "mode: Mode = 'dry'", "print('live')", "x.live == y"]
)
def test_naming_the_mode_passes(source: str) -> None:
    assert rules.mode_comparisons(source) == []


def test_long_files_are_found() -> None:
    assert rules.too_long("x = 1\n" * (rules.LINES_MOST + 1)) == ["401: more than 400 lines"]
    assert rules.too_long("x = 1\n" * rules.LINES_MOST) == []


def test_missing_docstrings_are_found() -> None:
    assert rules.missing_docstring("x = 1") == ["1: no module docstring"]
    assert rules.missing_docstring('"""What it is for."""\nx = 1') == []


@pytest.mark.parametrize(
    "source",
    [
        "def test_x():\n    run()",
        "async def test_x():\n    assert True",
        "class TestX:\n    def test_y(self):\n        assert 'text'",
        "def test_x():\n    reassert_nothing()",
        "def show():\n    run()\ndef test_x():\n    show()",
    ],
)
def test_tests_that_assert_nothing_are_found(source: str) -> None:
    assert len(rules.assertion_free_tests(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def test_x():\n    assert run() == 1",
        "def test_x():\n    with pytest.raises(ValueError):\n        run()",
        "async def test_x():\n    assert_restored(borrower)",
        "def holds():\n    assert run()\ndef all_hold():\n    holds()\ndef test_x():\n    all_hold()",
        "def show():\n    run()",
    ],
)
def test_tests_that_assert_pass(source: str) -> None:
    assert rules.assertion_free_tests(source) == []


@pytest.mark.parametrize("folder", ["work", "root", "home", "Users", "tmp/x", "farm"])
def test_machine_paths_are_found(folder: str) -> None:
    assert len(rules.foreign_places(f'path = "/{folder}/somebody/file"')) == 1


@pytest.mark.parametrize("host", [("pypi", "org"), ("registry", "npmjs", "org"), ("files", "pythonhosted", "org")])
def test_package_hosts_are_found(host: tuple[str, ...]) -> None:
    assert len(rules.foreign_places(f'"resolved": "https://{".".join(host)}/x.tgz"')) == 1


def test_package_indexes_are_found() -> None:
    assert len(rules.foreign_places("--extra-" + "index-" + "url https://example.org")) == 1


@pytest.mark.parametrize(
    "text", ["/etc/keeper/keeper.toml", "keeper/network/x", "a/home/b", "keeper/work/x", "https://a.org"]
)
def test_other_places_pass(text: str) -> None:
    assert rules.foreign_places(text) == []


def test_empty_packages_are_found() -> None:
    assert rules.empty_package(['"""A room to be."""']) == ["1: a package without code"]
    assert rules.empty_package(['"""A room."""', "x = 1"]) == []


def test_files_off_the_map_are_found() -> None:
    text = "| `core` | |\n|---|---|\n| plans | `plan`, `size`, `gone` (once) |\n\n| `pipeline` | |\n| | `other` |\n"
    assert rules.off_the_map(text, "core", {"plan", "size"}) == ["gone: in the table, but not there"]
    assert rules.off_the_map(text, "core", {"plan", "size", "gone", "new"}) == ["new: not in the table"]
    assert rules.off_the_map(text, "pipeline", {"other"}) == []
