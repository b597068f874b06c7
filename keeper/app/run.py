"""The daemon and its one-shot relatives, put together from the rooms."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

from keeper import __version__
from keeper.app.ground import reached
from keeper.app.modes import Ground, Means, effective_mode, means_for, token_decimals
from keeper.app.parts import BoardWatcher, FollowedMarkets, NullCheckpoints, ObservedJournal, preset_check
from keeper.app.plan import RunPlan
from keeper.app.terms import desk_terms, head_age_limit_s
from keeper.chain.deployed import first_code_block
from keeper.core import event_build
from keeper.core.errors import ConfigError, KeeperError, StoreError
from keeper.core.event_build import AssetLabel
from keeper.core.events import Event
from keeper.core.units import Address
from keeper.core.valued import Valued
from keeper.execution.loopback import is_loopback_anvil
from keeper.pipeline.desk import Desk
from keeper.pipeline.loop import ChainLoop
from keeper.pipeline.market import MarketFollower, Progress
from keeper.pipeline.supervise import OnceResult, follow_chain, run_once
from keeper.pipeline.tasks import leading_error
from keeper.ports import Checkpoints, Intents, Journal
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.settings import Chain as ChainSettings
from keeper.settings import Settings
from keeper.store import Store
from keeper.telemetry.alerts import Alerts
from keeper.telemetry.health import HealthBoard, serve_health
from keeper.telemetry.log import configure_logging
from keeper.telemetry.recorder import Recorder
from keeper.telemetry.redact import Redactor

HEALTH_AGE_BLOCKS = 10
SHORTEST_HEALTH_AGE_S = 60.0
ONCE_HEAD_TIMEOUT_BLOCKS = 20
WORK_LEFT, TROUBLE = 3, 1

Follower = MarketFollower[Market, State]


def silent(first: int, reached_block: int, last: int) -> None:
    """Progress that nobody watches."""


async def run_keeper(
    settings: Settings, plan: RunPlan, progress: Progress = silent, observer: Journal | None = None
) -> int:
    """Run every configured chain until stopped, or once. Returns the exit code; raises `ConfigError` and, when asked to run
    once, other `KeeperError`s. An `observer` hears all that is journaled; who brings one also handles the signals, and
    stops the run by cancelling it."""
    mode = effective_mode(settings, plan)
    redactor = Redactor()
    for chain in settings.chains.values():
        for url in chain.rpc_url:
            redactor.add_url(url.get_secret_value())
    configure_logging(redactor, level=settings.log_level, style=settings.log_format)
    alerts = Alerts([url.get_secret_value() for url in settings.alerts], redactor=redactor)
    async with Store.open(settings.store) as store, alerts.running():
        journal = Recorder(store if observer is None else ObservedJournal(store, observer), alerts, redactor)
        running = asyncio.current_task()
        assert running is not None, "a coroutine runs in a task"
        with _stopping_on_signals(running) if observer is None else nullcontext():
            try:
                if plan.once:
                    return await _once_all(settings, plan, mode, store, journal, redactor, progress)
                await _daemon(settings, mode, store, journal, redactor, progress)
            except asyncio.CancelledError:
                if running.uncancel() > 0:
                    raise
                await journal.record([event_build.stopped(name, "asked to stop") for name in settings.chains])
                return 130 if plan.once else 0
            except BaseExceptionGroup as errors:
                raise leading_error(errors) from None
    return 0


async def _daemon(
    settings: Settings, mode: str, store: Store, journal: Recorder, redactor: Redactor, progress: Progress
) -> None:
    board = HealthBoard(redactor, max_age_s=SHORTEST_HEALTH_AGE_S, store_trouble=lambda: store.trouble)
    async with AsyncExitStack() as stack:
        if settings.health_port:
            await stack.enter_async_context(serve_health(board, port=settings.health_port))
        async with asyncio.TaskGroup() as group:
            for name, chain in settings.chains.items():
                group.create_task(
                    _chain_for_ever(name, settings, chain, mode, store, journal, board, progress), name=name
                )


async def _chain_for_ever(
    name: str,
    settings: Settings,
    chain: ChainSettings,
    mode: str,
    store: Store,
    journal: Recorder,
    board: HealthBoard,
    progress: Progress,
) -> None:
    """Start the chain, and start it again after trouble, later each time. Only a `ConfigError` ends it."""
    health = board.chain(name)
    watcher = BoardWatcher(health)
    pause_s = 1.0
    while True:
        try:
            async with built_chain(name, settings, chain, mode, store, store, journal) as (ground, means, loop):
                await journal.record([started(ground, means)])
                pause_s = 1.0
                await follow_chain(loop, ground.client, journal, watcher, progress)
        except KeeperError as error:
            if not survivable(error):
                raise
            health.note_error(error)
            await journal.record([event_build.trouble(name, error)])
        await asyncio.sleep(pause_s)
        pause_s = min(60.0, 2 * pause_s)


def survivable(error: KeeperError) -> bool:
    """Whether a running daemon waits and tries again: everything but what a person must mend in a file."""
    return not isinstance(error, ConfigError | StoreError)


async def _once_all(
    settings: Settings,
    plan: RunPlan,
    mode: str,
    store: Store,
    journal: Recorder,
    redactor: Redactor,
    progress: Progress,
) -> int:
    board = HealthBoard(redactor, max_age_s=SHORTEST_HEALTH_AGE_S)
    left = False
    for name, chain in settings.chains.items():
        result = await once(
            name, settings, chain, mode, store, store, journal, BoardWatcher(board.chain(name)), progress
        )
        left |= result.work_left
    return WORK_LEFT if left else 0


async def once(
    name: str,
    settings: Settings,
    chain: ChainSettings,
    mode: str,
    checkpoints: Checkpoints,
    intents: Intents,
    journal: Journal,
    watcher: BoardWatcher,
    progress: Progress,
) -> OnceResult:
    """One chain, once: judge and act until nothing is open."""
    async with built_chain(name, settings, chain, mode, checkpoints, intents, journal) as (ground, means, loop):
        await journal.record([started(ground, means)])
        timeout_s = max(60.0, ONCE_HEAD_TIMEOUT_BLOCKS * ground.block_s)
        result = await run_once(loop, ground.client, watcher, progress, timeout_s, means.submitter.rehearses)
        await journal.record([event_build.stopped(name, "once: work left" if result.work_left else "once: done")])
        return result


@asynccontextmanager
async def built_chain(
    name: str,
    settings: Settings,
    chain: ChainSettings,
    mode: str,
    checkpoints: Checkpoints,
    intents: Intents,
    journal: Journal,
) -> AsyncIterator[tuple[Ground, Means, ChainLoop]]:
    """One chain's loop with everything it needs. On the way out the books are saved."""
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(reached(name, settings, chain))
        followers = followers_of(ground, checkpoints)
        markets = FollowedMarkets(followers, ground.wrapped_native)
        means = await means_for(mode, ground, markets, intents, journal, stack)
        loop = ChainLoop(
            name,
            ground.client,
            [
                desk_of(ground, follower, market, means)
                for follower, market in zip(followers, ground.markets, strict=True)
            ],
            means.funding,
            means.simulator,
            means.submitter,
            journal,
            time.time,
            head_age_limit_s(chain, ground.block_s, await mines_on_demand(ground)),
            await asset_labels(ground),
        )
        try:
            yield ground, means, loop
        finally:
            for follower in followers:
                await follower.save_checkpoint()


