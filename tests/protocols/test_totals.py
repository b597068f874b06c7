"""What the chain says of each reserve as a whole: our indexes are its own, and every debtor is in the book."""

from __future__ import annotations

import random

from keeper.core.lending import ReserveTotals
from keeper.core.units import RAY
from keeper.devnet import actions
from keeper.devnet.market import Bed
from tests.protocols.following import Following


async def totals_of_all(following: Following) -> dict[int, ReserveTotals]:
    adapter, follower = following.adapter, following.follower
    assert follower.applied is not None
    found = {}
    for reserve_id in adapter.reserve_ids(follower.market):
        results = await following.client.read(adapter.encode_totals(follower.market, reserve_id), follower.applied)
        found[reserve_id] = adapter.decode_totals(follower.market, reserve_id, results)
    return found


async def test_indexes_and_totals_agree_at_every_head(bed: Bed) -> None:
    rng = random.Random(f"totals {bed.deployment.version}")
    accounts = [opening.borrower for opening in bed.openings[:20]]
    following = Following(bed)
    await following.start()
    totals: dict[int, ReserveTotals] = {}
    for _ in range(6):
        for _ in range(5):
            await actions.random_action(rng, bed, accounts)
        await bed.chain.rpc.request("evm_increaseTime", [rng.randint(1, 90_000)])
        await bed.chain.rpc.request("evm_mine", [])
        await following.advance()
        follower = following.follower
        assert follower.applied is not None
        totals = await totals_of_all(following)
        assert list(totals) == [bed.asset(symbol).reserve_id for symbol in bed.deployment.symbols]
        rows = list(follower.book.positions())
        for reserve_id, chain in totals.items():
            ours = following.adapter.indexes_ray(follower.state, reserve_id, follower.applied.timestamp_s)
            assert ours == (chain.collateral_index_ray, chain.debt_index_ray)
            assert sum(row.debt_scaled.get(reserve_id, 0) for row in rows) == chain.debt_scaled
            assert sum(row.collateral_scaled.get(reserve_id, 0) for row in rows) <= chain.collateral_scaled
    assert any(chain.debt_index_ray > RAY for chain in totals.values())
