"""What the chain says, asked of the node itself: who is below 1 when, and how an attempt left its borrower."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from keeper.core.units import HEALTH_ONE_WAD, Address, address_from_hex, to_hex
from keeper.devnet.market import Bed

_POLL_S = 0.25
_LIQUIDATION = keccak(text="LiquidationCall(address,address,address,uint256,uint256,address,bool)")


@dataclass(frozen=True)
class Sample:
    """Every borrower below 1 in one block."""

    block: int
    sick: dict[Address, int]
    """Health (wad)."""


@dataclass
class Observer:
    """Follows the node on its own."""

    bed: Bed
    everybody: list[Address]
    every_blocks: int
    samples: list[Sample] = field(default_factory=list)
    _arrivals: list[tuple[int, float]] = field(default_factory=list)

    async def watch(self) -> None:
        """For ever."""
        sampled = 0
        while True:
            block = await self.bed.chain.block_number()
            if not self._arrivals or block > self._arrivals[-1][0]:
                self._arrivals.append((block, time.time()))
            if block >= sampled + self.every_blocks:
                healths = await self.healths(self.everybody, block)
                sick = {who: health for who, health in healths.items() if health < HEALTH_ONE_WAD}
                self.samples.append(Sample(block, sick))
                sampled = block
            await asyncio.sleep(_POLL_S)

    def arrived_s(self, block: int) -> float:
        """When the block was there: unix time, at most a poll too late."""
        place = bisect.bisect_left(self._arrivals, (block, 0.0))
        return self._arrivals[min(place, len(self._arrivals) - 1)][1]

    async def healths(self, accounts: Sequence[Address], block: int) -> dict[Address, int]:
        """The pool's own health factors at one block."""
        view = self.bed.contracts["Pool"].function("getUserAccountData")
        pool, tag = to_hex(self.bed.deployment.pool), hex(block)
        calls = [("eth_call", [{"to": pool, "data": to_hex(view.encode((each,)))}, tag]) for each in accounts]
        answers = await self.bed.chain.batch(calls, "reading every borrower")
        return {who: view.decode(bytes.fromhex(answer[2:]))[5] for who, answer in zip(accounts, answers, strict=True)}

    async def prices(self, borrower: Address, block: int, used_at: int) -> list[int]:
        """Of all that the borrower pledged or owed at block `used_at`, as of `block`."""
        (flags,) = await self.bed.pool("getUserConfiguration", borrower, block=hex(used_at))
        assets = self.bed.deployment.assets.values()
        used = [asset.token for asset in assets if flags >> (2 * asset.reserve_id) & 3]
        oracle = self.bed.contracts["AaveOracle"]
        found: list[int] = await self.bed.chain.call(
            self.bed.deployment.oracle, oracle, "getAssetsPrices", used, block=hex(block)
        )
        return list(found)

    async def liquidations_by(self, keeper: Address) -> list[tuple[int, str, Address]]:
        """Block, transaction hash and borrower of every liquidation that the keeper ever made."""
        wanted = {"fromBlock": "0x0", "toBlock": "latest", "address": to_hex(self.bed.deployment.pool)}
        logs = await self.bed.chain.rpc.request("eth_getLogs", [wanted | {"topics": [to_hex(_LIQUIDATION)]}])
        found = []
        for log in logs:
            # debtToCover, liquidatedCollateralAmount, liquidator, receiveAToken
            liquidator = address_from_hex("0x" + log["data"][2:][2 * 64 : 3 * 64][-40:])
            if liquidator == keeper:
                borrower = address_from_hex("0x" + log["topics"][3][-40:])
                found.append((int(log["blockNumber"], 16), log["transactionHash"], borrower))
        return found
