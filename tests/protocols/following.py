"""A market followed on a bed exactly as the daemon follows it."""

from __future__ import annotations

from keeper.app.parts import NullCheckpoints
from keeper.chain.announced import Announcements
from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.chain.jsonrpc import JsonRpc
from keeper.core.block import BlockRef
from keeper.core.checkpoint import Start
from keeper.core.lending import Position
from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.pipeline.market import Advance, MarketFollower
from keeper.pipeline.verify import chain_answers
from keeper.ports import Checkpoints
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State


class Following:
    """Client and follower of a bed's market."""

    def __init__(
        self,
        bed: Bed,
        *,
        start: Start = Start.SNAPSHOT,
        checkpoints: Checkpoints | None = None,
        log_span: int = 500,
        reorg_depth: int = 64,
        announced: Announcements | None = None,
        rpc: JsonRpc | None = None,
    ) -> None:
        self._rpc = rpc or bed.chain.rpc
        self.adapter = AaveV3()
        self.client = ChainClient(
            self._rpc,
            poll_s=0.05,
            fee_cap_wei=10**12,
            priority_percentile=50,
            log_span=log_span,
            reorg_depth=reorg_depth,
            announced=announced,
        )
        self.follower: MarketFollower[Market, State] = MarketFollower(
            self.client,
            "bed",
            self.adapter,
            bed.deployment.addresses_provider,
            checkpoints or NullCheckpoints(),
            self._from_the_start,
            chain_id=bed.deployment.chain_id,
            start=start,
            reorg_depth=reorg_depth,
        )
        self.rewound = 0

    async def _from_the_start(self, entry: Address) -> int:
        return 0

    async def start(self) -> BlockRef:
        await self.started()
        assert self.follower.applied is not None
        return self.follower.applied

    async def started(self) -> Advance:
        head = await read_header(self._rpc, "latest")
        await self.client.extend(head)
        return await self.follower.start(head, lambda first, reached, last: None)

    async def newest(self) -> BlockRef:
        """The head that `advance` would take now."""
        return await read_header(self._rpc, "latest")

    async def advance(self) -> Advance:
        """To the newest head, over a reorg if there was one."""
        return await self.take(await read_header(self._rpc, "latest"))

    async def take(self, head: BlockRef) -> Advance:
        """To this head."""
        self.rewound += self.follower.rewind(await self.client.extend(head))
        return await self.follower.advance(head)

    def book_rows(self) -> dict[Address, Position]:
        """Every row of the book."""
        return {row.borrower: row for row in self.follower.book.every_position()}

    async def chain_rows(self) -> dict[Address, Position]:
        """Every row of the book as the chain has it at the applied block."""
        assert self.follower.applied is not None
        rows = list(self.follower.book.every_position())
        answers = await chain_answers(self.client, self.adapter, self.follower.market, rows, self.follower.applied)
        return {account: row for account, (row, _) in answers.items()}
