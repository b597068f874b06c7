"""Nobody is locked out: what stood in the way at one head is asked again at the next, however often it stood there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from keeper.core.errors import RateLimited
from keeper.core.events import Kind
from keeper.core.order import FeeQuote, Order, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.pauses import BY_PERSON, EVERYBODY, Pause, StandingPause
from keeper.core.standing import ORDERED
from tests.scenario.scene import USDC, WETH, Scene, borrower, opens, price

DEEP = borrower(1)
MANY = 25
Obstacle = Callable[[Scene], None]


def answers(reason: Reason) -> Obstacle:
    def distort(order: Order, simulation: Simulation) -> Skip:
        return Skip(reason, "of this head", order.plan.verdict)

    def stand(scene: Scene) -> None:
        scene.simulator.distort = distort

    return stand


def fails(call: str) -> Obstacle:
    def fail(count: int, name: str) -> Exception | None:
        return RateLimited("later") if name == call else None

    def stand(scene: Scene) -> None:
        scene.faults.fail = fail

    return stand


def refuses(scene: Scene) -> None:
    scene.live.refuse = "transaction pool is full"


def asks_too_much(scene: Scene) -> None:
    scene.chain.fee_quote = FeeQuote(10**13, 1, 2 * 10**13)


def is_old(scene: Scene) -> None:
    scene.age_s = 1_000.0


def is_paused(scene: Scene) -> None:
    scene.pauses.standing = [StandingPause(1, Pause(EVERYBODY, BY_PERSON, "a look first"), "now")]


def clear(scene: Scene) -> None:
    scene.simulator.distort = lambda order, simulation: simulation
    scene.faults.fail = lambda count, name: None
    scene.live.refuse = ""
    scene.chain.fee_quote = FeeQuote(10, 1, 16)
    scene.age_s = 0.0
    scene.pauses.standing = []


async def seen(scene: Scene) -> None:
    """One more head, whatever becomes of it."""
    scene.world.mine()
    with contextlib.suppress(RateLimited):
        await scene.see()


@pytest.mark.parametrize("times", [1, MANY])
@pytest.mark.parametrize(
    "obstacle",
    [
        answers(Reason.SIMULATION_REVERTED),
        answers(Reason.NODES_DISAGREE),
        answers(Reason.CANNOT_SIMULATE),
        fails("simulate"),
        fails("submit"),
        fails("fees"),
        refuses,
        asks_too_much,
        is_old,
        is_paused,
    ],
    ids=["reverted", "disagree", "cannot", "simulate", "submit", "fees", "refused", "fee_cap", "stale", "paused"],
)
async def test_what_passed_is_over_at_the_next_head(obstacle: Obstacle, times: int) -> None:
    scene = Scene()
    await scene.head(opens(DEEP, {WETH: 10}, {USDC: 15_000}))
    obstacle(scene)
    scene.world.mine(price(WETH, 1_750))
    for _ in range(times):
        await seen(scene)
        assert scene.orders_for(DEEP) == 0
    clear(scene)
    await scene.head()
    assert scene.reason(DEEP) == ORDERED
    assert scene.orders_for(DEEP) == 1


async def test_one_that_reverts_again_and_again_is_tried_at_every_head() -> None:
    """Each time the transaction is mined and reverts; the next one leaves at the very head that showed it."""
    scene = Scene()
    await scene.head(opens(DEEP, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_750))
    for number in range(2, MANY):
        scene.world.mine(revert="OutOfGas")
        await scene.see()
        assert scene.orders_for(DEEP) == number
        assert scene.reason(DEEP) == ORDERED
    await scene.head()
    assert scene.health_wad(DEEP) >= 10**18
    assert len(scene.events(Kind.REVERTED)) == MANY - 2
