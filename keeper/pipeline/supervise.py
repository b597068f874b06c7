"""Keeps one chain's loop running, or runs it until its work is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Protocol

from keeper.core import event_build
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, Defect, KeeperError, MarketError
from keeper.core.events import Severity
from keeper.core.order import Outcome
from keeper.pipeline.loop import ChainLoop, Round, leaves_work
from keeper.pipeline.market import Progress
from keeper.ports import Chain, Journal

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
TRIES_ONCE = 5


class Watcher(Protocol):
    """Told what the loop does; the health page is one."""

    def on_round(self, loop: ChainLoop, result: Round) -> None: ...

    def on_error(self, loop: ChainLoop, error: Exception) -> None: ...


async def follow_chain(loop: ChainLoop, chain: Chain, journal: Journal, watcher: Watcher, progress: Progress) -> None:
    """Every head, for ever. Trouble with the world backs off and goes on; only a configuration error ends it."""
    failures = 0
    async for head in chain.heads():
        try:
            watcher.on_round(loop, await loop.on_head(head, progress))
            failures = 0
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  # the supervisor: whatever broke is recorded, and the chain goes on
            failures += 1
            watcher.on_error(loop, error)
            expected = isinstance(error, KeeperError)
            severity = Severity.WARNING if expected else Severity.ALERT
            await journal.record([event_build.trouble(loop.name, error, block_number=head.number, severity=severity)])
            await asyncio.sleep(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10)))


@dataclass(frozen=True, slots=True)
class OnceResult:
    """How `--once` ended."""

    last: Round
    outcomes: tuple[Outcome, ...]
    work_left: bool


async def run_once(
    loop: ChainLoop,
    chain: Chain,
    watcher: Watcher,
    progress: Progress,
    head_timeout_s: float,
    rehearses: bool,
) -> OnceResult:
    """Judge and act until nothing is open and the last head brought no new order.

    Raises `MarketError` for a refused market, `Defect` for a stopped one, `ChainError` when the world stays unwell or a
    transaction stays pending.
    """
    outcomes: list[Outcome] = []
    failures = 0
    heads = chain.heads()
    while True:
        head = await _next_head(heads, head_timeout_s, loop)
        try:
            result = await loop.on_head(head, progress)
        except ChainError as error:
            failures += 1
            watcher.on_error(loop, error)
            if failures >= TRIES_ONCE:
                raise
            continue
        watcher.on_round(loop, result)
        outcomes += result.settled
        _raise_refusal(loop)
        if loop.open or (result.submitted and not rehearses):
            continue
        unproven = any(not outcome.mined or not outcome.restored for outcome in outcomes) if rehearses else False
        left = [stands for stands in result.standings.values() if leaves_work(stands)]
        open_left = left if not rehearses else [stands for stands in left if stands.attempt is None]
        return OnceResult(result, tuple(outcomes), unproven or bool(open_left))


async def _next_head(heads: AsyncIterator[BlockRef], timeout_s: float, loop: ChainLoop) -> BlockRef:
    waiting: Awaitable[BlockRef] = anext(heads)
    try:
        return await asyncio.wait_for(waiting, timeout_s)
    except TimeoutError:
        names = ", ".join(submission.order.attempt for submission in loop.open.values())
        why = f"attempts still open: {names}" if names else "the node shows no new block"
        raise ChainError(f"{loop.name}: no new head for {timeout_s:.0f} s; {why}") from None


def _raise_refusal(loop: ChainLoop) -> None:
    for desk in loop.desks:
        if desk.market in loop.stopped:
            raise Defect(loop.stopped[desk.market])
        why = loop.refusals.get(desk.market)
        if why is not None:
            raise MarketError(why)
