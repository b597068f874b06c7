"""What the tests of the live daemon share: a chain that mines by itself, a fall, and what must be true after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keeper.core.units import Address, to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from tests.devnet.chain_facts import Mined, below_one, mined_by, nonce
from tests.devnet.commands import comes_true, happens
from tests.devnet.keeping import Keeping, keeping

LIQUIDATION_CALL = "0x00a718a9"
CLOSED = {"mined", "reverted", "refused", "dropped"}


@asynccontextmanager
async def live_daemon(bed: Bed, folder: Path) -> AsyncIterator[Keeping]:
    """A keeper with money, its allowances set, on a chain that from now on mines a block a second."""
    kept = await keeping(bed, folder, funded=True)
    assert (await kept.run_once("--live")).code == 0
    await bed.chain.rpc.request("evm_setIntervalMining", [1])
    yield kept


@dataclass(frozen=True)
class Fall:
    """The block in which ether fell, and whom the contract had below 1 then."""

    block: int
    sick: Sequence[Address]


async def fall(bed: Bed, percent: int = 88) -> Fall:
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * percent // 100)
    block = await bed.chain.block_number()
    return Fall(block, list(await below_one(bed, [opening.borrower for opening in bed.openings])))


async def worked_off(bed: Bed, kept: Keeping, sick: Sequence[Address]) -> None:
    """Returns once each of them is back at 1, by the contract's word, or has its reason in the journal."""

    async def answered() -> bool:
        told = {row.borrower for row in kept.events("refused")}
        return all(to_hex(who) in told for who in await below_one(bed, sick))

    await comes_true(answered, every_s=0.2)


async def settled(kept: Keeping) -> None:
    """Returns once nothing that was signed may still be mined."""
    await happens(lambda: set(kept.intents().values()) <= CLOSED, every_s=0.05)


async def nothing_waits(bed: Bed, kept: Keeping) -> None:
    """Returns once all is settled, and two more blocks were judged since."""
    await settled(kept)
    goal = await bed.chain.block_number() + 2
    await happens(lambda: kept.judged_block() >= goal, every_s=0.05)


async def assert_nothing_twice(bed: Bed, kept: Keeping, first_block: int) -> None:
    """As the chain tells it: no liquidation that the contract refused, no nonce left out, no borrower beyond the target."""
    assert kept.account is not None
    keeper = kept.account.address
    mined = [each for each in await mined_by(bed, keeper, first_block) if each.selector == LIQUIDATION_CALL]
    assert all(each.succeeded for each in mined), "what is done twice reverts: the first brought health back to 1"
    assert len({each.hash for each in mined}) == len(mined)
    every = await mined_by(bed, keeper, 0)
    assert [each.nonce for each in every] == list(range(await nonce(bed, keeper)))
    assert int((await bed.chain.rpc.request("txpool_status", []))["pending"], 16) == 0
    assert_journaled(kept, mined)


def assert_journaled(kept: Keeping, mined: Sequence[Mined]) -> None:
    """Every transaction on the chain is in the store, and the store holds no other as mined."""
    intents = kept.intents()
    assert {each.hash for each in mined} <= set(intents)
    assert set(intents.values()) <= CLOSED
