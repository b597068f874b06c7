"""A market's follower over the toy chain, driven head by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.core.checkpoint import Start
from keeper.core.lending import Position
from keeper.core.units import Address
from keeper.pipeline.market import Advance, MarketFollower
from keeper.pipeline.progress import unwatched
from tests.scenario.scene import CHAIN, CHAIN_ID, entry_of, pool_address, toy_pool
from tests.toy_arithmetic import ToyMarket, ToyRules, ToyState
from tests.toy_market import ToyAdapter
from tests.toy_ports import Faults, ToyChain
from tests.toy_records import MemoryCheckpoints
from tests.toy_world import Action, Pool, World


class Following:
    """`head` mines a block and follows to it, as the loop does."""

    def __init__(
        self,
        *,
        pool: Pool | None = None,
        known: Mapping[int, Sequence[ToyRules]] | None = None,
        first_block: int = 1,
        way: Start = Start.SNAPSHOT,
        kind: type[MarketFollower[ToyMarket, ToyState]] = MarketFollower,
    ) -> None:
        pool = pool or toy_pool()
        self.world = World(pool)
        self.faults = Faults()
        self.checkpoints = MemoryCheckpoints(self.faults)
        self.known = known or {1: [pool.rules]}
        self.first_block = first_block
        self.way = way
        self.kind = kind
        self.started = False
        self.restart()

    def restart(self) -> None:
        async def first_block(entry: Address) -> int:
            await self.faults.step("first_block")
            return self.first_block

        self.chain = ToyChain(self.world, self.faults)
        self.follower: MarketFollower[ToyMarket, ToyState] = self.kind(
            self.chain,
            CHAIN,
            ToyAdapter(self.known),
            entry_of(0),
            self.checkpoints,
            first_block,
            chain_id=CHAIN_ID,
            start=self.way,
        )
        self.started = False

    async def head(self, *actions: Action) -> Advance:
        self.world.mine(*actions)
        return await self.see()

    async def see(self) -> Advance:
        head = self.world.tip.ref
        self.follower.rewind(await self.chain.extend(head))
        if not self.started:
            result = await self.follower.start(head, unwatched)
            self.started = True
            return result
        result = await self.follower.advance(head)
        await self.follower.save_when_due()
        return result

    def true_rows(self) -> dict[Address, Position]:
        """Every row with debt, as the pool stores it at the tip."""
        pool = self.world.tip.state.pools[pool_address(0)]
        return {account: row for account, row in pool.rows.items() if row.debt_scaled}

    def assert_book_is_true(self) -> None:
        rows = {position.borrower: position for position in self.follower.book.positions()}
        assert rows == self.true_rows()
        assert self.follower.applied == self.world.tip.ref
