"""Orders against the real market, made by the real adapter and planner, for tests of what executes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eth_account import Account

from keeper.chain.client import ChainClient
from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
from keeper.core.block import BlockRef, Call
from keeper.core.ledger import Stake
from keeper.core.order import FeeQuote, Offer, Order, Profit, attempt_name
from keeper.core.outcome import Skip
from keeper.core.plan import Plan, Window
from keeper.core.planner import Planner, PlanPolicy
from keeper.core.units import HEALTH_ONE_WAD, WAD, Address
from keeper.devnet import admin
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.execution.earlier import Earlier
from keeper.execution.funding import DealtFunding
from keeper.execution.live import LiveSubmitter, may_go_live
from keeper.execution.markets import MarketHandle
from keeper.execution.readback import ReadBack
from keeper.execution.reconcile import Reconciler
from keeper.execution.sender import Sender
from keeper.execution.signing.keystore import load_keystore
from keeper.execution.signing.policy import GuardedSigner, SigningPolicy
from keeper.execution.slots import SlotFinder
from keeper.execution.strangers import Strangers
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.selectors import LIQUIDATION_CALL
from keeper.protocols.aave_v3.state import State
from keeper.store.store import Store

CHAIN = "devnet"
GWEI = 10**9
KEY = bytes.fromhex("a1" * 32)
PASSWORD = "devnet"
REFUSALS = ("HealthFactorNotBelowThreshold", "CollateralCannotBeLiquidated", "45", "46")
"""What the contract says of a `refused_order`, by its release."""
KEEPER = Address(bytes.fromhex(Account.from_key(KEY).address[2:]))
REHEARSER = salted_address("rehearser")
WINDOW_S = 24
GAS_LIMIT = 1_500_000


@dataclass(frozen=True)
class Rig:
    """A bed seen through the keeper's own eyes."""

    bed: Bed
    rpc: Endpoints
    client: ChainClient
    adapter: AaveV3
    market: Market
    markets: dict[Address, MarketHandle[Market, State]]

    @property
    def entry(self) -> Address:
        return self.bed.deployment.addresses_provider

    @property
    def pool(self) -> Address:
        return self.bed.deployment.pool

    @property
    def reconciler(self) -> Reconciler:
        return Reconciler(self.rpc, self.client, self.markets)

    async def head(self) -> BlockRef:
        return await self.client.latest()

    async def crash(self, symbol: str = "WETH", percent: int = 70) -> None:
        """The price falls to so many percent of itself."""
        await admin.set_answer(self.bed, symbol, await self.bed.price_base(symbol) * percent // 100)

    async def orders(self, liquidator: Address, most: int = 100) -> list[Order]:
        """An order for every borrower below 1 that can be planned, at the latest head."""
        head = await self.head()
        window = Window(head.timestamp_s + 1, head.timestamp_s + WINDOW_S)
        state = await self._state(head)
        planner = Planner(self.adapter, state, self.entry, head, window, liquidator, PlanPolicy())
        fees = await self.client.fees()
        orders = []
        for opening in self.bed.openings:
            results = await self.client.read(self.adapter.encode_position(self.market, opening.borrower), head)
            position = self.adapter.decode_position(self.market, opening.borrower, results)
            health = self.adapter.health(state, position, head.timestamp_s)
            if isinstance(health, Skip) or health.health_factor_wad >= HEALTH_ONE_WAD:
                continue
            plans = planner.plan(position)
            if not isinstance(plans, Skip):
                orders.append(self.order(plans[0], fees, signer=liquidator))
        return orders[:most]

    def refused_order(self, orders: Sequence[Order]) -> Order:
        """The second order's call against somebody who has none, being healthy: the contract reverts it."""
        sick, plan = {order.borrower for order in orders}, orders[1].plan
        healthy = next(opening.borrower for opening in self.bed.openings if opening.borrower not in sick)
        call = plan.calls[0]
        wrong = self.adapter.encode_liquidation(self.market, healthy, call.pair, call.debt_to_cover_raw)
        return replace(self.order(plan, orders[1].offer.fees, [wrong], orders[1].signer), attempt="refused")

    def order(self, plan: Plan, fees: FeeQuote, calls: Sequence[Call] | None = None, signer: Address = KEEPER) -> Order:
        """The exact calls of a plan, or others in their place."""
        exact = [
            self.adapter.encode_liquidation(self.market, plan.borrower, call.pair, call.debt_to_cover_raw)
            for call in plan.calls
        ]
        chosen = tuple(exact if calls is None else calls)
        return Order(
            attempt=attempt_name(plan.block.number, plan.borrower),
            chain_id=self.bed.deployment.chain_id,
            offer=Offer(plan, (400_000,) * len(chosen), fees, Profit(0, 0, 0)),
            signer=signer,
            spender=self.pool,
            calls=chosen,
            gas_limits=(GAS_LIMIT,) * len(chosen),
            stakes=(Stake(GAS_LIMIT * fees.max_fee_wei, WAD, WAD),) * len(chosen),
        )

    async def _state(self, head: BlockRef) -> State:
        results = await self.client.read(self.adapter.encode_state(self.market), head)
        return self.adapter.decode_state(self.market, head, results)

    async def health_wad(self, borrower: Address, block: BlockRef) -> int:
        [result] = await self.client.read([self.adapter.encode_health(self.market, borrower)], block)
        return self.adapter.decode_health(self.market, result).health_factor_wad

    # -- money -----------------------------------------------------------------------------------------------------

    def dealt(self) -> DealtFunding:
        return DealtFunding(SlotFinder(self.rpc), REHEARSER)

    def signer(self, folder: Path) -> GuardedSigner:
        """The keeper's key from a keystore of its own, behind its policy."""
        path = folder / "keystore.json"
        path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=10)))
        path.chmod(0o600)
        tokens = [asset.token for asset in self.bed.deployment.assets.values()]
        policy = SigningPolicy(
            chain_id=self.bed.deployment.chain_id,
            calls={self.pool: frozenset({LIQUIDATION_CALL})},
            approvals={token: frozenset({self.pool}) for token in tokens},
            max_fee_cap_wei=1_000 * GWEI,
        )
        return GuardedSigner(load_keystore(path, lambda: PASSWORD), policy)

    async def fund(self, owner: Address, *, approve: bool = True) -> None:
        """Plenty of every asset, native coin for gas, and (if asked) an allowance to the pool."""
        await self.bed.chain.fund([owner])
        for asset in self.bed.deployment.assets.values():
            amount_raw = 10**9 * 10**asset.decimals
            await self.bed.chain.send(owner, asset.token, self.bed.contracts["Token"], "mint", owner, amount_raw)
            if approve:
                await self.bed.chain.send(
                    owner, asset.token, self.bed.contracts["Token"], "approve", self.pool, amount_raw
                )


