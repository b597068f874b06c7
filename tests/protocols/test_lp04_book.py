"""LP-04: the book that follows the logs equals a full read of the chain, to the wei; also over reorgs (LP-05)."""

from __future__ import annotations

import random
from collections import Counter

from keeper.devnet import actions
from keeper.devnet.market import Bed
from tests.protocols.following import Following
from tests.protocols.onchain import cases


async def test_the_followed_book_equals_the_chain(bed: Bed) -> None:
    rng = random.Random(f"lp04 {bed.deployment.version}")
    actors = actions.new_accounts(15, seed=4)
    await actions.equip(bed, actors)
    following = Following(bed)
    await following.start()
    accounts = [*actors, *(opening.borrower for opening in bed.openings[:25])]
    done: Counter[str] = Counter()
    wanted = cases(1_000, 3_000)
    while sum(done.values()) < wanted:
        for _ in range(rng.randint(1, 20)):
            action = await actions.random_action(rng, bed, accounts)
            done[action.name] += not action.refused
        await following.advance()
    truth = await following.chain_rows()
    assert truth == dict(following.follower.book.rows())
    assert set(accounts) <= set(truth) | {account for account in actors if account not in truth}
    later = Following(bed)
    await later.start()
    assert dict(later.follower.book.rows()) == truth
    for name in ("transfer_a_tokens", "toggle_collateral", "change_emode", "liquidate", "repay_with_a_tokens"):
        assert done[name] >= 10, done
