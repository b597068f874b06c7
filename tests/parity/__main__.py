"""`python -m tests.parity 17 [18 …]`: judge the heads of these seeds, dry and live, and tell what differs."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.parity.runs import stage


async def main(seeds: list[int]) -> int:
    """Exit code 1 when two journals differ."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as set_up:
            for seed in seeds:
                found = await set_up.compare(seed, Path(folder) / str(seed))
                bad += bool(found.differences)
                sys.stdout.write(
                    f"seed {seed}: {'bad' if found.differences else 'good'} · {found.orders} orders ·"
                    f" {', '.join(found.reasons) or 'nobody refused'}\n"
                )
                for difference in found.differences:
                    sys.stdout.write(f"  {difference}\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main([int(each) for each in sys.argv[1:]])))
