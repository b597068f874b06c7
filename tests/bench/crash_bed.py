"""What the benchmarks of a crash share: borrowers of the real market, a keeper in this process, its exchanges watched."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from keeper.app.build import built_chain
from keeper.app.ground import Ground
from keeper.app.keys import KeyRing
from keeper.app.modes import Acting
from keeper.chain.jsonrpc import JsonRpc
from keeper.devnet import admin
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.devnet.openings import Leg, Opening, amount_of
from keeper.devnet.positions import open_all
from keeper.devnet.spec import USD, asset_spec
from keeper.devnet.state import Recipe, started_bed
from keeper.execution.signing.policy import GuardedSigner
from keeper.pipeline.loop import ChainLoop
from keeper.settings import Settings
from keeper.settings.rails import Rails, SharedRails
from keeper.store import Store
from keeper.telemetry.redact import Redactor
from tests.bench.measure import LINES_FILE
from tests.devnet.keeping import Keeping, keeping

NEAR_BPS, FAR_BPS = 10_200, 30_000
"""Health at the opening of those whom the crash makes sick, and of the others, whom twenty crashes leave above 1."""
FALL_PERCENT = 95
"""A crash: ether falls to so much of itself, which takes a borrower from 1.02 (or, restored, from about 1.04) below 1, but so
little that one call restores it, which above 0.95 may repay half of a debt."""
PER_PART = 500


def borrowers(name: str, count: int, health_bps: int) -> list[Opening]:
    """Ether pledged, dollars owed, sizes from 60,000 to 360,000 dollars, no two alike. Each crash and rescue takes a third of
    the debt: after nine the smallest debts may be cleared at once, and those borrowers fall no more."""
    price_base, threshold_bps = 2_000 * USD, asset_spec("WETH").threshold_bps
    openings = []
    for number in range(count):
        pledged_base = (60_000 + 300_000 * number // count) * USD
        owed_base = pledged_base * threshold_bps // health_bps
        openings.append(
            Opening(
                salted_address(f"{name} {number}"),
                "long",
                (Leg("WETH", amount_of(pledged_base, price_base, 18)),),
                (Leg("USDC", amount_of(owed_base, USD, 6)),),
            )
        )
    return openings


@asynccontextmanager
async def crash_bed(near: int, far: int) -> AsyncIterator[Bed]:
    """Aave 3.6 with so many borrowers near the edge and far from it."""
    async with started_bed(Recipe("3.6")) as bed:
        await admin.set_answer(bed, "WETH", 2_000 * USD)
        prices = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
        openings = [*borrowers("near", near, NEAR_BPS), *borrowers("far", far, FAR_BPS)]
        for start in range(0, len(openings), PER_PART):
            await open_all(bed, openings[start : start + PER_PART], prices)
        yield replace(bed, openings=tuple(openings))


async def crash(bed: Bed, percent: int = FALL_PERCENT) -> None:
    """Ether falls; the price is mined when a block is."""
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * percent // 100)


@asynccontextmanager
async def live_keeper(bed: Bed, folder: Path, **chain: Any) -> AsyncIterator[tuple[Ground, ChainLoop, Keeping]]:
    """A live keeper's loop in this process, with money and allowances, its store on disk."""
    kept = await keeping(bed, folder, funded=True)
    kept.chain |= chain
    with patch.dict(os.environ):
        os.environ.pop(LINES_FILE, None)  # no setting of the keeper's
        settings = unbounded(kept.settings(mode="live"))
    async with (
        Store.open(settings.store) as store,
        built_chain(
            "devnet",
            settings,
            settings.chains["devnet"],
            Acting("live", KeyRing(Redactor())),
            store,
            store,
            store,
        ) as (ground, _, loop),
    ):
        yield ground, loop, kept


def unbounded(settings: Settings) -> Settings:
    """Nothing is held back: a crash of a whole market spends more in a minute than a careful operator allows in a day."""
    off = {
        name: dict.fromkeys(("per_transaction", "per_hour", "per_day"), "off") for name in ("gas", "notional", "loss")
    }
    chain = settings.chains["devnet"].model_copy(update={"rails": Rails.model_validate(off)})
    return settings.model_copy(update={"chains": {"devnet": chain}, "rails": SharedRails.model_validate(off)})


@dataclass(frozen=True, slots=True)
class Trip:
    """One exchange with the node."""

    body: object
    what: str
    began_s: float
    ended_s: float


@dataclass
class Trips:
    """Every exchange while watched; each is held up by `delay_s` first."""

    delay_s: float = 0.0
    taken: list[Trip] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[Trips]:
        post = JsonRpc._post

        async def watched(client: JsonRpc, body: object, what: str, *more: Any) -> Any:
            began_s = time.perf_counter()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            try:
                return await post(client, body, what, *more)
            finally:
                self.taken.append(Trip(body, what, began_s, time.perf_counter()))

        with patch.object(JsonRpc, "_post", watched):
            yield self

    def before(self, moment_s: float, since_s: float = 0.0) -> list[Trip]:
        """Those that were answered between the two."""
        return [trip for trip in self.taken if trip.began_s >= since_s and trip.ended_s <= moment_s]


def stages(trips: Sequence[Trip]) -> list[list[Trip]]:
    """Grouped by how many answers had to come one after the other before each could be asked."""
    depth: dict[int, int] = {}
    ordered = sorted(trips, key=lambda trip: trip.began_s)
    for place, trip in enumerate(ordered):
        earlier = [depth[other] for other in range(place) if ordered[other].ended_s <= trip.began_s]
        depth[place] = 1 + max(earlier, default=0)
    return [
        [trip for place, trip in enumerate(ordered) if depth[place] == level]
        for level in range(1, 1 + max(depth.values(), default=0))
    ]


def awaiting_s(trips: Sequence[Trip]) -> float:
    """How long at least one of them was out."""
    total_s, until_s = 0.0, 0.0
    for trip in sorted(trips, key=lambda trip: trip.began_s):
        total_s += max(0.0, trip.ended_s - max(trip.began_s, until_s))
        until_s = max(until_s, trip.ended_s)
    return total_s


@dataclass(frozen=True, slots=True)
class Signature:
    """When an order was signed, by the wall and by the processor time that this thread had had."""

    wall_s: float
    own_s: float


@contextmanager
def signatures() -> Iterator[list[Signature]]:
    """Every signature while watched."""
    sign = GuardedSigner.sign_transaction
    taken: list[Signature] = []

    async def watched(signer: GuardedSigner, fields: Any) -> Any:
        signed = await sign(signer, fields)
        taken.append(Signature(time.perf_counter(), time.thread_time()))
        return signed

    with patch.object(GuardedSigner, "sign_transaction", watched):
        yield taken
