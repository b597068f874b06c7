"""docs/SAFETY.md names a test for every number, and each of them is there."""

from __future__ import annotations

import re

from tests.architecture.tree import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
HEADING_LINES = 2


def lines() -> list[str]:
    page = (ROOT / "docs" / "SAFETY.md").read_text(encoding="utf-8")
    return [line for line in page.splitlines() if line.startswith("|")][HEADING_LINES:]


def missing(line: str) -> list[str]:
    """Of the tests that a line names, those that are not in the tree; all of it where it names none."""
    named = NAMED.findall(line)
    absent = []
    for path, name in named:
        file = ROOT / path
        if not file.is_file() or not re.search(rf"^(async )?def {name}\(", file.read_text(), flags=re.MULTILINE):
            absent.append(f"{path}::{name}")
    return absent if named else [line]


def test_every_number_has_a_test_that_is_there() -> None:
    found = lines()
    assert len(found) >= 20
    assert [absent for line in found for absent in missing(line)] == []


def test_a_line_without_a_test_is_noticed() -> None:
    assert missing("| price | the oracle | never | nothing | |") != []
    assert missing("| price | | | | `tests/architecture/test_safety_table.py::test_of_nothing` |") != []
    assert missing("| price | | | | `tests/architecture/test_of_nothing.py::lines` |") != []
