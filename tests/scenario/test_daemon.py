"""The daemon's loop: trouble backs off and goes on, only what a person must mend ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, KeeperError, RpcTimeout, StoreError
from keeper.core.events import Kind, Severity
from keeper.core.order import Order, Simulation, Submission
from keeper.core.standing import ORDERED
from keeper.core.units import WAD
from keeper.pipeline import rows
from keeper.pipeline.progress import unwatched
from keeper.pipeline.round import Round
from keeper.pipeline.supervise import follow_chain
from keeper.pipeline.tasks import together
from tests.scenario.scene import USDC, WETH, Scene, borrower, changes, opens, price, toy_pool
from tests.scenario.test_once import Watching

FIRST = borrower(1)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were taken, none of which lasts."""
    taken: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if seconds:
            taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return taken


async def follow(scene: Scene, *steps: Callable[[], object]) -> Watching:
    watching = Watching()
    scene.chain.script = steps
    await follow_chain(scene.loop, scene.chain, scene.journal, watching, unwatched)
    return watching


def falls(scene: Scene) -> list[Callable[[], object]]:
    mine = scene.world.mine
    return [
        lambda: mine(opens(FIRST, {WETH: 10}, {USDC: 15_000})),
        lambda: mine(price(WETH, 1_800)),
        mine,
        mine,
    ]


async def test_it_follows_every_head() -> None:
    scene = Scene()
    watching = await follow(scene, *falls(scene))
    assert [result.head.number for result in watching.rounds] == [2, 3, 4, 5]
    assert scene.health_wad(FIRST) >= 105 * WAD // 100


def code_changes(scene: Scene) -> list[Callable[[], object]]:
    """After the code of a market of a dozen borrowers has changed, one of them falls; then no more heads come."""
    mine = scene.world.mine
    others = [opens(borrower(number), {WETH: 1}, {USDC: 1}) for number in range(2, 13)]
    return [
        lambda: mine(opens(FIRST, {WETH: 10}, {USDC: 15_000}), *others),
        lambda: mine(price(WETH, 1_800), changes(code=True)),
    ]


async def test_rows_that_one_head_has_no_time_for_wait_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_HEAD", 5)
    scene = Scene()
    watching = await follow(scene, *code_changes(scene))
    assert [result.head.number for result in watching.rounds] == [2, 3, 3, 3]
    assert scene.reasons_over_time(FIRST) == [None, "market_unverified", ORDERED]
    assert scene.orders_for(FIRST) == 1


async def test_a_market_that_is_stopped_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are never read: the loop must not turn for ever for their sake."""
    monkeypatch.setattr(rows, "ROWS_PER_HEAD", 5)
    scene = Scene()
    steps = code_changes(scene)
    seen = scene.loop.on_head

    async def stopping(head: BlockRef, *rest: Any) -> Round:
        result = await seen(head, *rest)
        if head.number == 3:
            await scene.loop._stops.stop(scene.entries[0], ArithmeticError("ours"))
        return result

    monkeypatch.setattr(scene.loop, "on_head", stopping)
    async with asyncio.timeout(20):
        watching = await follow(scene, *steps)
    assert [result.head.number for result in watching.rounds] == [2, 3]
    assert scene.followers[0].is_reading and not scene.loop.is_mending


async def test_trouble_backs_off_longer_each_time_and_a_good_round_forgets_it(pauses: list[float]) -> None:
    scene = Scene()
    scene.faults.fail = lambda count, name: (
        RpcTimeout("slow") if name == "extend" and scene.tip.number in (2, 3, 4, 6) else None
    )
    watching = await follow(scene, *[scene.world.mine] * 6)
    assert pauses == [0.5, 1.0, 2.0, 0.5]
    assert [result.head.number for result in watching.rounds] == [5, 7]
    assert [event.fields["error"] for event in scene.events(Kind.TROUBLE)] == ["RpcTimeout"] * 4
    assert {event.severity for event in scene.events(Kind.TROUBLE)} == {Severity.WARNING}


async def test_a_market_that_never_gets_to_the_head_does_not_slow_down_the_other(pauses: list[float]) -> None:
    def fail(*_: object) -> object:
        raise ChainError("one token of this market does not answer")

    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    scene.adapters[0].decode_state = fail  # type: ignore[assignment]
    await follow(scene, *[scene.world.mine] * 12)
    assert len(pauses) == 12
    assert set(pauses) == {0.5}


async def test_the_longest_pause_is_a_minute(pauses: list[float]) -> None:
    scene = Scene()
    scene.faults.fail = lambda count, name: ChainError("down") if name == "extend" else None
    await follow(scene, *[scene.world.mine] * 2_000)
    assert len(pauses) == 2_000
    assert max(pauses) == 60.0


async def test_what_nobody_foresaw_is_told_loudly_and_the_chain_goes_on() -> None:
    scene = Scene()
    scene.faults.fail = lambda count, name: TypeError("odd") if name == "fees" and scene.tip.number == 3 else None
    await follow(scene, *falls(scene), scene.world.mine)
    (event,) = scene.events(Kind.TROUBLE)
    assert (event.severity, event.fields["error"]) == (Severity.ALERT, "TypeError")
    assert scene.health_wad(FIRST) >= 105 * WAD // 100


async def test_an_error_of_no_known_kind_ends_the_following() -> None:
    """Whoever started the chain starts it anew: what such an error left behind is not to be gone on with."""
    scene = Scene()
    scene.faults.fail = lambda count, name: RuntimeError("odd") if name == "extend" else None
    with pytest.raises(RuntimeError, match="odd"):
        await follow(scene, scene.world.mine)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_wish_to_stop_is_kept_whatever_the_world_says_at_that_moment(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked came to its end just then, well or not: the wish alone would be lost."""
    scene = Scene()
    extend = scene.chain.extend

    async def ends_as_it_is_cancelled(head: BlockRef) -> int:
        if head.number == 3:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if not answers:
                raise RpcTimeout("slow")
        return await extend(head)

    monkeypatch.setattr(scene.chain, "extend", ends_as_it_is_cancelled)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow(scene, *[scene.world.mine] * 5))
    assert following.cancelled()
    assert scene.tip.number <= 4
    assert scene.events(Kind.TROUBLE) == []


