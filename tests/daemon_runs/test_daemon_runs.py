"""Seeded runs of the whole live daemon: whatever happens, nothing is done twice, no nonce is left out, no rail is passed, and
the report is the money. At full length a series that was stopped goes on where it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon_runs import done
from tests.daemon_runs.play import play

LONG = bool(os.environ.get("KEEPER_LONG"))
SEEDS = range(500 if LONG else 25)


@pytest.mark.parametrize("seed", SEEDS)
async def test_daemon_run(seed: int, tmp_path: Path) -> None:
    if LONG and seed in done.done():
        pytest.skip("this seed ended well with this very code")
    run = await play(seed, tmp_path)
    assert not run.problems, f"seed {seed}: replay it with `python -m tests.daemon_runs {seed}`"
    done.write_down(seed)
