"""Every guard of the executor, and the test that fails without it: `python -m tests.contracts.guards [FUNCTION …]` shows it.

A guard is a line of contracts/Executor.vy; its mutant is the contract with another line in its place. Each mutant is compiled
and put into the world that the tests run in; the named test must pass with the contract as it is, and fail with the mutant.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.core.errors import KeeperError
from keeper.devnet.state import fresh_snapshot, revert_to
from tests.contracts.compiled import EXECUTOR_SOURCE, compiled
from tests.contracts.world import World, started_world, with_executor

WENT_THROUGH = "it went through"


@dataclass(frozen=True)
class Guard:
    """`line` occurs once in `function`, without its indentation; `without` takes its place. `test` is module.name."""

    function: str
    line: str
    without: str
    test: str
    given: Mapping[str, Any] = field(default_factory=dict)

    def mutant(self, source: str) -> str:
        """Raises ValueError when the line is not there exactly once."""
        start, end = blocks(source)[self.function]
        lines = source.splitlines()
        places = [number for number in range(start, end) if lines[number].strip() == self.line]
        if len(places) != 1:
            raise ValueError(f"{self.function}: {len(places)} lines are {self.line!r}")
        [place] = places
        indentation = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
        lines[place] = f"{indentation}{self.without}" if self.without else ""
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Shown:
    """What the test says without the guard; None: nothing, it passes."""

    guard: Guard
    complaint: str | None

    @property
    def harm(self) -> bool:
        """The attack itself succeeds, rather than being stopped by another guard."""
        return self.complaint is not None and WENT_THROUGH in self.complaint

    def __str__(self) -> str:
        verdict = "NOTHING FAILS" if self.complaint is None else f"fails: {self.complaint}"
        return f"{self.guard.function}: {self.guard.line}\n    {self.guard.test} {verdict}"


def blocks(source: str) -> dict[str, tuple[int, int]]:
    """First line and end of every function with its decorators, counted from 0."""
    lines = source.splitlines()
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines):
        named = re.match(r"def (\w+)\(", line)
        if named:
            start = number
            while lines[start - 1].startswith("@"):
                start -= 1
            end = next((later for later in range(number + 1, len(lines)) if re.match(r"[@#]|def ", lines[later])), None)
            found[named[1]] = start, len(lines) if end is None else end
    return found


def guarded_lines(source: str) -> set[tuple[str, str]]:
    """Function and text of every line that must be on the list."""
    lines = source.splitlines()
    return {
        (name, lines[number].strip())
        for name, (start, end) in blocks(source).items()
        for number in range(start, end)
        if lines[number].strip().startswith(("assert ", "@nonreentrant"))
    }


async def shown(guards: Sequence[Guard]) -> AsyncIterator[Shown]:
    """Each guard's test, with and without it. Raises whatever the test raises with the contract as it is."""
    source = EXECUTOR_SOURCE.read_text()
    async with started_world() as world:
        for guard in guards:
            mutant = await asyncio.to_thread(compiled, guard.mutant(source), "Executor")
            await _tried(guard, world)
            try:
                await _tried(guard, world, mutant)
            except (AssertionError, KeeperError) as error:
                yield Shown(guard, _told(error))
            else:
                yield Shown(guard, None)


def _told(error: Exception) -> str:
    """What failed: by its own words, else the line that it stands in."""
    return str(error).splitlines()[0] if str(error) else str(traceback.extract_tb(error.__traceback__)[-1].line)


async def _tried(guard: Guard, world: World, mutant: Any = None) -> None:
    module, name = guard.test.split(".")
    snapshot = await fresh_snapshot(world.bed)
    try:
        given = world if mutant is None else await with_executor(world, mutant)
        await getattr(importlib.import_module(f"tests.contracts.{module}"), name)(world=given, **guard.given)
    finally:
        await revert_to(world.bed, snapshot)


async def main(functions: Sequence[str]) -> int:
    from tests.contracts.guard_list import GUARDS

    wanted = [guard for guard in GUARDS if not functions or guard.function in functions]
    results = []
    async for each in shown(wanted):
        sys.stdout.write(f"{each}\n")
        sys.stdout.flush()
        results.append(each)
    missed = [each for each in results if each.complaint is None]
    went = sum(each.harm for each in results)
    sys.stdout.write(
        f"{len(results)} guards removed, {len(results) - len(missed)} times its test fails;"
        f" {went} times because the attack goes through, else because something else stops it, later or for another reason\n"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
