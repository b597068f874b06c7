"""What happens in the market meanwhile: prices drift, fall, recover and rise; people come, borrow, repay and go."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from keeper.core.units import Address
from keeper.devnet.actions import equip, new_accounts, random_action
from keeper.devnet.market import Bed
from keeper.devnet.openings import Prices
from keeper.devnet.positions import open_positions
from keeper.devnet.script import Step, drift, set_prices, slide
from tests.rehearsal.terms import Terms

_EVERYDAY = (
    "supply",
    "withdraw",
    "borrow",
    "borrow_for_another",
    "repay",
    "repay_for_another",
    "repay_with_a_tokens",
    "transfer_a_tokens",
    "toggle_collateral",
    "change_emode",
    "mint_to_treasury",
)
_WITH_RIVALS = (*_EVERYDAY, "liquidate")
_MOVING = ("WETH", "WBTC", "wstETH", "GUSD")
_SINKING = ("WETH", "WBTC", "wstETH")
_DAILY_BPS = 9_700
_BPS = 10_000


@dataclass
class MarketDays:
    """Plays the market in real time, the same for the same terms."""

    bed: Bed
    terms: Terms
    home: Prices
    """The prices of the first day."""
    done: Counter[str]
    """What happened how often."""

    def steps(self, serial: int) -> Iterator[Step]:
        """One day: calm, a fall (every fourth day a rise), calm, most of the way back. Each day begins lower than the one
        before, or whoever was restored at one bottom would outlast all others."""
        rng = random.Random(f"day {self.terms.seed}/{serial}")
        calm = {symbol: self.home[symbol] for symbol in _MOVING}
        for symbol in _SINKING:
            calm[symbol] = calm[symbol] * _DAILY_BPS**serial // _BPS**serial
        before, after, back = self.terms.moves
        yield from drift(calm, rng.randrange(10**6), before, 0, 30)
        extreme = dict(calm)
        sign = 1 if serial % 4 == 3 else -1
        for symbol, least_bps, most_bps in (("WETH", 300, 1_300), ("WBTC", 200, 1_100)):
            move_bps = sign * rng.randint(least_bps, most_bps)
            extreme[symbol] = calm[symbol] * (_BPS + move_bps) // _BPS
        extreme["wstETH"] = extreme["WETH"] * rng.randint(11_200, 11_700) // _BPS
        if rng.random() < 0.3:
            extreme["GUSD"] = calm["GUSD"] * rng.randint(8_000, 9_800) // _BPS
        yield Step("rise" if sign > 0 else "crash", 0, extreme)
        yield from drift(extreme, rng.randrange(10**6), after, 0, 30)
        yield from slide("recovery", extreme, calm, back, 0)

    async def live(self, actors: Sequence[Address], serial: int, stop_after: Callable[[Step], bool]) -> None:
        """One day; it ends early after the step that `stop_after` names. People act between the price moves."""
        rng = random.Random(f"people {self.terms.seed}/{serial}")
        loop = asyncio.get_running_loop()
        for step in self.steps(serial):
            await set_prices(self.bed, step.prices)
            self.done[step.note] += 1
            if stop_after(step):
                return
            until_s = loop.time() + self.terms.step_s
            while loop.time() < until_s - self.terms.block_s:
                names = _WITH_RIVALS if rng.random() < 0.1 else _EVERYDAY
                deed = await random_action(rng, self.bed, actors, names)
                self.done["refused" if deed.refused else deed.name] += 1
            await asyncio.sleep(max(0.0, until_s - loop.time()))

    async def arrive(self, wave: int) -> list[Address]:
        """A wave of new borrowers, opened in a burst of blocks; then blocks at intervals again. Also changes settings of
        every reserve for a moment, as risk stewards do."""
        await self.bed.chain.rpc.request("evm_setAutomine", [True])
        openings = await open_positions(self.bed, self.terms.newcomers, seed=1_000 * self.terms.seed + wave)
        await self.bed.chain.rpc.request("evm_setAutomine", [False])
        await self.bed.chain.rpc.request("evm_setIntervalMining", [self.terms.block_s])
        self.done["newcomers"] += len(openings)
        return [each.borrower for each in openings]


async def actors_of(bed: Bed, terms: Terms) -> list[Address]:
    """People with money and no positions yet. Needs a chain that mines each transaction."""
    actors = new_accounts(terms.actors, terms.seed)
    await equip(bed, actors)
    return actors
