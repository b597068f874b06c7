"""Fixtures that every test may ask for, and how `make test` shares the tests out among its workers."""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

pytest_plugins = ["tests.devnet_fixtures"]

WORKERS_A_CORE = 2
"""A test with a chain waits for half of its time."""
_LONGEST_FIRST = (
    "tests/rehearsal",
    "tests/protocols",
    "tests/devnet",
    "tests/parity",
    "tests/daemon_runs",
    "tests/fault_runs",
    "tests/property",
)
"""What starts last should be short: a long test that is left alone at the end keeps every other core waiting."""
_TOGETHER = ("tests/architecture/test_wheel.py", "tests/contracts/")
"""Where the tests of a module share what takes seconds to set up."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Each test goes by itself to whichever worker is free; only those of some modules go together."""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda name: name.partition("::")[0] if name.startswith(_TOGETHER) else name
    return scheduler


def pytest_xdist_auto_num_workers() -> int:
    return WORKERS_A_CORE * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else WORKERS_A_CORE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    found = (turn for turn, folder in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(folder))
    return next(found, len(_LONGEST_FIRST))
