"""`python -m tests.parity 17 [18 …]`: judge the heads of these seeds, dry and live, and tell what differs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests import seeds
from tests.parity.runs import stage


async def main(wanted: list[int]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as set_up:

            async def compared(seed: int) -> seeds.Told:
                found = await set_up.compare(seed, Path(folder) / str(seed))
                return f"{found.orders} orders · {', '.join(found.reasons) or 'nobody refused'}", found.differences

            return await seeds.tell(wanted, compared)


if __name__ == "__main__":
    seeds.run(main)
