"""The adapter against a real market: pinned looks at it, and the numbers of cases to try."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.chain.blocks import read_header
from keeper.chain.reads import PinnedReads
from keeper.core.block import Call
from keeper.core.lending import Health, Position
from keeper.core.units import Address
from keeper.devnet.market import Bed
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State

LONG = bool(os.environ.get("KEEPER_LONG"))


def cases(usual: int, long: int) -> int:
    """How many cases to try: few in `make test`, all of them in `make soak`."""
    return long if LONG else usual


@dataclass(frozen=True)
class Look:
    """The market and some accounts at one block, as the chain has them."""

    state: State
    positions: Mapping[Address, Position]
    healths: Mapping[Address, Health]


class Watcher:
    """Reads a bed's market through the adapter alone."""

    def __init__(self, bed: Bed) -> None:
        self._rpc = bed.chain.rpc
        self._reads = PinnedReads(self._rpc)
        self._provider = bed.deployment.addresses_provider
        self.adapter = AaveV3()

    async def discover(self) -> Market:
        return await self._reads.drive(self.adapter.discover(self._provider), await read_header(self._rpc, "latest"))

    async def look(self, market: Market, accounts: Sequence[Address], block: int | str = "latest") -> Look:
        """Everything at one block, by its hash. An account that the chain itself cannot value has no health."""
        head = await read_header(self._rpc, block if isinstance(block, int) else "latest")
        calls: list[Call] = list(self.adapter.encode_state(market))
        width = len(self.adapter.encode_position(market, Address(bytes(20))))
        state_width = len(calls)
        for account in accounts:
            calls += [*self.adapter.encode_position(market, account), self.adapter.encode_health(market, account)]
        results = await self._reads.read(calls, head)
        positions, healths = {}, {}
        for place, account in enumerate(accounts):
            start = state_width + place * (width + 1)
            positions[account] = self.adapter.decode_position(market, account, results[start : start + width])
            if results[start + width].ok:
                healths[account] = self.adapter.decode_health(market, results[start + width])
        return Look(self.adapter.decode_state(market, head, results[:state_width]), positions, healths)


def reported(health: Health) -> tuple[int, ...]:
    """The six outputs of `getUserAccountData`."""
    return (
        health.collateral_base,
        health.debt_base,
        health.available_borrows_base,
        health.liquidation_threshold_bps,
        health.ltv_bps,
        health.health_factor_wad,
    )
