"""LP-04: the book that follows the logs equals a full read of the chain, to the wei. LP-05: also after reorgs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from eth_utils.crypto import keccak

from keeper.chain.logs import read_logs
from keeper.core.block import Log
from keeper.core.lending import LogFilter
from keeper.core.units import Address
from keeper.devnet import actions
from keeper.devnet.market import Bed
from keeper.protocols.aave_v3.selectors import LIQUIDATION_CALL_TOPIC
from tests.protocols.following import Following
from tests.protocols.onchain import cases

DEFICIT_CREATED_TOPIC = keccak(text="DeficitCreated(address,address,uint256)")


async def act(rng: random.Random, bed: Bed, accounts: Sequence[Address], done: Counter[str]) -> None:
    action = await actions.random_action(rng, bed, accounts)
    done[action.name] += not action.refused


async def pool_logs(bed: Bed, following: Following, topic: bytes) -> list[Log]:
    head = following.follower.applied
    assert head is not None
    found: list[Log] = []
    async for chunk in read_logs(bed.chain.rpc, LogFilter((bed.deployment.pool,), (topic,)), 0, head):
        found.extend(chunk.logs)
    return found


async def test_the_followed_book_equals_the_chain(bed: Bed) -> None:
    """At least a thousand random actions, followed in ranges of one to twenty."""
    rng = random.Random(f"lp04 {bed.deployment.version}")
    actors = actions.new_accounts(15, seed=4)
    await actions.equip(bed, actors)
    accounts = [*actors, *(opening.borrower for opening in bed.openings[:25])]
    following = Following(bed)
    await following.start()
    done: Counter[str] = Counter()
    wanted = cases(1_000, 3_000)
    while sum(done.values()) < wanted:
        for _ in range(rng.randint(1, 20)):
            await act(rng, bed, accounts, done)
        await following.advance()
    truth = await following.chain_rows()
    assert truth == following.book_rows()
    assert sum(account in truth for account in actors) >= 10

    fresh = Following(bed)
    await fresh.start()
    assert fresh.book_rows() == truth

    for name in ("transfer_a_tokens", "toggle_collateral", "change_emode", "liquidate", "repay_with_a_tokens"):
        assert done[name] >= 10, done
    payouts = {log.data[-1] for log in await pool_logs(bed, following, LIQUIDATION_CALL_TOPIC)}
    assert payouts == {0, 1}, "liquidations must have paid in underlying and in aTokens"
    if bed.deployment.version == "3.6":
        assert await pool_logs(bed, following, DEFICIT_CREATED_TOPIC), "there must have been bad debt"


async def test_the_followed_book_survives_reorgs(bed: Bed) -> None:
    """Blocks are taken back again and again, a few or many at a time, with new borrowers on either side."""
    rng = random.Random(f"lp05 {bed.deployment.version}")
    actors = actions.new_accounts(12, seed=5)
    await actions.equip(bed, actors)
    accounts = [*actors, *(opening.borrower for opening in bed.openings[:10])]
    following = Following(bed)
    await following.start()
    done: Counter[str] = Counter()
    for depth in (1, 3, 7, 2, 20, 5, 40, 1, 90, 4):
        for _ in range(depth + rng.randint(0, 6)):
            await act(rng, bed, accounts, done)
            if rng.random() < 0.3:
                await following.advance()
        await following.advance()
        await bed.chain.rpc.request("anvil_rollback", [depth])
        for _ in range(rng.randint(1, 10)):
            await act(rng, bed, accounts, done)
        await following.advance()
        assert await following.chain_rows() == following.book_rows(), f"after a reorg of {depth}"
    assert following.rewound == 10
