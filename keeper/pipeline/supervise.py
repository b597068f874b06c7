"""Keeps one chain's loop running, or runs it until its work is done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from keeper.concurrency import check_wanted
from keeper.core import event_build
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, Defect, KeeperError, MarketError, StoreBusy, StoreError
from keeper.core.events import Severity
from keeper.core.order import Outcome
from keeper.core.units import to_hex
from keeper.pipeline.loop import ChainLoop
from keeper.pipeline.progress import Progress
from keeper.pipeline.round import OUR_FAULT, UNFORESEEN, Round, leaves_work
from keeper.ports import Chain, Journal

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
TRIES_ONCE = 5


class Watcher(Protocol):
    """Told what the loop does; the health page is one."""

    def on_round(self, loop: ChainLoop, result: Round) -> None: ...

    def on_error(self, loop: ChainLoop, error: Exception) -> None: ...


async def follow_chain(loop: ChainLoop, chain: Chain, journal: Journal, watcher: Watcher, progress: Progress) -> None:
    """Every head, for ever. Trouble with the world backs off and goes on; an error of the configuration ends it, and one of the
    store, unless it is only busy: nothing may happen that cannot be written down."""
    failures = 0
    async for head in chain.heads():
        failures = await _round_for_ever(loop, head, chain, journal, watcher, progress, failures)
        # A chain that mines on demand may show no other head: what this one had no time for goes on at once.
        while loop.cut_short and failures == 0:
            failures = await _round_for_ever(loop, None, chain, journal, watcher, progress, failures)


async def _round_for_ever(
    loop: ChainLoop,
    head: BlockRef | None,
    chain: Chain,
    journal: Journal,
    watcher: Watcher,
    progress: Progress,
    failures: int,
) -> int:
    """One round, at the newest head if none is given. Returns how many in a row have failed by now.

    What is neither trouble that has a name nor wrong code (a `RuntimeError`, say) is raised: the chain is started anew.
    """
    check_wanted()
    loop.calm.clear()
    try:
        head = head or await _newest(loop, chain)
        watcher.on_round(loop, await loop.on_head(head, progress))
    except (KeeperError, *OUR_FAULT) as error:
        if isinstance(error, ConfigError | StoreError) and not isinstance(error, StoreBusy):
            raise
        check_wanted()
        # A market that reached the head must not wait for another that never does.
        failures = 1 if any(desk.follower.applied == head for desk in loop.desks) else failures + 1
        watcher.on_error(loop, error)
        expected = isinstance(error, KeeperError)
        severity = Severity.WARNING if expected else Severity.ALERT
        number = head.number if head is not None else None
        await journal.record([event_build.trouble(loop.name, error, block_number=number, severity=severity)])
        await asyncio.sleep(_pause_s(failures))
        return failures
    finally:
        loop.calm.set()
    return 0


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

    Raises `MarketError` for a refused market and `Defect` for a stopped one, after the others are done; `ChainError` when
    the world stays unwell, one borrower's transactions fail again and again, or for `head_timeout_s` neither a new head
    comes nor an open attempt is settled.
    """
    outcomes: list[Outcome] = []
    heads = chain.heads()
    clock = asyncio.get_running_loop()
    moved_s, asked = clock.time(), False
    while True:
        # A chain that mines on demand may show no other head: what the last one had no time for goes on at once.
        head = None if loop.cut_short or asked else await _next_head(heads, head_timeout_s, loop)
        result = await _one_round(loop, chain, head, watcher, progress)
        outcomes += result.settled
        if result.submitted or result.settled:
            moved_s = clock.time()
        if loop.open and clock.time() - moved_s > head_timeout_s:
            raise ChainError(f"{loop.name}: nothing was settled for {head_timeout_s:.0f} s; {_still_open(loop)}")
        _raise_when_hopeless(loop, outcomes)
        asked = loop.is_asking and clock.time() - moved_s <= head_timeout_s
        if asked:
            for each in loop.asked:
                await each.ask()
            continue
        if loop.open or loop.is_mending or (result.submitted and not rehearses):
            continue
        _raise_refusal(loop)
        return OnceResult(result, tuple(outcomes), _leaves_work(result, outcomes, rehearses))


async def _one_round(
    loop: ChainLoop, chain: Chain, head: BlockRef | None, watcher: Watcher, progress: Progress
) -> Round:
    """The round of this head; without one, and after trouble, that of the newest: a quiet chain may show no other for long."""
    for failures in count(1):
        check_wanted()
        try:
            if failures > 1:
                head = await chain.latest()
            result = await loop.on_head(head or await _newest(loop, chain), progress)
            watcher.on_round(loop, result)
            return result
        except ChainError as error:
            watcher.on_error(loop, error)
            if failures >= TRIES_ONCE:
                raise
            await asyncio.sleep(_pause_s(failures))
        except UNFORESEEN as error:
            raise Defect(f"{loop.name}: {type(error).__name__}: {error}") from error
    raise AssertionError("the counting has no end")


async def _newest(loop: ChainLoop, chain: Chain) -> BlockRef:
    """The newest head; the last one handled where a node that is behind answers with one below it. A chain that really went
    back shows that by its heads."""
    head, last = await chain.latest(), loop.head
    return last if last is not None and head.number < last.number else head


def _raise_when_hopeless(loop: ChainLoop, outcomes: Sequence[Outcome]) -> None:
    """Each failed transaction costs gas, and each leads to a new plan."""
    failed = Counter(outcome.borrower for outcome in outcomes if outcome.mined and not outcome.restored)
    for borrower, times in failed.items():
        if times >= TRIES_ONCE:
            raise ChainError(f"{loop.name}: {times} attempts on {to_hex(borrower)} were mined and did not restore it")


def _leaves_work(result: Round, outcomes: Sequence[Outcome], rehearses: bool) -> bool:
    """Whether somebody still waits for something that is neither the market's rules nor the operator's wish; or an attempt
    that was the last for its borrower did not keep what it promised. Nobody's promise is kept by what was only simulated."""
    left = [stands for stands in result.standings.values() if leaves_work(stands)]
    if rehearses:
        unproven = any(not outcome.mined or not outcome.restored for outcome in outcomes)
        return unproven or any(stands.attempt is None for stands in left)
    last = {(outcome.market, outcome.borrower): outcome for outcome in outcomes}
    broken = any(outcome.mined and not outcome.restored for outcome in last.values())
    return broken or bool(left)


async def _next_head(heads: AsyncIterator[BlockRef], timeout_s: float, loop: ChainLoop) -> BlockRef:
    waiting: Awaitable[BlockRef] = anext(heads)
    try:
        return await asyncio.wait_for(waiting, timeout_s)
    except TimeoutError:
        why = _still_open(loop) if loop.open else "the node shows no new block"
        raise ChainError(f"{loop.name}: no new head for {timeout_s:.0f} s; {why}") from None


def _still_open(loop: ChainLoop) -> str:
    return "attempts still open: " + ", ".join(submission.order.attempt for submission in loop.open.values())


def _pause_s(failures: int) -> float:
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))


def _raise_refusal(loop: ChainLoop) -> None:
    for desk in loop.desks:
        if desk.market in loop.stopped:
            raise Defect(loop.stopped[desk.market])
        why = loop.refusals.get(desk.market) or desk.follower.refused
        if why is not None:
            raise MarketError(why)
