"""`python -m tests.fault_runs 17 [18 …]`: play these seeds, one after the other, and tell how each ended."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests import seeds
from tests.fault_runs.play import play


async def played(seed: int) -> seeds.Told:
    with tempfile.TemporaryDirectory() as folder:
        run = await play(seed, Path(folder))
    words = f"{run.orders} orders · reorgs {list(run.reorgs)} · {dict(run.troubles)} · {run.seconds:.1f} s"
    return words, run.problems


if __name__ == "__main__":
    seeds.run(lambda wanted: seeds.tell(wanted, played))