async def mines_on_demand(ground: Ground) -> bool:
    """Whether the node is a local anvil: it may mine only when something is sent."""
    return await is_loopback_anvil(ground.chain.rpc_url[0].get_secret_value(), ground.rpc)


def followers_of(ground: Ground, checkpoints: Checkpoints) -> list[Follower]:
    async def first_block(entry: Address) -> int:
        if ground.chain.start_block is not None:
            return ground.chain.start_block
        if ground.preset is not None and ground.preset.start_block is not None:
            return ground.preset.start_block
        return await first_code_block(ground.rpc, entry, ground.head)

    return [
        MarketFollower(
            ground.client,
            ground.name,
            AaveV3(),
            market.provider,
            checkpoints,
            first_block,
            preset_check(ground.preset, market.provider),
        )
        for market in ground.markets
    ]


def desk_of(ground: Ground, follower: Follower, market: Market, means: Means) -> Desk:
    terms = desk_terms(ground.chain, market.base_currency_unit, ground.wrapped_native, ground.block_s)
    return Desk(follower, terms, ground.chain_id, means.liquidator)


async def asset_labels(ground: Ground) -> dict[Address, Sequence[AssetLabel]]:
    """Per market, how people read its assets."""
    decimals = await token_decimals(ground)
    return {
        market.provider: [AssetLabel(r.asset, r.label, decimals[r.asset]) for r in market.reserves]
        for market in ground.markets
    }


def started(ground: Ground, means: Means) -> Event:
    return event_build.started(
        ground.name,
        version=__version__,
        mode=means.name,
        chain_id=ground.chain_id,
        keeper=means.liquidator,
        markets=[market.provider for market in ground.markets],
    )


async def list_positions(settings: Settings, progress: Progress = silent) -> list[Valued]:
    """Every borrower with debt of every configured market, lowest health first. Reads only; the store is not touched."""
    rows: list[Valued] = []
    for name, chain in settings.chains.items():
        async with reached(name, settings, chain) as ground:
            for follower, market in zip(followers_of(ground, NullCheckpoints()), ground.markets, strict=True):
                await ground.client.extend(ground.head)
                await follower.start(ground.head, progress)
                decimals = len(str(market.base_currency_unit)) - 1
                rows += [
                    Valued(row.borrower, market.provider, ground.head.number, follower.health(row), decimals)
                    for row in follower.book.positions()
                ]
    return sorted(
        rows, key=lambda row: (row.health is not None, row.health and row.health.health_factor_wad, row.borrower)
    )


class _stopping_on_signals:  # noqa: N801  # reads as a phrase
    """While inside, SIGINT and SIGTERM cancel the task, once; a second one falls through to the default."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        self.__exit__()
        self._task.cancel()

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)
