"""Without any one guard of the executor, a test fails."""

from __future__ import annotations

import os

import pytest

from tests.contracts.compiled import EXECUTOR_SOURCE
from tests.contracts.guard_list import GUARDS
from tests.contracts.guards import guarded_lines, shown

SPREAD = len(GUARDS) if os.environ.get("KEEPER_LONG") else 2
"""All of them in `make soak`; a mutant takes a second or two."""


def test_every_guard_is_on_the_list() -> None:
    source = EXECUTOR_SOURCE.read_text()
    assert not guarded_lines(source) - {(guard.function, guard.line) for guard in GUARDS}
    for guard in GUARDS:
        assert guard.mutant(source) != source


@pytest.mark.timeout(900)
async def test_without_a_guard_its_test_fails() -> None:
    chosen = GUARDS[:: -(-len(GUARDS) // SPREAD)]
    missed = [each.guard async for each in shown(chosen) if each.complaint is None]
    assert not missed
