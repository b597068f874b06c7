"""The rehearsal: the keeper as a daemon, live on a testnet's chain id, behind an endpoint with a public one's manners.

The node, the market and the borrowers are the devnet's; an observer asks the node directly, never through the proxy.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from keeper.core.events import Kind
from keeper.core.intent import OPEN_STATUSES, IntentStatus
from keeper.core.units import Address
from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.market import Bed
from keeper.devnet.script import Step
from keeper.devnet.specials import DEMO_CRASH
from keeper.devnet.state import Recipe, specials_for, started_bed
from keeper.pipeline.tasks import leading_error
from keeper.store import StoreReader
from keeper.store.reader import EventFilter, JournalRow
from tests.faults import FaultProxy
from tests.ports import free_port
from tests.rehearsal.daemon import Daemon, running_daemon
from tests.rehearsal.market_days import MarketDays, actors_of
from tests.rehearsal.observer import Observer
from tests.rehearsal.readback import Reader
from tests.rehearsal.setting import Setting, prepared
from tests.rehearsal.terms import CHAIN_ID, Terms
from tests.rehearsal.verdict import Report, Run, reported
from tests.rehearsal.weather import USUAL, Traffic, weather

_READY_WITHIN_S = 240.0
_POLL_S = 0.3
_SETTLED_WITHIN_S = 60.0
_UNDECIDED = OPEN_STATUSES - {IntentStatus.LOST}
Say = Callable[[str], None]


@dataclass
class Stage:
    """Everything that a rehearsal is played with."""

    terms: Terms
    bed: Bed
    setting: Setting
    proxy: FaultProxy
    observer: Observer
    reader: Reader
    days: MarketDays
    actors: Sequence[Address]
    health_port: int
    say: Say
    runs: list[Run] = field(default_factory=list)
    serial: int = 0
    waves: int = 0


async def rehearse(terms: Terms, say: Say) -> Report:
    """Play it to its end and judge it. Raises when it cannot be played."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keeper-rehearsal-")))
        recipe = Recipe("3.6", terms.borrowers, terms.seed, CHAIN_ID, specials_for(DEMO_CRASH))
        bed = await stack.enter_async_context(started_bed(recipe, AnvilOptions(states_on_disk=2_000), say))
        proxy = await stack.enter_async_context(FaultProxy(bed.url, USUAL))
        actors = await actors_of(bed, terms)
        port = free_port()
        setting = await prepared(bed, terms, folder, proxy.url, port)
        home = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
        everybody = [*(each.borrower for each in bed.openings), *actors]
        observer = Observer(bed, everybody, terms.sample_every_blocks)
        reader = Reader(setting.store, observer)
        days = MarketDays(bed, terms, home, Counter())
        stage = Stage(terms, bed, setting, proxy, observer, reader, days, actors, port, say)
        await bed.chain.rpc.request("evm_setAutomine", [False])
        await bed.chain.rpc.request("evm_setIntervalMining", [terms.block_s])
        spells: Counter[str] = Counter()
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(observer.watch()),
                    group.create_task(weather(proxy, bed, terms.seed, terms.spell_every_s, spells)),
                ]
                await _two_lives(stage)
                for task in background:
                    task.cancel()
        except BaseExceptionGroup as errors:
            say(setting.log.read_text(encoding="utf-8")[-4_000:])
            raise leading_error(errors) from None
        await reader.catch_up()
        return await reported(stage.terms, stage.runs, stage.observer, stage.reader, setting, days.done, spells)


