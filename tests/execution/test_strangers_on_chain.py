"""Two who send with one key: noticed on the real chain, and nothing more is sent until a person has looked."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from keeper.core.errors import Paused
from keeper.core.order import Simulation
from keeper.core.pauses import BY_PERSON
from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from keeper.execution.live import LiveSubmitter
from keeper.execution.strangers import REASON
from tests.execution import rig as rigs
from tests.execution.rig import KEEPER, Rig, rigged
from tests.submitting import submit

live = partial(rigs.live, looks_out=True)


async def at_next_heads(rig: Rig, submitter: LiveSubmitter, count: int) -> None:
    for _ in range(count):
        await rig.bed.chain.mine(1, seconds=1)
        head = await rig.head()
        await submitter.prepare(head)
        await submitter.follow_up(head)


async def by_somebody_else(rig: Rig) -> None:
    """A transaction of the keeper's account that the keeper does not know."""
    token = rig.bed.asset("DAI").token
    await rig.bed.chain.send(KEEPER, token, rig.bed.contracts["Token"], "approve", rig.pool, 1)


async def order_is_sent(rig: Rig, submitter: LiveSubmitter) -> None:
    [order] = await rig.orders(KEEPER, most=1)
    submission = await submit(submitter, order, Simulation((), 0), await rig.head())
    await at_next_heads(rig, submitter, 2)
    assert await submitter.settle(submission, await rig.head()) is not None


async def test_a_nonce_used_by_a_stranger_stops_the_sending_until_a_person_has_looked(
    bed36: Bed, tmp_path: Path
) -> None:
    async with rigged(bed36) as rig:
        await rig.fund(KEEPER)
        await rig.crash()
        async with live(rig, tmp_path) as (submitter, store):
            await order_is_sent(rig, submitter)
            assert await store.standing_pauses() == [], (
                "what was used before the store knew the signer is taken for granted"
            )
            await by_somebody_else(rig)
            await at_next_heads(rig, submitter, 4)
            [standing] = await store.standing_pauses()
            assert (standing.pause.reason, standing.pause.scope.signer) == (REASON, KEEPER)
            assert to_hex(KEEPER) in standing.pause.detail
            assert "another keeper or a person sends with this key" in standing.pause.detail
            with pytest.raises(Paused, match="foreign_nonce: nonce"):
                await order_is_sent(rig, submitter)
            await store.lift(None, BY_PERSON)
            await at_next_heads(rig, submitter, 4)
            assert await store.standing_pauses() == [], "a person knows"
            await order_is_sent(rig, submitter)


async def test_a_stranger_is_noticed_at_the_next_start_and_once(bed36: Bed, tmp_path: Path) -> None:
    async with rigged(bed36) as rig:
        await rig.fund(KEEPER)
        await rig.crash()
        async with live(rig, tmp_path) as (submitter, _):
            await order_is_sent(rig, submitter)
        await by_somebody_else(rig)
        async with live(rig, tmp_path) as (submitter, store):
            [standing] = await store.standing_pauses()
            assert standing.pause.reason == REASON
            with pytest.raises(Paused):
                await order_is_sent(rig, submitter)
            await store.lift(None, BY_PERSON)
        async with live(rig, tmp_path) as (submitter, store):
            assert await store.standing_pauses() == [], "a person has seen this one"
        await by_somebody_else(rig)
        async with live(rig, tmp_path) as (submitter, store):
            assert len(await store.standing_pauses()) == 1, "but not this one"
