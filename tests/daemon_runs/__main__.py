"""`python -m tests.daemon_runs 17 [18 …]`: play these seeds, one after the other, and tell how each ended."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.daemon_runs.play import play


async def main(seeds: list[int]) -> int:
    """Exit code 1 when a run had a problem."""
    bad = 0
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix=f"daemon-run-{seed}-"))
        run = await play(seed, folder)
        bad += bool(run.problems)
        sys.stdout.write(
            f"seed {seed}: {'bad' if run.problems else 'good'} · {run.orders} orders · {dict(run.happened)} ·"
            f" {run.seconds:.1f} s\n"
        )
        for problem in run.problems:
            sys.stdout.write(f"  {problem}\n")
        if run.problems:
            sys.stdout.write(f"  the keeper's files are left in {folder}\n")
        else:
            await asyncio.to_thread(shutil.rmtree, folder)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main([int(each) for each in sys.argv[1:]])))
