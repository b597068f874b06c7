"""Prices that are too old to be used, on real feeds."""

from __future__ import annotations

from keeper.chain.blocks import read_header
from keeper.chain.reads import PinnedReads
from keeper.core.lending import Health
from keeper.core.outcome import Reason, Skip
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.state import State

DAY_S = 86_400


async def state_of(bed: Bed, adapter: AaveV3) -> State:
    reads = PinnedReads(bed.chain.rpc)
    head = await read_header(bed.chain.rpc, "latest")
    market = await reads.drive(adapter.discover(bed.deployment.addresses_provider), head)
    return adapter.decode_state(market, head, await reads.read(adapter.encode_state(market), head))


async def test_an_old_price_is_missing_only_for_those_who_set_a_limit(bed: Bed) -> None:
    await bed.chain.mine(1, seconds=3 * DAY_S)
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH"))
    limited = await state_of(bed, AaveV3(max_price_age_s=2 * DAY_S))
    unlimited = await state_of(bed, AaveV3())
    ids = {symbol: asset.reserve_id for symbol, asset in bed.deployment.assets.items()}
    assert limited.reserves[ids["WETH"]].price_base == unlimited.reserves[ids["WETH"]].price_base
    assert limited.reserves[ids["WBTC"]].price_base is None
    assert unlimited.reserves[ids["WBTC"]].price_base is not None
    stale_s = limited.reserves[ids["WBTC"]].stale_s
    assert stale_s is not None and 2 * DAY_S < stale_s < 5 * DAY_S


async def test_who_needs_an_old_price_is_unpriceable_and_the_reason_says_how_old(bed: Bed) -> None:
    await bed.chain.mine(1, seconds=3 * DAY_S)
    adapter = AaveV3(max_price_age_s=DAY_S)
    state = await state_of(bed, adapter)
    reads = PinnedReads(bed.chain.rpc)
    answers = []
    for opening in bed.openings[:10]:
        results = await reads.read(adapter.encode_position(state.market, opening.borrower), state.block)
        position = adapter.decode_position(state.market, opening.borrower, results)
        answers.append(adapter.health(state, position, state.block.timestamp_s))
    refused = [answer for answer in answers if isinstance(answer, Skip)]
    assert refused
    assert all(answer.reason is Reason.UNPRICEABLE for answer in refused)
    assert any("s old, the limit is 86400 s" in answer.detail for answer in refused)
    assert len(refused) + sum(isinstance(answer, Health) for answer in answers) == 10
