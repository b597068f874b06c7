"""What happens where limits and pauses stand in the way: in all modes, over reorgs of memory, with the words told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keeper.core.errors import BlockUnavailable, Refused
from keeper.core.events import Kind
from keeper.core.ledger import Stake
from keeper.core.pauses import BY_PERSON, EVERYBODY, KILL, Pause, Scope
from keeper.core.rails import Limit, Limits
from keeper.core.spending import Lift, OnItsWay, Settled, Spending
from keeper.core.standing import ORDERED
from keeper.core.units import WAD, Address
from tests.scenario.scene import LIQUIDATOR, USDC, WETH, Scene, borrower, opens, price

FIRST, SECOND, THIRD = (borrower(number) for number in (1, 2, 3))
CHAIN_ID = 31_337
PAUSE = Pause(EVERYBODY, BY_PERSON, "a look first")


async def fallen(scene: Scene) -> None:
    """Two below 1; each needs about 6 429 and 7 715 USDC, the larger debt first."""
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 12}, {USDC: 18_000}))
    await scene.head(price(WETH, 1_800))


def limited(mode: str = "live", *, notional_wad: Limit = Limit(), together: Limits = Limits()) -> Scene:
    scene = Scene(mode)
    scene.limits, scene.together = Limits(notional_wad=notional_wad), together
    scene.start()
    return scene


def settled(number: int, scene: Scene, *, succeeded: bool = True, notional: int = 0) -> Settled:
    stake = Stake(0, notional * WAD, 0)
    return Settled(number, CHAIN_ID, LIQUIDATOR, scene.tip.timestamp_s, succeeded, 0, None, stake)


# -- limits ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["live", "dry", "fork"])
async def test_an_order_above_the_limit_is_refused_and_the_others_go(mode: str) -> None:
    scene = limited(mode, notional_wad=Limit(per_transaction=7_000 * WAD))
    await fallen(scene)
    assert (scene.reason(SECOND), scene.reason(FIRST)) == ("over_limit", ORDERED)
    stands = scene.standing(SECOND)
    assert stands is not None
    assert "the limit of a transaction is 7000" in stands.detail
    assert scene.pauses.standing == []


async def test_what_is_on_its_way_counts_and_the_next_one_waits() -> None:
    scene = limited(notional_wad=Limit(per_hour=10_000 * WAD))
    await fallen(scene)
    assert (scene.reason(SECOND), scene.reason(FIRST)) == (ORDERED, "reserved")
    assert scene.pauses.standing == []


async def test_what_was_not_sent_after_all_leaves_its_room_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = limited(notional_wad=Limit(per_hour=10_000 * WAD))
    submit = scene.live.submit

    async def refusing_one(ready: Any, head: Any) -> Any:
        if any(order.borrower == SECOND for order, _ in ready):
            return [Refused("the node refuses it") for _ in ready]
        return await submit(ready, head)

    monkeypatch.setattr(scene.live, "submit", refusing_one)
    await fallen(scene)
    assert (scene.reason(SECOND), scene.reason(FIRST)) == ("reserved", ORDERED)
    assert scene.pauses.standing == []


async def test_what_is_settled_leaves_no_room_and_pauses_everything() -> None:
    scene = limited(notional_wad=Limit(per_hour=10_000 * WAD))
    scene.ledger.becomes(Spending((settled(1, scene, notional=5_000),), (), ()))
    await fallen(scene)
    assert (scene.reason(SECOND), scene.reason(FIRST)) == ("paused", "paused")
    [standing] = scene.pauses.standing
    assert standing.pause.scope == Scope(CHAIN_ID, LIQUIDATOR)
    assert standing.pause.reason == "notional"
    assert "notional of 5000 in the last hour" in standing.pause.detail
    assert scene.submitted == []
    [told] = scene.events(Kind.PAUSED)
    assert told.fields["cause"] == "notional"


async def test_a_pause_outlasts_a_restart_and_a_lifted_one_trips_again_while_the_hour_is_spent() -> None:
    scene = limited(notional_wad=Limit(per_hour=10_000 * WAD))
    scene.ledger.becomes(Spending((settled(1, scene, notional=5_000),), (), ()))
    await fallen(scene)
    scene.start()
    await scene.head()
    assert scene.reason(FIRST) == "paused"
    assert scene.submitted == []
    await scene.pauses.lift(None, "keeper resume")
    await scene.head()
    assert scene.reason(FIRST) == "paused", "the hour is still spent"
    await scene.pauses.lift(None, "keeper resume")
    scene.ledger.becomes(Spending((), (), ()))
    await scene.head()
    assert {scene.reason(FIRST), scene.reason(SECOND)} == {ORDERED, "reserved"}


async def test_the_process_has_limits_of_its_own_and_gas_is_counted_by_chain() -> None:
    together = Limits(gas_wei=Limit(per_day=10**15), notional_wad=Limit(per_day=20_000 * WAD))
    scene = limited(together=together)
    elsewhere = replace(settled(1, scene, notional=15_000), chain_id=1, signer=Address(b"\x22" * 20), cost_wei=10**15)
    scene.ledger.becomes(Spending((elsewhere,), (), ()))
    await fallen(scene)
    [standing] = scene.pauses.standing
    assert (standing.pause.scope, standing.pause.reason) == (EVERYBODY, "notional")


async def test_too_many_reverts_pause_without_an_order_and_a_lift_forgives_them() -> None:
    scene = Scene()
    scene.limits = Limits(reverts_in_a_row=3)
    scene.start()
    reverted = [settled(number, scene, succeeded=False) for number in (1, 2, 3)]
    scene.ledger.becomes(Spending(tuple(reverted[:2]), (), ()))
    await scene.head()
    assert scene.pauses.standing == []
    scene.ledger.becomes(Spending(tuple(reverted), (), ()))
    await scene.head()
    [standing] = scene.pauses.standing
    assert (standing.pause.reason, standing.pause.detail) == ("reverts_in_a_row", "the last 3 transactions reverted")
    await fallen(scene)
    assert scene.reason(FIRST) == "paused"
    await scene.pauses.lift(None, "keeper resume")
    scene.ledger.becomes(Spending(tuple(reverted), (), (Lift(CHAIN_ID, LIQUIDATOR, 3),)))
    scene.ledger.spending_changes -= 1  # another process lifted it
    await scene.head()
    assert scene.reason(FIRST) == ORDERED
    assert len(scene.events(Kind.PAUSED)) == 1


async def test_what_was_forgiven_does_not_pause_again_at_a_quiet_head() -> None:
    scene = Scene()
    scene.limits = Limits(reverts_in_a_row=1)
    scene.start()
    reverted = settled(1, scene, succeeded=False)
    scene.ledger.becomes(Spending((reverted,), (), ()))
    await scene.head()
    assert len(scene.pauses.standing) == 1
    await scene.pauses.lift(None, "keeper resume")
    scene.ledger.spent = Spending((reverted,), (), (Lift(CHAIN_ID, LIQUIDATOR, 1),))  # another process lifted it
    await scene.head()
    assert scene.pauses.standing == []


async def test_what_an_older_keeper_left_open_is_waited_for() -> None:
    scene = limited(notional_wad=Limit(per_day=10**6 * WAD))
    scene.ledger.becomes(Spending((), (OnItsWay(CHAIN_ID, LIQUIDATOR, 3, "9-b0b0b0b0", None),), ()))
    await fallen(scene)
    assert scene.reason(FIRST) == "reserved"
    scene.ledger.becomes(Spending((), (), ()))
    await scene.head()
    await scene.head()
    assert scene.reason(FIRST) == ORDERED


async def test_so_much_of_the_native_coin_stays() -> None:
    scene = Scene(wealthy=True)
    scene.least_native_wei = 10**30
    scene.start()
    await fallen(scene)
    stands = scene.standing(FIRST)
    assert stands is not None
    assert stands.reason == "no_inventory"
    assert f"beyond the {10**30} that must stay" in stands.detail


# -- pauses ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["live", "dry", "fork"])
async def test_a_paused_keeper_watches_and_explains(mode: str) -> None:
    scene = Scene(mode)
    await scene.pauses.pause(PAUSE)
    await fallen(scene)
    stands = scene.standing(FIRST)
    assert stands is not None
    assert (stands.reason, stands.detail) == ("paused", "operator: a look first")
    assert scene.loop.paused == "operator: a look first"
    assert scene.story(FIRST) == ["seen", "refused"]
    assert scene.submitted == []
    assert len(scene.events(Kind.PAUSED)) == 1
    await scene.head()
    assert len(scene.events(Kind.PAUSED)) == 1
    await scene.pauses.lift(None, "keeper resume")
    await scene.head()
    assert scene.reason(FIRST) == ORDERED
    assert len(scene.events(Kind.RESUMED)) == 1


async def test_another_chains_or_signers_pause_holds_nobody_here() -> None:
    scene = Scene()
    await scene.pauses.pause(replace(PAUSE, scope=Scope(1)))
    await scene.pauses.pause(replace(PAUSE, scope=Scope(CHAIN_ID, Address(b"\x22" * 20))))
    await fallen(scene)
    assert scene.reason(FIRST) == ORDERED
    assert scene.events(Kind.PAUSED) == []


async def test_a_kill_cancels_at_every_head_while_it_stands() -> None:
    scene = Scene()
    await fallen(scene)
    assert scene.live.cancelled == []
    await scene.pauses.pause(replace(PAUSE, reason=KILL))
    await scene.head(include=False)
    await scene.head(include=False)
    assert scene.live.cancelled == [scene.tip.number - 1, scene.tip.number]
    await scene.pauses.lift(None, "keeper resume")
    await scene.head(include=False)
    assert len(scene.live.cancelled) == 2


async def test_a_kill_cancels_though_nobody_can_tell_what_became_of_the_orders() -> None:
    scene = Scene()
    await fallen(scene)
    await scene.pauses.pause(replace(PAUSE, reason=KILL))
    scene.faults.fail = lambda _, name: BlockUnavailable("a block is unknown") if name == "follow_up" else None
    with pytest.raises(BlockUnavailable):
        await scene.head(include=False)
    assert scene.live.cancelled == [scene.tip.number]


async def test_while_the_kill_file_exists_nothing_is_sent(tmp_path: Path) -> None:
    scene = Scene()
    scene.kill_file = tmp_path / "stop"
    scene.start()
    scene.kill_file.touch()
    await fallen(scene)
    assert scene.reason(FIRST) == "paused"
    assert scene.loop.paused == f"kill_file: the file {scene.kill_file} exists"
    scene.kill_file.unlink()
    await scene.head()
    assert scene.reason(FIRST) == ORDERED
    assert [event.kind for event in scene.events(Kind.PAUSED, Kind.RESUMED)] == [Kind.PAUSED, Kind.RESUMED]
