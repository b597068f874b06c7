"""The world of the contracts with an executor of the keeper's own: its signer has gas and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from keeper.app import executor
from keeper.core.executor import ExecutorRole
from keeper.core.units import Address, to_hex
from keeper.devnet import admin
from keeper.devnet.chain import salted_address
from keeper.devnet.positions import open_all
from keeper.devnet.spec import USD
from keeper.devnet.throwaway import Throwaway, write_throwaway
from keeper.store import JournalRow
from tests.contracts.world import BORROWERS, World, pledge, started_world
from tests.devnet.keeping import Keeping, keeping


@dataclass(frozen=True)
class Stage:
    """The world with a key that has gas alone, and its executor, as the command makes it."""

    world: World
    account: Throwaway
    executor: Address

    async def kept(self, folder: Path, **routes: object) -> Keeping:
        made = await keeping(self.world.bed, folder)
        made.account = self.account
        made.chain["executor"] = to_hex(self.executor)
        made.tables["routes"] = {"v3_factories": [to_hex(self.world.uniswap.v3_factory)], **routes}
        return made

    async def allow(self, target: Address, role: ExecutorRole) -> None:
        """As the owner."""
        contract = self.world.contract
        await self.world.bed.chain.send(self.account.address, self.executor, contract, "allow", target, role)

    async def calldata(self, transaction: str) -> bytes:
        body = await self.world.bed.chain.rpc.request("eth_getTransactionByHash", [transaction])
        return bytes.fromhex(body["input"][2:])

    async def holds_raw(self, account: Address) -> Mapping[Address, int]:
        tokens = [asset.token for asset in self.world.bed.deployment.assets.values()]
        return {token: await self.world.balance_raw(token, account) for token in tokens}


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    async with started_world() as world:
        kept = await keeping(world.bed, folder)
        kept.account = account = write_throwaway(folder)
        await world.bed.chain.fund([account.address])
        done = await executor.deploy(kept.settings(mode="live"), None, None, None, live=True)
        assert done.executor is not None
        stage = Stage(world, account, done.executor)
        await world.bed.chain.send(
            account.address, done.executor, world.contract, "set_operator", account.address, True
        )
        await stage.allow(world.market, ExecutorRole.MARKET)
        await stage.allow(world.morpho.address, ExecutorRole.MORPHO)
        await stage.allow(world.pool, ExecutorRole.POOL_V3)
        yield stage


async def more_borrowers(world: World, count: int) -> list[Address]:
    """Further ones who owe dollars, and are below 1 at the price as it is."""
    fallen, before = 1_900 * USD, 2_000 * USD
    await admin.set_answer(world.bed, "WETH", before)
    openings = [
        replace(pledge(BORROWERS + number), borrower=salted_address(f"another pledger {number}"))
        for number in range(count)
    ]
    await open_all(
        world.bed, openings, {symbol: await world.bed.price_base(symbol) for symbol in world.bed.deployment.symbols}
    )
    await admin.set_answer(world.bed, "WETH", fallen)
    return [each.borrower for each in openings]


def restored_at_a_profit(kept: Keeping, world: World) -> list[JournalRow]:
    """What the journal tells of all of the world's borrowers, each restored exactly as was planned."""
    restored = kept.events("restored")
    assert {row.borrower for row in restored} == {to_hex(each) for each in world.borrowers}
    assert all(row.fields["model_error_wad"] == "0" and row.fields["amounts_match"] for row in restored)
    assert all(int(row.fields["net_base"]) > 0 for row in restored)
    return restored
