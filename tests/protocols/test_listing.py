"""A reserve that is listed and used before anybody looked: its tokens' first logs were in no filter."""

from __future__ import annotations

from dataclasses import replace

from keeper.core.units import Address
from keeper.devnet import upgrades
from keeper.devnet.market import Bed
from keeper.devnet.spec import asset_spec
from keeper.pipeline.verify import pick_sample
from tests.protocols.following import Following

SUPPLIED_RAW, BORROWED_RAW = 10**27, 10**18


async def list_one_more(bed: Bed) -> Address:
    """One more reserve with DAI's settings; its token."""
    listed = await upgrades.list_reserve(bed, replace(asset_spec("DAI"), symbol="NEW"))
    return listed.asset("NEW").token


async def use(bed: Bed, token: Address, who: Address) -> None:
    pool, contracts = bed.deployment.pool, bed.contracts
    await bed.chain.fund([who])
    await bed.chain.send(who, token, contracts["Token"], "mint", who, SUPPLIED_RAW)
    await bed.chain.send(who, token, contracts["Token"], "approve", pool, SUPPLIED_RAW)
    await bed.chain.send(who, pool, contracts["Pool"], "supply", token, SUPPLIED_RAW, who, 0)
    await bed.chain.send(who, pool, contracts["Pool"], "borrow", token, BORROWED_RAW, 2, 0, who)


async def test_a_known_borrower_who_uses_a_new_reserve_is_not_missed(bed36: Bed) -> None:
    following = Following(bed36)
    await following.start()
    outside_modes = next(opening.borrower for opening in bed36.openings if opening.emode_id == 0)
    await use(bed36, await list_one_more(bed36), outside_modes)
    book = following.follower.book
    while outside_modes in {row.borrower for row in pick_sample(book, await following.newest())}:
        await bed36.chain.mine(1)  # the verification that follows the change must not be what finds it
    await following.advance()
    new_id = max(reserve.id for reserve in following.follower.market.reserves)
    row = following.follower.book.position(outside_modes)
    assert row == (await following.chain_rows())[outside_modes]
    assert row.debt_scaled[new_id] > 0
    assert row.collateral_scaled[new_id] > 0
