"""One chain for a module's tests: Aave 3.6 with borrowers below 1, Uniswap, Morpho, and an executor with all of them allowed.

Deployed once; each test starts from the same state and leaves it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from eth_abi.abi import decode
from eth_utils.crypto import keccak

from keeper.core.executor import ExecutorPlan, ExecutorRole
from keeper.core.units import Address, to_hex
from keeper.devnet import admin
from keeper.devnet.artifacts import Artifact
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.errors import Reverted
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.morpho import Morpho, deploy_morpho, fill_morpho
from keeper.devnet.openings import Leg, Opening, amount_of
from keeper.devnet.positions import open_all
from keeper.devnet.spec import USD, Version, asset_spec
from keeper.devnet.state import Recipe, started_bed
from keeper.devnet.uniswap import Uniswap, deploy_uniswap, open_v2_pair, open_v3_pool
from keeper.execution.executor_calls import encode_execute
from tests.contracts.compiled import committed_executor, own

OWNER, RECIPIENT = salted_address("owner"), salted_address("recipient")
OPERATOR, STRANGER = salted_address("operator"), salted_address("stranger")
BORROWERS = 6
COVER_RAW = 10_000 * 10**6
"""What is repaid of each borrower's USDC; more is owed, and less than half of it."""
DEPTH_USD = 50_000_000
Lesson = tuple[str, Address, bytes]
"""When called by this signature: whom to call, with what."""
_GAS = 6_000_000


@dataclass(frozen=True)
class World:
    """The addresses. `pool` is the Uniswap v3 pool swapped in, `other_pool` lends."""

    bed: Bed
    uniswap: Uniswap
    morpho: Morpho
    pool: Address
    other_pool: Address
    pair: Address
    borrowers: tuple[Address, ...]
    contract: Artifact
    executor: Address

    @property
    def market(self) -> Address:
        return self.bed.deployment.pool

    @property
    def usdc(self) -> Address:
        return self.bed.asset("USDC").token

    @property
    def weth(self) -> Address:
        return self.bed.asset("WETH").token

    async def send(self, sender: Address, function: str, *args: Any) -> dict[str, Any]:
        """A transaction to the executor. Raises Reverted."""
        call = self.contract.function(function).encode(args)
        return await self.bed.chain.transact(Tx(sender, self.executor, call, gas=_GAS), function)

    async def execute(self, plan: ExecutorPlan, sender: Address = OPERATOR) -> dict[str, Any]:
        """The operator's call. Raises Reverted."""
        return await self.bed.chain.transact(Tx(sender, self.executor, self.encoded(plan), gas=_GAS), "execute")

    def encoded(self, plan: ExecutorPlan) -> bytes:
        return encode_execute(self.executor, plan).calldata

    async def see(self, function: str, *args: Any) -> Any:
        return await self.bed.chain.call(self.executor, self.contract, function, *args)

    async def balance_raw(self, token: Address, account: Address | None = None) -> int:
        """Of the executor, unless another account is named."""
        held = await self.bed.chain.call(token, self.bed.contracts["Token"], "balanceOf", account or self.executor)
        return int(held)

    async def allowance_raw(self, token: Address, spender: Address) -> int:
        """What the executor lets `spender` take."""
        token_abi = self.bed.contracts["Token"]
        return int(await self.bed.chain.call(token, token_abi, "allowance", self.executor, spender))

    async def scaled_debt(self, borrower: Address) -> int:
        debt_token = self.bed.asset("USDC").v_token
        debt_abi = self.bed.contracts["VariableDebtToken"]
        return int(await self.bed.chain.call(debt_token, debt_abi, "scaledBalanceOf", borrower))

    async def give(self, token: Address, amount_raw: int, account: Address | None = None) -> None:
        mint = self.bed.call_tx(ADMIN, token, "Token", "mint", account or self.executor, amount_raw)
        await self.bed.chain.transact(mint, "mint")

    async def allow(self, target: Address, roles: int) -> None:
        await self.send(OWNER, "allow", target, roles)

    async def corrupt(self, token: Address) -> None:
        """From now on the token's code is `HostileToken`; balances and allowances stay."""
        code = "0x" + own("HostileToken").runtime
        await self.bed.chain.rpc.request("anvil_setCode", [to_hex(token), code])

    async def tell(self, target: Address, function: str, *args: Any) -> None:
        """A corrupted token, how to misbehave."""
        await self.bed.chain.send(ADMIN, target, own("HostileToken"), function, *args)

    async def puppet(self, lessons: Sequence[Lesson], answers: Mapping[str, bytes] | None = None) -> Address:
        """A contract that does as it was taught when a function of that signature is called."""
        puppet = await self.deploy(own("Puppet"))
        await self.teach(puppet, lessons)
        for signature, output in (answers or {}).items():
            await self.bed.chain.send(ADMIN, puppet, own("Puppet"), "answer", selector(signature), output)
        return puppet

    async def teach(self, puppet: Address, lessons: Sequence[Lesson]) -> None:
        for signature, target, calldata in lessons:
            await self.bed.chain.send(ADMIN, puppet, own("Puppet"), "teach", selector(signature), target, calldata)

    async def wake(self, puppet: Address, signature: str = "start()") -> None:
        """Have a stranger call it. Raises Reverted."""
        await self.bed.chain.transact(Tx(STRANGER, puppet, selector(signature), gas=_GAS))

    def own_call(self, function: str, *args: Any) -> bytes:
        """Calldata of the executor."""
        return self.contract.function(function).encode(args)

    def token_call(self, function: str, *args: Any) -> bytes:
        return self.bed.contracts["Token"].function(function).encode(args)

    async def deploy(self, artifact: Artifact, *args: Any) -> Address:
        return await self.bed.chain.deploy(ADMIN, artifact, args)


def selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


def reason_of(revert_data: bytes) -> str:
    """The text of a refusal; the bytes as hex where it has none."""
    if revert_data[:4] != selector("Error(string)"):
        return "0x" + revert_data.hex()
    (reason,) = decode(["string"], revert_data[4:])
    return str(reason)


async def refusal(attempt: Awaitable[object]) -> str:
    """The reason that a transaction reverts with. Fails when it does not revert."""
    try:
        await attempt
    except Reverted as error:
        return reason_of(error.data)
    raise AssertionError("it went through")


@asynccontextmanager
async def started_world(version: Version = "3.6") -> AsyncIterator[World]:
    async with started_bed(Recipe(version)) as bed:
        await admin.set_answer(bed, "WETH", 2_000 * USD)
        prices = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
        openings = [pledge(number) for number in range(BORROWERS)]
        await open_all(bed, openings, prices)
        await admin.set_answer(bed, "WETH", 1_900 * USD)
        uniswap, morpho = await deploy_uniswap(bed), await deploy_morpho(bed)
        await fill_morpho(bed, morpho, "USDC", 10**15)
        pool = await open_v3_pool(bed, uniswap, "WETH", "USDC", 500, DEPTH_USD)
        other_pool = await open_v3_pool(bed, uniswap, "WETH", "USDC", 3_000, DEPTH_USD)
        pair = await open_v2_pair(bed, uniswap, "WETH", "USDC", DEPTH_USD)
        await bed.chain.fund([OWNER, RECIPIENT, OPERATOR, STRANGER])
        borrowers = tuple(each.borrower for each in openings)
        none = Address(bytes(20))
        world = World(bed, uniswap, morpho, pool, other_pool, pair, borrowers, committed_executor(), none)
        yield await with_executor(world, world.contract)


def pledge(number: int) -> Opening:
    price_base, threshold_bps = 2_000 * USD, asset_spec("WETH").threshold_bps
    pledged_base = (60_000 + 5_000 * number) * USD
    owed_base = pledged_base * threshold_bps // 10_200
    return Opening(
        salted_address(f"pledger {number}"),
        "long",
        (Leg("WETH", amount_of(pledged_base, price_base, 18)),),
        (Leg("USDC", amount_of(owed_base, USD, 6)),),
    )


async def with_executor(world: World, contract: Artifact, owner: Address = OWNER) -> World:
    """The world with a fresh executor of this code, an operator, and everything allowed as what it is."""
    executor = await world.deploy(contract, owner, RECIPIENT)
    renewed = replace(world, contract=contract, executor=executor)
    await world.bed.chain.fund([owner])
    await renewed.send(owner, "set_operator", OPERATOR, True)
    roles = {
        world.market: ExecutorRole.MARKET,
        world.morpho.address: ExecutorRole.MORPHO,
        world.pool: ExecutorRole.POOL_V3,
        world.other_pool: ExecutorRole.POOL_V3,
        world.pair: ExecutorRole.PAIR_V2,
        world.uniswap.router: ExecutorRole.ROUTER,
    }
    for target, role in roles.items():
        await renewed.send(owner, "allow", target, role)
    return renewed
