"""What `python -m tests.…_runs 17 [18 …]` does: one seed after the other, a line for each, and what was wrong with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NoReturn

Told = tuple[str, Sequence[str]]
"""What came of a seed in a few words, and its problems."""


async def tell(seeds: Sequence[int], play: Callable[[int], Awaitable[Told]]) -> int:
    """Exit code 1 when a seed had a problem."""
    bad = 0
    for seed in seeds:
        words, problems = await play(seed)
        bad += bool(problems)
        sys.stdout.write(f"seed {seed}: {'bad' if problems else 'good'} · {words}\n")
        for problem in problems:
            sys.stdout.write(f"  {problem}\n")
    return int(bad > 0)


def run(main: Callable[[list[int]], Coroutine[Any, Any, int]]) -> NoReturn:
    """With the seeds of the command line."""
    sys.exit(asyncio.run(main([int(each) for each in sys.argv[1:]])))
