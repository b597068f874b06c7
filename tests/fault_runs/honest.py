"""What the node itself has at every block, read past all proxies and kept when a reorg takes the block away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.chain.blocks import read_header
from keeper.core import attempt_build
from keeper.core.block import BlockRef, Call
from keeper.core.events import Event
from keeper.core.lending import Position
from keeper.core.outcome import Skip
from keeper.core.plan import Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.units import Address, to_hex
from keeper.devnet.market import Bed
from keeper.protocols.aave_v3.state import State
from tests.protocols.following import Following


@dataclass(frozen=True)
class Moment:
    """One block: the market and every account's row."""

    header: BlockRef
    state: State
    rows: dict[Address, Position]


@dataclass
class HonestChain:
    """Follows the bed block by block. Call `catch_up` before a reorg and after each step."""

    bed: Bed
    following: Following
    accounts: Sequence[Address]
    moments: dict[str, Moment] = field(default_factory=dict)
    """By block hash."""
    _next: int = 0

    @classmethod
    async def started(cls, bed: Bed, accounts: Sequence[Address]) -> HonestChain:
        following = Following(bed)
        head = await following.start()
        return cls(bed, following, accounts, _next=head.number)

    async def catch_up(self) -> None:
        """Remember every block that is new."""
        head = await self.bed.chain.block_number()
        while self._next <= head:
            await self._remember(await read_header(self.bed.chain.rpc, self._next))
            self._next += 1

    def forget_above(self, common_block: int) -> None:
        """After a reorg: other blocks have those numbers now. What was remembered of the old ones is kept by their hashes."""
        self._next = min(self._next, common_block + 1)

    async def rows_at(self, header: BlockRef) -> dict[Address, Position]:
        """Every account's row, read anew."""
        await self._remember(header)
        return self.moments[to_hex(header.hash)].rows

    async def _remember(self, header: BlockRef) -> None:
        adapter, market = self.following.adapter, self.following.follower.market
        state_calls = list(adapter.encode_state(market))
        row_calls = {who: list(adapter.encode_position(market, who)) for who in self.accounts}
        calls: list[Call] = [*state_calls, *(call for each in row_calls.values() for call in each)]
        results = await self.following.client.read(calls, header)
        state = adapter.decode_state(market, header, results[: len(state_calls)])
        rows, cursor = {}, len(state_calls)
        for who, each in row_calls.items():
            rows[who] = adapter.decode_position(market, who, results[cursor : cursor + len(each)])
            cursor += len(each)
        self.moments[to_hex(header.hash)] = Moment(header, state, rows)

    def why_not(self, decided: Event, liquidator: Address, policy: PlanPolicy) -> str | None:
        """None when the plan follows, to the last field, from what this chain had at the plan's block; else what differs."""
        fields: dict[str, Any] = dict(decided.fields)
        assert decided.attempt is not None and decided.borrower is not None and decided.market is not None
        moment = self.moments.get(str(fields["block_hash"]))
        if moment is None:
            return f"{decided.attempt} was decided on a block that the chain never had"
        window = Window(fields["window_earliest_s"], fields["window_latest_s"])
        planner = Planner(
            self.following.adapter, moment.state, decided.market, moment.header, window, liquidator, policy
        )
        row = moment.rows[decided.borrower]
        prices_base = self.following.adapter.relevant_prices(moment.state, row)
        plans = planner.plan(row)
        if isinstance(plans, Skip):
            return (
                f"{decided.attempt}: there is nothing to do for this borrower at block {moment.header.number}: {plans}"
            )
        honest = [attempt_build.decided(decided.chain, decided.attempt, plan, prices_base).fields for plan in plans]
        if _plain(fields) not in [_plain(dict(each)) for each in honest]:
            return (
                f"{decided.attempt}: other plans follow from block {moment.header.number}: {fields} is none of {honest}"
            )
        return None


def _plain(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, default=str)
