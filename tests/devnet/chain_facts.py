"""What the chain itself says, without the keeper's eyes: health from the contract, transactions from the blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keeper.core.errors import RpcFailure
from keeper.core.units import HEALTH_ONE_WAD, Address, address_from_hex, to_hex
from keeper.devnet.market import Bed
from tests.devnet.commands import comes_true

_TRIES = 20


async def health_wad(bed: Bed, borrower: Address, block_number: int | None = None) -> int:
    """The health factor that the contract answers at a block."""
    answer: int = (await account_figures(bed, borrower, block_number))[5]
    return answer


async def account_figures(bed: Bed, borrower: Address, block_number: int | None = None) -> tuple[int, ...]:
    """All six outputs of `getUserAccountData`."""
    answer: tuple[int, ...] = await bed.pool("getUserAccountData", borrower, block=_tag(block_number))
    return answer


async def below_one(bed: Bed, borrowers: Iterable[Address]) -> dict[Address, int]:
    """Who of them is below 1 at the newest block."""
    found = {who: await _health_now_wad(bed, who) for who in borrowers}
    return {who: health for who, health in found.items() if health < HEALTH_ONE_WAD}


async def _health_now_wad(bed: Bed, borrower: Address) -> int:
    """While anvil mines, its newest block may be read with the next one's state, and the contract then trips over a clock
    that goes backwards: ask again."""
    for _ in range(_TRIES):
        with contextlib.suppress(RpcFailure):
            return await health_wad(bed, borrower)
    return await health_wad(bed, borrower)


async def balances_raw(bed: Bed, owner: Address) -> dict[Address, int]:
    """What an account holds of every asset."""
    return {
        asset.token: await bed.chain.call(asset.token, bed.contracts["Token"], "balanceOf", owner)
        for asset in bed.deployment.assets.values()
    }


async def allowances_raw(bed: Bed, owner: Address) -> dict[Address, int]:
    """How much of every asset the pool may pull from an account."""
    pool = bed.deployment.pool
    return {
        asset.token: await bed.chain.call(asset.token, bed.contracts["Token"], "allowance", owner, pool)
        for asset in bed.deployment.assets.values()
    }


async def coins_wei(bed: Bed, owner: Address) -> int:
    return int(await bed.chain.rpc.request("eth_getBalance", [to_hex(owner), "latest"]), 16)


async def nonce(bed: Bed, owner: Address) -> int:
    return int(await bed.chain.rpc.request("eth_getTransactionCount", [to_hex(owner), "latest"]), 16)


@dataclass(frozen=True)
class Mined:
    """A transaction as its block and its receipt tell it."""

    hash: str
    nonce: int
    to: Address
    selector: str
    block_number: int
    succeeded: bool
    gas_used: int
    cost_wei: int


async def mined_by(bed: Bed, sender: Address, from_block: int) -> list[Mined]:
    """Everything an account got mined since a block, in order."""
    found: list[Mined] = []
    for number in range(from_block, await bed.chain.block_number() + 1):
        block = await bed.chain.rpc.request("eth_getBlockByNumber", [hex(number), True])
        ours = [each for each in block["transactions"] if address_from_hex(each["from"]) == sender]
        found += [await _mined(bed, each) for each in ours]
    return found


async def _mined(bed: Bed, body: Mapping[str, Any]) -> Mined:
    receipt = await bed.chain.rpc.request("eth_getTransactionReceipt", [body["hash"]])
    return Mined(
        hash=body["hash"],
        nonce=int(body["nonce"], 16),
        to=address_from_hex(body["to"]),
        selector=body["input"][:10],
        block_number=int(body["blockNumber"], 16),
        succeeded=int(receipt["status"], 16) == 1,
        gas_used=int(receipt["gasUsed"], 16),
        cost_wei=int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16),
    )


async def fingerprint(bed: Bed) -> list[Any]:
    """All that could change on a chain: its head (and with it every balance, nonce and slot), its mempool, its state."""
    return [
        await bed.chain.rpc.request("eth_getBlockByNumber", ["latest", True]),
        await bed.chain.rpc.request("txpool_content", []),
        await bed.chain.rpc.request("anvil_dumpState", []),
    ]


def _tag(block_number: int | None) -> str:
    return "latest" if block_number is None else hex(block_number)


async def emptied(bed: Bed) -> None:
    """Returns once the pool has noticed that its last transaction was mined."""

    async def empty() -> bool:
        return int((await bed.chain.rpc.request("txpool_status", []))["pending"], 16) == 0

    await comes_true(empty)