@asynccontextmanager
async def rigged(bed: Bed, url: str | None = None) -> AsyncIterator[Rig]:
    """A rig on a bed; `url` puts something between the two."""
    async with Endpoints([Endpoint(url or bed.url)], bed.deployment.chain_id) as rpc:
        client = ChainClient(rpc, poll_s=0.02, fee_cap_wei=1_000 * GWEI, priority_percentile=50)
        adapter = AaveV3()
        market = await client.drive(adapter.discover(bed.deployment.addresses_provider), await client.latest())
        native = bed.deployment.wrapped_native
        handle = MarketHandle(adapter, market, native)
        yield Rig(bed, rpc, client, adapter, market, {bed.deployment.addresses_provider: handle})


@asynccontextmanager
async def live(
    rig: Rig, folder: Path, *, tells: bool = False, looks_out: bool = False
) -> AsyncIterator[tuple[LiveSubmitter, Store]]:
    """A submitter with its own store, started as after a restart. `tells`: what came of an earlier run's attempts;
    `looks_out`: for strangers."""
    async with Store.open(folder / "keeper.db") as store:
        chain_id = rig.bed.deployment.chain_id
        sender = Sender(rig.rpc, rig.signer(folder), store, chain_id)
        permit = may_go_live(chain_id, is_testnet_preset=False, node_is_anvil_devnet=True)
        read_back = ReadBack(rig.rpc, rig.client, rig.markets)
        earlier = Earlier(rig.rpc, store, read_back, CHAIN, chain_id, KEEPER) if tells else None
        strangers = Strangers(sender.following, store, store, chain_id, KEEPER) if looks_out else None
        submitter = LiveSubmitter(permit, sender, rig.reconciler, earlier=earlier, strangers=strangers)
        await submitter.start(await rig.head())
        yield submitter, store
