"""Beds for tests: the real contracts on an anvil of the test's own.

`bed36` and `bed302` are fresh anvils that load the cached base state (a market with `BASE_POSITIONS` borrowers) in
about 0.2 s, so a test may do to them what it likes. `bed` runs a test on both versions. The state is built once,
by whichever process needs it first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keeper.devnet.market import Bed
from keeper.devnet.spec import Version
from keeper.devnet.state import Recipe, started_bed

BASE_POSITIONS = 60
VERSIONS: tuple[Version, ...] = ("3.6", "3.0.2")


@pytest.fixture
async def bed36() -> AsyncIterator[Bed]:
    """Aave 3.6 with the base borrowers."""
    async with started_bed(Recipe("3.6", BASE_POSITIONS)) as bed:
        yield bed


@pytest.fixture
async def bed302() -> AsyncIterator[Bed]:
    """Aave 3.0.2 with the base borrowers."""
    async with started_bed(Recipe("3.0.2", BASE_POSITIONS)) as bed:
        yield bed


@pytest.fixture(params=VERSIONS)
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    """Each version in turn, with the base borrowers."""
    async with started_bed(Recipe(request.param, BASE_POSITIONS)) as each:
        yield each
