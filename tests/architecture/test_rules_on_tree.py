"""The rules hold for this checkout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tests.architecture import rules
from tests.architecture.tree import ROOT, committed_texts, name_of, sources

Rule = Callable[[str], list[str]]

INEXACT_ALLOWED = frozenset(
    {
        "keeper/book/weights.py",  # the screen's weights: they decide who is valued exactly, never an amount
        "keeper/book/page_screen.py",  # health estimates that order the rows for the screen
    }
)
"""Files of pure rooms that may use floats, each with its reason."""

MODE_ALLOWED = frozenset({"keeper/app/modes.py"})
"""One file of the composition root decides between dry, fork and live; nothing else may."""


def broken(paths: Iterable[Path], rule: Rule, allowed: frozenset[str] = frozenset()) -> list[str]:
    return [
        f"{name_of(path)}:{found}"
        for path in paths
        if name_of(path) not in allowed
        for found in rule(path.read_text(encoding="utf-8"))
    ]


def pure_sources() -> list[Path]:
    return list(sources("keeper/core", "keeper/protocols", "keeper/book", "keeper/stress"))


def test_amounts_are_integers() -> None:
    amounts = [*pure_sources(), *sources("keeper/routes")]
    assert broken(amounts, rules.inexact_numbers, INEXACT_ALLOWED) == []


def test_pure_rooms_cannot_reach_the_world() -> None:
    assert broken(pure_sources(), rules.impure_imports) == []


def test_the_mode_is_compared_in_the_composition_root_only() -> None:
    assert broken(sources("keeper"), rules.mode_comparisons, MODE_ALLOWED) == []


def test_files_are_short() -> None:
    texts = sources("keeper", "tests", "scripts", suffixes=(".py", ".sol", ".js", ".sh"))
    assert broken(texts, rules.too_long) == []


def test_modules_say_what_they_are_for() -> None:
    assert broken(sources("keeper"), rules.missing_docstring) == []


def test_tests_assert() -> None:
    assert broken(sources("tests"), rules.assertion_free_tests) == []


def test_packages_hold_code() -> None:
    folders = {path.parent for path in sources("keeper")}
    inside = {folder: [path for path in sources(name_of(folder)) if path.parent == folder] for folder in folders}
    empty = [
        name_of(folder)
        for folder, modules in inside.items()
        if rules.empty_package([module.read_text(encoding="utf-8") for module in modules])
        and not any(child.is_dir() and child.name != "__pycache__" for child in folder.iterdir())
    ]
    assert empty == []


def test_the_map_names_every_file_of_the_larger_rooms() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = []
    for room in ("core", "pipeline", "execution"):
        inside = {path.relative_to(ROOT / "keeper" / room).parts[0] for path in sources(f"keeper/{room}")}
        found += rules.off_the_map(text, room, {name.removesuffix(".py") for name in inside} - {"__init__"})
    assert found == [], "say in docs/ARCHITECTURE.md, under the larger rooms, what the file has to do with"


def test_committed_files_work_on_any_machine() -> None:
    found = [f"{name}:{place}" for name, text in committed_texts() for place in rules.foreign_places(text)]
    assert found == []


def test_the_rules_see_the_tree() -> None:
    assert ROOT / "keeper" / "core" / "errors.py" in pure_sources()
    assert "pyproject.toml" in {name for name, _ in committed_texts()}
