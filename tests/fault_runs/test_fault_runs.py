"""Seeded fault runs: each ends with the book equal to the chain and no order that the honest node would not have led to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fault_runs.play import play

SEEDS = range(200 if os.environ.get("KEEPER_LONG") else 25)


@pytest.mark.parametrize("seed", SEEDS)
async def test_fault_run(seed: int, tmp_path: Path) -> None:
    run = await play(seed, tmp_path)
    assert not run.problems, f"seed {seed}: replay it with `python -m tests.fault_runs {seed}`"