async def _two_lives(stage: Stage) -> None:
    """The daemon works, is stopped in the middle of a fall, and works on after it was started again."""
    first_s = stage.terms.first_life_share * stage.terms.seconds

    async def busy() -> None:
        until_s = time.monotonic() + first_s
        while time.monotonic() < until_s:
            await _day(stage, lambda step: False)
            if (
                stage.waves < 2
                and stage.terms.newcomers
                and time.monotonic() > until_s - first_s * (2 - stage.waves) / 3
            ):
                stage.waves += 1
                stage.observer.everybody += await stage.days.arrive(stage.waves)
        # Stopped with orders under way, if the fall brought any.
        sent_before = len(_rows(stage, Kind.SENT))
        await _day(stage, lambda step: step.note in ("crash", "rise"))
        for _ in range(int(stage.terms.step_s / _POLL_S)):
            if len(_rows(stage, Kind.SENT)) > sent_before:
                break
            await asyncio.sleep(_POLL_S)

    async def quiet() -> None:
        until_s = time.monotonic() + stage.terms.seconds - first_s
        while time.monotonic() < until_s:
            await _day(stage, lambda step: False)
        await asyncio.sleep(stage.terms.settle_blocks * stage.terms.block_s)
        await _until_settled(stage)

    await _life(stage, busy)
    await asyncio.sleep(2 * stage.terms.block_s)
    await _life(stage, quiet)


async def _day(stage: Stage, stop_after: Callable[[Step], bool]) -> None:
    await stage.days.live(stage.actors, stage.serial, stop_after)
    stage.serial += 1
    last = stage.runs[-1].daemon.vitals[-1:]
    stage.say(f"day {stage.serial} over; {last[0] if last else 'not yet measured'}")


async def _life(stage: Stage, work: Callable[[], Awaitable[None]]) -> None:
    """Start the daemon, wait until it judges, let things happen, stop it."""
    traffic = Traffic()
    stage.proxy.on_request = traffic.hear
    limited_before = stage.proxy.limited
    start_block = await stage.bed.chain.block_number()
    async with running_daemon(stage.setting.config, stage.health_port, stage.setting.log) as daemon:
        run = Run(daemon, traffic, start_block)
        stage.runs.append(run)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(daemon.watch(1.0))
            await _until_judged(daemon)
            run.ready_s = time.monotonic() - daemon.started_s
            up_s = time.time()
            run.requests_to_ready = sum(traffic.by_method.values())
            stage.say(f"life {len(stage.runs)}: ready after {run.ready_s:.0f} s and {run.requests_to_ready} requests")
            reading = group.create_task(stage.reader.follow(1.0))
            await work()
            run.up = (up_s, time.time())
            watching.cancel()
            run.open_at_stop = _open_attempts(stage)
            run.exit_code, run.stop_s = await daemon.stop(stage.terms.stop_within_s)
            run.stop_block = await stage.bed.chain.block_number()
            run.limited = stage.proxy.limited - limited_before
            reading.cancel()


async def _until_judged(daemon: Daemon) -> None:
    """Until its health page says that blocks are applied and the market is in order."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while not daemon.vitals or daemon.vitals[-1].health != 200:
        if daemon.process.returncode is not None or time.monotonic() > deadline:
            raise AssertionError(f"the daemon is not ready; exit code {daemon.process.returncode}")
        await asyncio.sleep(_POLL_S)


async def _until_settled(stage: Stage) -> None:
    """Until it is decided what came of all that was sent, which behind such an endpoint takes longer than blocks do. What is
    open after that is for the verdict."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while time.monotonic() < deadline:
        with StoreReader.open(stage.setting.store) as store:
            attempts = {row.attempt for row in store.events(EventFilter(kinds=(Kind.SENT,))) if row.attempt is not None}
            if not any(intent.status in _UNDECIDED for attempt in attempts for intent in store.intents(attempt)):
                return
        await asyncio.sleep(stage.terms.block_s)


def _rows(stage: Stage, kind: Kind) -> list[JournalRow]:
    with StoreReader.open(stage.setting.store) as reader:
        return list(reader.events(EventFilter(kinds=(kind,))))


def _open_attempts(stage: Stage) -> int:
    ended = {row.attempt for kind in (Kind.RESTORED, Kind.NOT_RESTORED) for row in _rows(stage, kind)}
    return len({row.attempt for row in _rows(stage, Kind.SENT)} - ended)