async def test_a_configuration_error_ends_it() -> None:
    scene = Scene()

    async def refuse(ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission]:
        raise ConfigError("no anvil here")

    scene.live.submit = refuse  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="no anvil"):
        await follow(scene, *falls(scene))


async def test_a_store_that_is_gone_ends_it() -> None:
    """Without its journal the keeper may not act."""
    scene = Scene()
    scene.faults.fail = lambda count, name: StoreError("the disk is gone") if name == "record" else None
    with pytest.raises(StoreError):
        await follow(scene, *falls(scene))
    assert scene.submitted == []


@pytest.mark.parametrize("name", ["read", "logs"])
async def test_errors_of_reads_that_run_side_by_side_arrive_as_themselves(name: str) -> None:
    """No exception group leaks: who waits for `ChainError`s sees one."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.faults.fail = lambda count, called: RpcTimeout("slow") if called == name else None
    with pytest.raises(RpcTimeout):
        await scene.head()
    scene.faults.fail = lambda count, called: RpcTimeout("slow") if called in ("read", "logs") else None
    with pytest.raises(KeeperError):
        await scene.head()


async def test_the_first_error_of_two_ends_the_other() -> None:
    ended: list[str] = []

    async def fails() -> None:
        raise ChainError("first")

    async def lasts() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("lasts")

    with pytest.raises(ChainError, match="first"):
        await together(fails(), lasts())
    assert ended == ["lasts"]
    with pytest.raises(ChainError, match="first"):
        await together(lasts(), fails())


async def test_cancelled_in_the_middle_nothing_is_half_done() -> None:
    """Ctrl-C at any of the calls into the world; what follows is a fresh start on the same world."""
    for stop_at in range(1, 60):
        scene = Scene()

        def fail(count: int, name: str, scene: Scene = scene, stop_at: int = stop_at) -> Exception | None:
            if count == stop_at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            return None

        scene.faults.fail = fail
        with pytest.raises(asyncio.CancelledError):
            await asyncio.gather(follow(scene, *falls(scene), *[scene.world.mine] * 20))
        scene.faults.fail = lambda count, name: None
        await scene.followers[0].save_checkpoint()
        earlier = {submission.order.borrower for submission in scene.submitted if scene.loop.open}
        scene.start()
        scene.live.earlier |= earlier if scene.world.mempool else set()
        await scene.head(opens(borrower(2), {WETH: 10}, {USDC: 5_000}))
        pool = next(iter(scene.world.tip.state.pools.values()))
        assert {row.borrower for row in scene.followers[0].book.positions()} == {
            account for account, row in pool.rows.items() if row.debt_scaled
        }
        assert scene.reason(FIRST) in (None, ORDERED, "reserved")
