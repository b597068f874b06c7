"""The demo put together: the devnet, a throwaway account with inventory, a real configuration, the real keeper, a crash.

Everything lives in a temporary folder and on a local anvil; both are gone afterwards, however it ends.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from keeper.app.demo_check import Readings, cases, problems, read_all, reasons_on_file, shortfalls
from keeper.app.demo_config import BLOCK_S, prepared_keeper
from keeper.app.demo_record import Record, Token
from keeper.app.plan import RunPlan
from keeper.app.run import run_keeper
from keeper.app.signals import StopSignals
from keeper.concurrency import Group
from keeper.core.errors import ConfigError, KeeperError
from keeper.core.events import Event
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address
from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.market import Bed
from keeper.devnet.script import drift, play, set_prices
from keeper.devnet.specials import DEMO_CRASH
from keeper.devnet.state import Recipe, specials_for, started_bed
from keeper.pipeline.loop import TRANSIENT
from keeper.pipeline.tasks import leading_error
from keeper.settings import load_settings

POSITIONS = 210
DEFAULT_SEED = 11
BLOCK_GAS = 60_000_000
CALM_STEPS = 2
CALM_MOVE_BPS = 10
QUIET_HEADS = 2
"""So many judged heads without anything left to do end the demo."""
READY_WITHIN_S = 60.0
QUIET_WITHIN_S = 120.0
READING_WITHIN_S = 5.0
"""So long a block waits for the keeper to have judged the one before."""
TRANSIENT_WITHIN_S = 30.0
"""So long reasons that may go away are waited for."""
_FOLDER_PREFIX = "keeper-demo-"
_POLL_S = 0.05


class DemoTrouble(KeeperError):
    """The demo could not be played to its end."""


class Screen(Protocol):
    """Where the demo is watched."""

    def step(self, what: str) -> None:
        """A step of the set-up begins. May be called from a worker thread."""
        ...

    def begin(self, record: Record) -> None:
        """The set-up is over; from now on the record is worth looking at."""
        ...

    def moved(self, note: str, record: Record) -> None:
        """Prices moved."""
        ...

    def heard(self, events: Sequence[Event], record: Record) -> None:
        """The keeper journaled this."""
        ...

    def judged(self, record: Record) -> None:
        """The keeper has judged a head."""
        ...


@dataclass(frozen=True, slots=True)
class DemoTerms:
    """What the person asked for."""

    seed: int = DEFAULT_SEED
    store: Path | None = None
    """Where to keep the journal; None: in the temporary folder."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How it ended."""

    record: Record
    readings: Readings
    shown: Mapping[str, Sequence[Address]]
    """Who showed which case."""
    problems: Sequence[str]
    """Empty: the demo succeeded."""
    elapsed_s: float


async def run_demo(terms: DemoTerms, screen: Screen) -> DemoResult:
    """Play the demo. Raises `ConfigError`, `DevnetError`, `DemoTrouble` and what the keeper raises.

    SIGINT and SIGTERM cancel it: CancelledError, with everything put away.
    """
    started_s = time.monotonic()
    if terms.store is not None and terms.store.exists():
        raise ConfigError(
            f"--store {terms.store} exists already: name a file that does not, the demo starts a new journal"
        )
    recipe = Recipe("3.6", POSITIONS, terms.seed, crash=specials_for(DEMO_CRASH))
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    with StopSignals(task), tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        async with started_bed(recipe, AnvilOptions(gas_limit=BLOCK_GAS), screen.step) as bed:
            screen.step("making the keeper's account: gas, and every token that can be owed")
            config = await prepared_keeper(bed, Path(folder), terms.store)
            screen.step("starting the keeper: every borrower from the chain's logs, verified to the wei")
            record, crash_block = await _played(bed, config, screen)
            final_block = record.judged_block
            assert final_block is not None, "the keeper judged heads after the crash"
            readings = await read_all(bed, record, crash_block, final_block)
        reasons = reasons_on_file(terms.store or Path(folder) / "keeper.db", final_block)
    found = problems(record, readings, reasons) + shortfalls(record, readings, reasons, bed.openings)
    shown = cases(record, readings, reasons, bed.openings)
    return DemoResult(record, readings, shown, found, time.monotonic() - started_s)


