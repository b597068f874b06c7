"""The chain of a daemon run: it mines when told to, and much happens to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.core.errors import RpcFailure
from keeper.core.units import UINT256_MAX, Address, to_hex
from keeper.devnet.bulk import send_together
from keeper.devnet.chain import Tx, salted_address, tx_body
from keeper.devnet.market import ADMIN, Bed
from tests.daemon_runs.between import Between, offered
from tests.devnet.keeping import fund
from tests.relays.local_relay import LocalRelay

GWEI = 10**9
COMPETITOR = salted_address("competitor")
COMPETITOR_GAS = 3_000_000
DEEPEST_REORG = 5
RELAY_MANNERS = ("", "", "refuses", "drops", "html", "other_hash", "forbids", "reveals")
QUIET_FEE_WEI = GWEI
_LIQUIDATION_CALL = "0x00a718a9"


@dataclass
class World:
    """What the script of a run acts on."""

    rng: random.Random
    bed: Bed
    between: Between
    keepers: Sequence[Address]
    """All of its signers."""
    relay: LocalRelay | None
    floor_block: int
    """Nothing up to it is taken back."""
    happened: Counter[str] = field(default_factory=Counter)

    async def mine(self) -> None:
        """A block, by the builder behind the relay where there is one."""
        if self.relay is not None:
            await self.relay.build(self.bed.chain.rpc)
        else:
            await self.bed.chain.mine()

    # -- the market --------------------------------------------------------------------------------------------------
    async def move_price(self, symbol: str, percent: int) -> None:
        """In the next block, at whatever it costs."""
        answer = await self.bed.price_base(symbol) * percent // 100
        calldata = self.bed.contracts["Feed"].function("setAnswer").encode((answer,))
        await self._send(Tx(ADMIN, self.bed.asset(symbol).feed, calldata), priority_gwei=50)

    async def fee_spike(self) -> None:
        """The next block asks for more than the keeper bids, or may pay."""
        self.happened["fee spike"] += 1
        await self._base_fee(self.rng.choice((3, 30, 150)) * GWEI)

    async def compete(self) -> None:
        """Somebody copies what the keeper has in the pool, and pays more."""
        for copied in await self.pooled():
            if copied["input"].startswith(_LIQUIDATION_CALL):
                self.happened["competitor"] += 1
                tx = Tx(COMPETITOR, self.bed.deployment.pool, bytes.fromhex(copied["input"][2:]), gas=COMPETITOR_GAS)
                await self._send(tx, priority_gwei=200)

    # -- the pool ----------------------------------------------------------------------------------------------------
    async def pooled(self) -> Sequence[dict[str, Any]]:
        """The keeper's transactions that wait, by nonce."""
        content = await self.bed.chain.rpc.request("txpool_content", [])
        ours = set(map(to_hex, self.keepers))
        found = [
            transaction
            for part in content.values()
            for sender, by_nonce in part.items()
            if sender.lower() in ours
            for transaction in by_nonce.values()
        ]
        return sorted(found, key=lambda transaction: int(transaction["nonce"], 16))

    async def forget(self) -> None:
        """The node forgets some of the keeper's transactions."""
        for transaction in await self.pooled():
            if self.rng.random() < 0.6:
                self.happened["dropped from the pool"] += 1
                await self.bed.chain.rpc.request("anvil_dropTransaction", [transaction["hash"]])

    async def reorganise(self) -> None:
        """The last blocks go; other ones come, with some, all or none of the keeper's transactions."""
        rpc = self.bed.chain.rpc
        head = await self.bed.chain.block_number()
        depth = min(self.rng.randint(1, DEEPEST_REORG), head - self.floor_block)
        if depth < 1:
            return
        self.happened["reorg"] += 1
        raws = [raw for number in range(head - depth + 1, head + 1) for raw in await self._raws_in(number)]
        await rpc.request("anvil_rollback", [depth])
        kept = self.rng.choice((0.0, 0.5, 1.0))
        for raw in raws:
            if self.rng.random() < kept:
                await offered(rpc, raw)
        for _ in range(depth):
            await self.mine()

    async def _raws_in(self, number: int) -> list[str]:
        rpc = self.bed.chain.rpc
        block = await rpc.request("eth_getBlockByNumber", [hex(number), True])
        keepers = set(map(to_hex, self.keepers))
        ours = [each for each in block["transactions"] if each["from"].lower() in keepers]
        return [await rpc.request("eth_getRawTransactionByHash", [each["hash"]]) for each in ours]

    # -- the way there -------------------------------------------------------------------------------------------------
    def change_manners(self, manner: str) -> None:
        self.between.manner = manner
        self.happened[f"transactions: {manner}"] += 1

    def change_relay(self) -> None:
        if self.relay is not None:
            self.relay.does = self.rng.choice(RELAY_MANNERS)
            self.happened[f"relay: {self.relay.does or 'well'}"] += 1

    async def calm(self) -> None:
        """From now on all is well; what was held arrives."""
        self.between.manner = "passes"
        await self.between.release(self.bed.chain.rpc)
        if self.relay is not None:
            self.relay.does = ""
        await self._base_fee(QUIET_FEE_WEI)

    async def _base_fee(self, fee_wei: int) -> None:
        await self.bed.chain.rpc.request("anvil_setNextBlockBaseFeePerGas", [hex(fee_wei)])

    async def _send(self, tx: Tx, priority_gwei: int) -> None:
        fees = {"maxFeePerGas": hex(5_000 * GWEI), "maxPriorityFeePerGas": hex(priority_gwei * GWEI)}
        try:
            await self.bed.chain.rpc.request("eth_sendTransaction", [tx_body(tx) | fees])
        except RpcFailure:
            self.happened["the world's own transaction refused"] += 1


async def prepare_competitor(bed: Bed) -> None:
    """Money and allowances for all there is."""
    await fund(bed, COMPETITOR)
    tokens = [asset.token for asset in bed.deployment.assets.values()]
    approvals = [bed.call_tx(COMPETITOR, each, "Token", "approve", bed.deployment.pool, UINT256_MAX) for each in tokens]
    await send_together(bed.chain, approvals, "the competitor's approvals")
