"""A small store to read from: one borrower restored after being unprofitable, one toxic, told as the pipeline tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from keeper.core import attempt_build, event_build
from keeper.core.events import Event
from keeper.core.outcome import Reason, Verdict
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import WAD, Address
from keeper.store import Store
from tests.unit.store.facts import (
    ATTEMPT,
    BORROWER,
    CHAIN,
    LIQUIDATOR,
    MARKET,
    OTHER_BORROWER,
    USDC,
    WETH,
    block,
    outcome,
    plan,
    prices,
    submission,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
Heads = Mapping[int, tuple[Mapping[Address, Standing], list[Event]]]

UNPROFITABLE = Standing(Reason.UNPROFITABLE, "profit -0.12", Verdict.REACHES_TARGET, 99 * WAD // 100)
TOXIC = Standing(Reason.TOXIC, "k is 0.8662", Verdict.TOXIC, 80 * WAD // 100)
ORDER = Standing(ORDERED, "sent", Verdict.REACHES_TARGET, 97 * WAD // 100, ATTEMPT)

STORY: Heads = {
    98: ({BORROWER: UNPROFITABLE}, []),
    99: ({BORROWER: UNPROFITABLE}, []),
    100: (
        {BORROWER: ORDER, OTHER_BORROWER: TOXIC},
        [attempt_build.decided(CHAIN, ATTEMPT, plan(), prices()), attempt_build.sent(CHAIN, submission())],
    ),
    101: ({OTHER_BORROWER: TOXIC}, attempt_build.outcome_events(CHAIN, outcome())),
}


def verified(**labels: bool) -> Event:
    named = [event_build.AssetLabel(WETH, "WETH", 18), event_build.AssetLabel(USDC, "USDC\x1b[31m", 6)]
    return event_build.market_verified(
        CHAIN,
        MARKET,
        90,
        protocol="aave_v3",
        revision="3.6",
        checked_borrowers=12,
        base_decimals=8 if labels.get("labels", True) else None,
        assets=named if labels.get("labels", True) else (),
    )


def write_store(
    path: Path,
    heads: Heads = STORY,
    first: Event | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Path:
    asyncio.run(_write(path, heads, first if first is not None else verified(), now))
    return path


async def _write(path: Path, heads: Heads, first: Event, now: Callable[[], datetime]) -> None:
    async with Store.open(path, now=now) as store:
        await store.record(
            [
                event_build.started(
                    CHAIN, version="0.1.0", mode="live", chain_id=31_337, signers=[LIQUIDATOR], markets=[MARKET]
                ),
                first,
                event_build.caught_up(CHAIN, MARKET, block(90), 512, "snapshot"),
            ]
        )
        previous: Mapping[Address, Standing] = {}
        for number, (standing, events) in heads.items():
            await store.record(events)
            await store.record(event_build.standing_events(CHAIN, MARKET, number, previous, standing))
            await store.record_standing(CHAIN, MARKET, number, standing)
            previous = standing
