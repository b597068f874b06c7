"""Scripts of price moves and time, the same for the same seed: plan the steps, then play them on a bed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from keeper.devnet.bulk import send_together
from keeper.devnet.chain import Tx
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.openings import Prices

_WAD = 10**18


@dataclass(frozen=True)
class Step:
    """Wait so long, then let these prices come true (oracle prices; assets not named stay)."""

    note: str
    seconds: int
    prices: Prices


def drift(prices: Prices, seed: int, steps: int, seconds: int, most_bps: int = 50) -> Iterator[Step]:
    """A random walk of every named price, each step by at most `most_bps` up or down."""
    rng = random.Random(f"drift {seed}")
    present = dict(prices)
    for _ in range(steps):
        present = {
            symbol: price * (10_000 + rng.randint(-most_bps, most_bps)) // 10_000 for symbol, price in present.items()
        }
        yield Step("drift", seconds, dict(present))


def slide(note: str, start: Prices, end: Prices, steps: int, seconds: int) -> Iterator[Step]:
    """From the start prices to the end prices in equal steps; only assets named in `end` move."""
    for index in range(1, steps + 1):
        prices = {symbol: start[symbol] + (goal - start[symbol]) * index // steps for symbol, goal in end.items()}
        yield Step(note, seconds, prices)


def crash_and_recovery(
    start: Prices, bottom: Prices, seed: int, seconds: int = 12, calm_steps: int = 3, recovery_bps: int = 6_000
) -> Iterator[Step]:
    """Calm, one hard fall, calm at the bottom, then back up by a share of the fall."""
    moving = {symbol: start[symbol] for symbol in bottom}
    calm = list(drift(moving, seed, calm_steps, seconds, most_bps=10))
    yield from calm
    yield Step("crash", seconds, bottom)
    yield from drift(bottom, seed + 1, calm_steps, seconds, most_bps=10)
    goal = {symbol: low + (start[symbol] - low) * recovery_bps // 10_000 for symbol, low in bottom.items()}
    yield from slide("recovery", bottom, goal, 3, seconds)


async def play(bed: Bed, steps: Iterable[Step], *, real_time: bool = False) -> AsyncIterator[Step]:
    """Play the steps one after the other, yielding each once its prices stand.

    Time is jumped over on the chain, or slept through when `real_time` is set (for a chain that mines at intervals).
    """
    for step in steps:
        if real_time:
            await asyncio.sleep(step.seconds)
        else:
            await bed.chain.advance(step.seconds)
        await set_prices(bed, step.prices)
        yield step


async def set_prices(bed: Bed, prices: Prices) -> None:
    """Make the oracle answer these prices, exactly for plain feeds and to one unit for ratio feeds.

    A capped asset above its cap stays at the cap. A ratio asset that is not named moves with its base.
    """
    await send_together(bed.chain, _price_txs(bed, prices, await _base_prices(bed, prices)), "price updates")


async def _base_prices(bed: Bed, prices: Prices) -> dict[str, int]:
    """For each named ratio asset, its base's price once the update is done."""
    found: dict[str, int] = {}
    for symbol in prices:
        root = bed.asset(symbol).spec.root
        if root is not None:
            found[symbol] = prices[root] if root in prices else await bed.price_base(root)
    return found


def _price_txs(bed: Bed, prices: Prices, bases: Prices) -> Sequence[Tx]:
    txs = []
    for symbol, price in prices.items():
        asset = bed.asset(symbol)
        if symbol in bases:
            # Rounded up, since the adapter rounds its product down.
            ratio_wad = -(-price * _WAD // bases[symbol])
            txs.append(bed.call_tx(ADMIN, asset.price_source, "RatioFeed", "setRatio", ratio_wad))
        else:
            txs.append(bed.call_tx(ADMIN, asset.feed, "Feed", "setAnswer", price))
    return txs
