"""`python -m tests.daemon_runs 17 [18 …]`: play these seeds, one after the other, and tell how each ended."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from tests import seeds
from tests.daemon_runs.play import play


async def played(seed: int) -> seeds.Told:
    """What a bad run wrote is left where it is."""
    folder = Path(tempfile.mkdtemp(prefix=f"daemon-run-{seed}-"))
    run = await play(seed, folder)
    words = f"{run.orders} orders · {dict(run.happened)} · {run.seconds:.1f} s"
    if run.problems:
        return words, [*run.problems, f"the keeper's files are left in {folder}"]
    await asyncio.to_thread(shutil.rmtree, folder)
    return words, ()


if __name__ == "__main__":
    seeds.run(lambda wanted: seeds.tell(wanted, played))
