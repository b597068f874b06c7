"""LP-02: seized amounts, fee and the position left behind equal the contract's. LP-03: the bounds are the contract's.

Random liquidations of random borrowers under random prices, executed at a known second on the real contracts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from keeper.core.lending import Pair, Position, Quote, Refusal
from keeper.core.units import UINT256_MAX, Address
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.devnet.openings import Leg, Opening, amount_of
from keeper.devnet.positions import open_all
from keeper.devnet.script import set_prices
from keeper.devnet.spec import USD, asset_spec
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.protocols.aave_v3.market import Market
from tests.protocols.liquidator import LIQUIDATOR, Liquidator, equipped_liquidator, replay
from tests.protocols.onchain import Look, Watcher, cases, reported

MOVING = ("WETH", "WBTC", "DAI", "GUSD", "wstETH")
DAY_S = 86_400
Intervals = Sequence[tuple[int, int]]


class Scene:
    """A bed with a liquidator in front of it."""

    def __init__(
        self, bed: Bed, watcher: Watcher, market: Market, liquidator: Liquidator, borrowers: Sequence[Address]
    ) -> None:
        self.bed = bed
        self.watcher = watcher
        self.market = market
        self.liquidator = liquidator
        self.borrowers = borrowers
        self.rng = random.Random(f"liquidations {bed.deployment.version}")
        self.seen: Counter[str] = Counter()

    async def crash(self) -> None:
        """Prices that put many borrowers under water, some of them deeply."""
        depth = self.rng.choice((5, 12, 25, 45))
        prices = {}
        for symbol in MOVING:
            percent = 100 - self.rng.randrange(depth) if self.rng.random() < 0.7 else 100 + self.rng.randrange(depth)
            prices[symbol] = asset_spec(symbol).price_base * percent // 100 + self.rng.randrange(10_000)
        await set_prices(self.bed, prices)
        await self.bed.chain.advance(self.rng.randrange(1, self.rng.choice((1, 30, 400)) * DAY_S))

    async def look(self, borrower: Address, block: int | str = "latest") -> Look:
        return await self.watcher.look(self.market, [borrower], block)

    def usable(self, look: Look, position: Position, timestamp_s: int) -> list[tuple[Pair, Intervals]]:
        """Pairs of a borrower, and the requests that each accepts."""
        adapter, found = self.watcher.adapter, []
        for pair in adapter.pairs(look.state, position, LIQUIDATOR, timestamp_s):
            if isinstance(pair, Pair):
                intervals = adapter.allowed_debt_to_cover(look.state, position, pair, timestamp_s)
                self.seen["pairs without an accepted request"] += not intervals
                if intervals:
                    found.append((pair, intervals))
        return found

    def request(self, intervals: Intervals) -> int:
        """A request that is accepted: an edge, the maximum, or anything between."""
        low, high = self.rng.choice(intervals)
        kind = self.rng.randrange(5)
        if kind == 0:
            return high
        if kind == 1:
            return low
        # Above the largest debt the contract clips; below it, sizes of every order of magnitude.
        high = min(high, max(low, 10**30))
        return (
            min(high, max(low, self.rng.randrange(1, 10 ** self.rng.randrange(1, 31))))
            if kind == 2
            else (self.rng.randint(low, max(low, high if high < 10**30 else low * 2)))
        )

    async def liquidate(self, borrower: Address) -> bool:
        """Execute one random liquidation and compare everything. False if the borrower cannot be liquidated."""
        adapter = self.watcher.adapter
        look = await self.look(borrower)
        position = look.positions[borrower]
        at_s = look.state.block.timestamp_s + self.rng.randrange(1, 600)
        usable = self.usable(look, position, at_s)
        if not usable:
            return False
        pair, intervals = self.rng.choice(usable)
        request_raw = self.request(intervals)
        quote = adapter.quote_liquidation(look.state, position, pair, request_raw, at_s)
        assert isinstance(quote, Quote)
        done = await self.liquidator.execute(borrower, pair, request_raw, at_s)
        (event,) = adapter.decode_liquidation(self.market, done.logs, borrower)
        assert (event.repaid_raw, event.received_raw) == (quote.repaid_raw, quote.received_raw)
        assert (event.collateral_asset, event.debt_asset) == (pair.collateral_asset, pair.debt_asset)
        after = await self.look(borrower, done.block.number)
        assert after.positions[borrower] == quote.position_after
        assert reported(after.healths[borrower]) == reported(quote.health_after)
        assert replay(self.market, position, done.logs) == quote.position_after
        self._count(position, pair, quote, request_raw)
        return True

    def _count(self, position: Position, pair: Pair, quote: Quote, request_raw: int) -> None:
        self.seen["liquidations"] += 1
        self.seen["bad debt"] += quote.bad_debt_base > 0
        self.seen["protocol fee"] += quote.protocol_fee_raw > 0
        self.seen["one asset on both sides"] += pair.collateral_id == pair.debt_id
        self.seen["e-mode"] += position.category != 0
        self.seen["clipped"] += quote.repaid_raw < request_raw
        self.seen["collateral cleared"] += pair.collateral_id not in quote.position_after.collateral_scaled
        self.seen["debt cleared"] += pair.debt_id not in quote.position_after.debt_scaled
        self.seen["partial"] += quote.position_after.debt_scaled.keys() == position.debt_scaled.keys()

    async def check_edges(self, borrower: Address) -> None:
        """Every edge of every pair: accepted on one side, refused by the predicted name on the other."""
        adapter = self.watcher.adapter
        look = await self.look(borrower)
        position, at_s = look.positions[borrower], look.state.block.timestamp_s + self.rng.randrange(1, 60)
        for pair in adapter.pairs(look.state, position, LIQUIDATOR, at_s):
            if isinstance(pair, Refusal):
                continue
            intervals = adapter.allowed_debt_to_cover(look.state, position, pair, at_s)
            edges = {1, UINT256_MAX} | {edge for interval in intervals for edge in interval}
            near = {edge + shift for edge in edges for shift in (-1, 0, 1)}
            for request_raw in sorted(one for one in near if 1 <= one <= UINT256_MAX):
                quote = adapter.quote_liquidation(look.state, position, pair, request_raw, at_s)
                error = await self.liquidator.refusal(borrower, pair, request_raw, at_s)
                expected = quote.contract_error if isinstance(quote, Refusal) else None
                assert error == expected, (request_raw, intervals, position)
                accepted = any(low <= request_raw <= high for low, high in intervals)
                assert accepted == (error is None)
                self.seen[f"edge {error or 'accepted'}"] += 1


def same_asset_openings(n: int) -> list[Opening]:
    """Borrowers near the edge who owe what they pledge: one reserve on both sides of a pair."""
    rng, openings = random.Random("same asset"), []
    for place in range(n):
        pledged, owed = rng.choice((("WETH", "WETH"), ("WETH", "DAI"), ("DAI", "DAI"), ("DAI", "WETH")))
        size_base = rng.choice((300, 3_000, 60_000)) * USD
        parts_base = {pledged: size_base, owed: size_base // 3} if owed != pledged else {pledged: size_base}
        safe_base = sum(part * asset_spec(symbol).threshold_bps // 10_000 for symbol, part in parts_base.items())
        collateral = tuple(_leg(symbol, part) for symbol, part in parts_base.items())
        debt = (_leg(owed, safe_base * 1000 // rng.randrange(1005, 1080)),)
        openings.append(Opening(salted_address(f"same asset {place}"), "same asset", collateral, debt))
    return openings


def _leg(symbol: str, value: int) -> Leg:
    spec = asset_spec(symbol)
    return Leg(symbol, amount_of(value, spec.price_base, spec.decimals))


async def open_scene(bed: Bed) -> Scene:
    extra = same_asset_openings(20)
    await open_all(bed, extra, {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols})
    watcher = Watcher(bed)
    market = await watcher.discover()
    borrowers = [opening.borrower for opening in (*bed.openings, *extra)]
    return Scene(bed, watcher, market, await equipped_liquidator(bed, market), borrowers)


async def test_liquidations_do_what_their_quotes_say(bed: Bed) -> None:
    scene = await open_scene(bed)
    wanted = cases(120, 1200)
    while scene.seen["liquidations"] < wanted:
        snapshot = await fresh_snapshot(bed)
        await scene.crash()
        for borrower in scene.rng.sample(scene.borrowers, len(scene.borrowers)):
            while scene.seen["liquidations"] < wanted and await scene.liquidate(borrower):
                if scene.rng.random() < 0.5:
                    break
        await revert_to(bed, snapshot)
    least = cases(3, 30)
    kinds = [
        "protocol fee",
        "e-mode",
        "clipped",
        "collateral cleared",
        "debt cleared",
        "partial",
        "one asset on both sides",
    ]
    kinds += ["bad debt"] if bed.deployment.version == "3.6" else []
    assert {kind: scene.seen[kind] for kind in kinds if scene.seen[kind] < least} == {}, scene.seen


async def test_the_bounds_are_the_contracts(bed: Bed) -> None:
    scene = await open_scene(bed)
    wanted = cases(400, 8000)
    while scene.seen.total() < wanted:
        snapshot = await fresh_snapshot(bed)
        await scene.crash()
        for borrower in scene.rng.sample(scene.borrowers, len(scene.borrowers)):
            await scene.check_edges(borrower)
            if scene.seen.total() >= wanted:
                break
        await revert_to(bed, snapshot)
    assert scene.seen["edge accepted"] > wanted // 4
    assert scene.seen["edge InvalidBurnAmount"] > 0
    assert (scene.seen["edge MustNotLeaveDust"] > 0) == (bed.deployment.version == "3.6")
