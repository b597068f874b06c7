"""Whatever an operator orders, sensible or not, of venues honest or greedy: nothing that was there before is less."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from keeper.core.executor import MOST_SWAPS, ExecutorRole
from keeper.core.swap import ALL_RAW
from keeper.core.units import WAD, Address
from keeper.devnet.errors import Reverted
from keeper.devnet.market import ADMIN
from keeper.devnet.state import fresh_snapshot, revert_to
from tests.contracts.compiled import own
from tests.contracts.deals import KINDS, execute_values, plan, routed_to, swap
from tests.contracts.world import COVER_RAW, OPERATOR, OWNER, STRANGER, World, selector

pytestmark = pytest.mark.asyncio(loop_scope="module")
LONG = bool(os.environ.get("KEEPER_LONG"))
ORDERS = 2_000 if LONG else 30
SOURCES = ("market", "morpho", "pool", "inventory")
MARKET, DEBT, SOURCE, LENDER, TOKEN0, LATEST, GAIN, LIQUIDATIONS, SWAPS, CALLDATAS = range(10)
STOCK = ("USDC", "WETH", "WBTC", "DAI")


class Mischief:
    """Orders to try, from a seed."""

    def __init__(self, rng: random.Random, world: World, venues: Sequence[Address]) -> None:
        self._rng = rng
        self._world = world
        self._venues = venues
        self._tokens = [world.bed.asset(symbol).token for symbol in STOCK]

    async def order(self) -> list[Any]:
        """One that would work, with some things changed."""
        rng, world = self._rng, self._world
        steps = [swap(world, rng.choice(KINDS)) for _ in range(rng.randint(0, 2))]
        if rng.random() < 0.5:
            steps.append(swap(world))  # else a little is left, for others to ask for
        whole = await plan(world, rng.choice((1, 1, 2)), rng.choice(SOURCES), swaps=tuple(steps), least_gain_raw=0)
        values = execute_values(world, whole)
        values[LIQUIDATIONS] = list(values[LIQUIDATIONS])
        values[SWAPS] = list(values[SWAPS])
        for _ in range(rng.randint(0, 3)):
            rng.choice((self._greedy_swap, self._another_swap, self._liquidation, self._terms))(values)
        return values

    def _greedy_swap(self, values: list[Any]) -> None:
        """A little ether for one of those who take what they can get."""
        rng = self._rng
        venue, kinds, calldata = rng.choice(((0, (1, 4), b""), (1, (8,), selector("take()"))))
        amount_raw = rng.choice((WAD // 10, WAD // 10, 10 * WAD, ALL_RAW))
        between = self._venues[venue], self._world.weth, self._world.usdc
        self._insert(values, (rng.choice(kinds), *between, amount_raw, 0, True, len(calldata)), calldata)

    def _another_swap(self, values: list[Any]) -> None:
        rng = self._rng
        calldata = rng.choice((b"", selector("take()"), self._router_calldata()))
        step = (
            rng.choice((1, 1, 2, 4, 8, 8, rng.randrange(16))),
            rng.choice(self._venues),
            rng.choice((self._world.weth, rng.choice(self._tokens))),
            rng.choice((self._world.usdc, rng.choice(self._tokens))),
            rng.choice((1, COVER_RAW, WAD, rng.randrange(1, 10 * WAD), ALL_RAW)),
            rng.choice((0, 0, 1, COVER_RAW, ALL_RAW)),
            rng.random() < 0.5,
            len(calldata),
        )
        self._insert(values, step, calldata)

    def _insert(self, values: list[Any], step: tuple[Any, ...], calldata: bytes) -> None:
        """The routers' calldata stand in the order of their swaps."""
        if len(values[SWAPS]) == MOST_SWAPS:
            return
        place = self._rng.randint(0, len(values[SWAPS]))
        before = sum(each[7] for each in values[SWAPS][:place])
        values[SWAPS].insert(place, step)
        values[CALLDATAS] = values[CALLDATAS][:before] + calldata + values[CALLDATAS][before:]

    def _router_calldata(self) -> bytes:
        """To somebody's account, or of a token."""
        rng, world = self._rng, self._world
        take = world.token_call("transferFrom", world.executor, STRANGER, rng.choice((1, COVER_RAW, WAD)))
        return rng.choice((take, routed_to(world, STRANGER, rng.choice((WAD // 10, WAD, 5 * WAD)))))

    def _liquidation(self, values: list[Any]) -> None:
        rng = self._rng
        place = rng.randrange(len(values[LIQUIDATIONS]))
        collateral, borrower, token, scaled, cover, in_a_tokens, _ = values[LIQUIDATIONS][place]
        values[LIQUIDATIONS][place] = (
            rng.choice((collateral, collateral, rng.choice(self._tokens))),
            borrower,
            token,
            rng.choice((scaled, scaled, scaled, scaled + 1)),
            rng.choice((cover, cover // 2, cover * 2, 10**30)),
            rng.choice((in_a_tokens, True)),
            rng.choice((0, 0, WAD)),
        )

    def _terms(self, values: list[Any]) -> None:
        rng = self._rng
        what = rng.choice((DEBT, SOURCE, LENDER, TOKEN0, GAIN))
        changed: Mapping[int, Any] = {
            DEBT: rng.choice(self._tokens),
            SOURCE: rng.randrange(16),
            LENDER: rng.choice(self._venues),
            TOKEN0: rng.random() < 0.5,
            GAIN: rng.choice((1, -1, -COVER_RAW, -(2**255))),
        }
        values[what] = changed[what]


async def stock(world: World) -> list[Address]:
    """Of everything something, and of one token what the market gives for it."""
    tokens = [world.bed.asset(symbol).token for symbol in STOCK]
    for token in tokens:
        await world.give(token, 10**13)
    await world.give(world.weth, 100 * WAD)
    await world.give(world.weth, 100 * WAD, ADMIN)
    await world.bed.chain.transact(world.bed.call_tx(ADMIN, world.weth, "Token", "approve", world.market, 100 * WAD))
    await world.bed.chain.transact(world.bed.pool_tx(ADMIN, "supply", world.weth, 100 * WAD, world.executor, 0))
    return [*tokens, world.bed.asset("WETH").a_token]


@pytest.mark.timeout(1800)
async def test_nothing_that_was_there_is_less(world: World) -> None:
    tokens = await stock(world)
    greedy = [await world.deploy(own("Greedy"), world.executor, tokens) for _ in range(2)]
    await world.allow(greedy[0], int(ExecutorRole.POOL_V3 | ExecutorRole.PAIR_V2 | ExecutorRole.MORPHO))
    await world.allow(greedy[1], int(ExecutorRole.ROUTER))
    honest = [world.pool, world.other_pool, world.pair, world.uniswap.router, world.market, world.morpho.address]
    venues = [*greedy * 3, *honest, world.usdc, world.executor, STRANGER]
    before = [await world.balance_raw(token) for token in tokens]
    snapshot, done, robbed = await fresh_snapshot(world.bed), 0, 0
    for seed in range(ORDERS):
        order = await Mischief(random.Random(seed), world, venues).order()
        try:
            await world.send(OPERATOR, "execute", *order)
        except Reverted:
            continue
        done += 1
        robbed += await taken(world, greedy, tokens)
        after = [await world.balance_raw(token) for token in tokens]
        assert all(left >= had for left, had in zip(after, before, strict=True)), f"seed {seed}: {order}"
        for token in tokens:
            for venue in set(venues):
                assert await world.allowance_raw(token, venue) == 0, f"seed {seed}: {order}"
        await revert_to(world.bed, snapshot)
        snapshot = await fresh_snapshot(world.bed)
    assert done > ORDERS // 10
    assert robbed or not LONG, "the greedy ones get what came in for them, or this proves little"


async def taken(world: World, thieves: Sequence[Address], tokens: Sequence[Address]) -> bool:
    return any([await world.balance_raw(token, thief) for thief in thieves for token in tokens])


async def test_the_owner_s_word_about_losses_is_the_bound(world: World) -> None:
    """The same orders by inventory, of which some may be lost."""
    await stock(world)
    await world.send(OWNER, "set_loss_left", world.usdc, COVER_RAW // 2)
    rng, had = random.Random(7), await world.balance_raw(world.usdc)
    for number, borrower in enumerate(world.borrowers):
        whole = await plan(world, 1, "inventory", swaps=(), least_gain_raw=-COVER_RAW)
        values = execute_values(world, whole)
        step = list(values[LIQUIDATIONS][0])
        step[1], step[3], step[4] = borrower, await world.scaled_debt(borrower), COVER_RAW // rng.randint(4, 9)
        values[LIQUIDATIONS] = [tuple(step)]
        try:
            await world.send(OPERATOR, "execute", *values)
        except Reverted:
            assert number >= 2
    lost = had - await world.balance_raw(world.usdc)
    assert 0 < lost <= COVER_RAW // 2
    assert await world.see("loss_left", world.usdc) == COVER_RAW // 2 - lost