# -- the play ----------------------------------------------------------------------------------------------------------
async def _played(bed: Bed, config: Path, screen: Screen) -> tuple[Record, int]:
    """The keeper runs, the prices fall, the keeper works until nothing is left; the record and the block of the crash."""
    record = Record(
        names={opening.borrower: case_name(opening.kind) for opening in bed.openings},
        tokens={asset.token: Token(asset.symbol, asset.decimals) for asset in bed.deployment.assets.values()},
    )
    listener = Listener(record, screen)
    settings = load_settings(config)
    try:
        async with Group() as group:
            keeper = group.create_task(
                run_keeper(settings, RunPlan(once=False, live=True, fork=False), observer=listener), name="keeper"
            )
            # Until it is ready each transaction is mined at once: its approvals need not wait for blocks.
            await _until(
                lambda: record.judged_block is not None, record, keeper, READY_WITHIN_S, "the keeper is not ready"
            )
            await bed.chain.rpc.request("evm_setAutomine", [False])
            mining = group.create_task(_blocks(bed, listener), name="blocks")
            screen.begin(record)
            crash_block = await _crash(bed, record, screen)
            await _until(listener.quiet_since(crash_block), record, keeper, QUIET_WITHIN_S, "the keeper is not done")
            mining.cancel()
            keeper.cancel()
    except BaseExceptionGroup as errors:
        raise leading_error(errors) from None
    return record, crash_block


async def _blocks(bed: Bed, listener: Listener) -> None:
    """A block about every second, while nobody reads: anvil answers a call that is pinned to its newest block from the
    state of the one that it is mining at that moment."""
    while True:
        await asyncio.sleep(BLOCK_S)
        await listener.until_judged(await bed.chain.block_number(), READING_WITHIN_S)
        await bed.chain.mine()


async def _crash(bed: Bed, record: Record, screen: Screen) -> int:
    """A few calm moves, then the fall; the block in which it stands."""
    start = await _prices(bed)
    record.start_prices = record.prices = start
    moving = {symbol: start[symbol] for symbol in DEMO_CRASH}
    async for step in play(bed, drift(moving, 1, CALM_STEPS, BLOCK_S, CALM_MOVE_BPS), real_time=True):
        record.prices = await _prices(bed)
        screen.moved(step.note, record)
    await set_prices(bed, DEMO_CRASH)
    record.prices = await _prices(bed)
    screen.moved("crash", record)
    return await bed.chain.block_number()


async def _prices(bed: Bed) -> dict[str, int]:
    return {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}


async def _until(
    condition: Callable[[], bool], record: Record, keeper: asyncio.Task[int], within_s: float, complaint: str
) -> None:
    """Raises DemoTrouble when the time is up, the keeper has ended, or it refuses the market."""
    deadline = time.monotonic() + within_s
    while not condition():
        if keeper.done():
            raise DemoTrouble("the keeper ended before its work was done")
        if record.refused is not None:
            raise DemoTrouble(f"the keeper does not work on this market: {record.refused}")
        if time.monotonic() > deadline:
            raise DemoTrouble(f"{complaint} after {within_s:.0f} s")
        await asyncio.sleep(_POLL_S)


class Listener:
    """Implements the port `Journal`: hears what the keeper records, keeps the record, moves the screen."""

    def __init__(self, record: Record, screen: Screen) -> None:
        self._record = record
        self._screen = screen
        self._quiet_heads = 0
        self._judged = asyncio.Event()

    async def record(self, events: Sequence[Event]) -> None:
        for event in events:
            self._record.hear(event)
        if events:
            self._screen.heard(events, self._record)

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        new_head = block_number != self._record.judged_block
        self._record.judge(block_number, standing)
        busy = bool(self._record.open_attempts()) or any(stands.reason == ORDERED for stands in standing.values())
        self._quiet_heads = 0 if busy else self._quiet_heads + new_head
        self._judged.set()
        self._screen.judged(self._record)

    async def until_judged(self, block_number: int, within_s: float) -> None:
        """Returns once the keeper has judged that block, or when the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._record.judged_block != block_number:
                    self._judged.clear()
                    await self._judged.wait()

    def quiet_since(self, block_number: int) -> Callable[[], bool]:
        """Whether, after that block, nothing is under way and nothing is left to try."""
        began_s = time.monotonic()

        def quiet() -> bool:
            judged = self._record.judged_block
            if judged is None or judged < block_number + QUIET_HEADS or self._quiet_heads < QUIET_HEADS:
                return False
            waiting = any(stands.reason in TRANSIENT for stands in self._record.standings.values())
            return not waiting or time.monotonic() - began_s > TRANSIENT_WITHIN_S

        return quiet


def case_name(kind: str) -> str:
    """How a borrower made for a case, or a random one, is called."""
    return {"emode": "e-mode"}.get(kind, kind.replace("_", " "))
