"""Random worlds: whatever happens, everybody below 1 has an order or a reason, and nobody is harmed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from keeper.core.errors import ChainError
from keeper.core.events import Kind
from keeper.core.lending import Side
from keeper.core.order import Outcome
from keeper.core.outcome import Reason
from keeper.core.planner import PlanPolicy
from keeper.core.standing import ORDERED
from keeper.core.units import BPS, WAD, Address
from tests.scenario.scene import (
    DAI,
    LIQUIDATOR,
    USDC,
    WBTC,
    WETH,
    Scene,
    accrues,
    borrower,
    holds,
    moves,
    opens,
    pool_address,
    price,
)
from tests.scenario.scene import toy_pool as pool_with
from tests.toy_arithmetic import ToyRules
from tests.toy_world import Action

LISTED = {reason.value for reason in Reason} | {ORDERED}
DOLLARS = {WETH: 2_000.0, WBTC: 50_000.0, USDC: 1.0, DAI: 1.0}


def random_rules(rng: random.Random) -> ToyRules:
    return ToyRules(
        close_factor_bps=rng.choice((BPS, 5_000)),
        dust_base=rng.choice((0, 1_000 * 10**8)),
        fee_bps=rng.choice((0, 1_000)),
        floored=rng.random() < 0.5,
        writes_off=rng.random() < 0.5,
        debt_rounds_up=rng.random() < 0.5,
    )


def random_borrower(rng: random.Random, who: Address, dollars: dict[int, float]) -> Action:
    """One to three collaterals, one or two debts, mostly near the edge."""
    size = 10 ** rng.uniform(1, 6)
    collaterals = rng.sample((WETH, WBTC, DAI), rng.choice((1, 1, 2, 3)))
    debts = rng.sample((USDC, DAI, WETH), rng.choice((1, 1, 2)))
    collateral = {reserve: size * rng.uniform(0.2, 1) / dollars[reserve] for reserve in collaterals}
    worth = sum(tokens * dollars[reserve] for reserve, tokens in collateral.items()) * 0.8
    share = rng.choice((0.7, 0.9, 0.95, 0.99)) / len(debts)
    return opens(who, collateral, {reserve: worth * share / dollars[reserve] for reserve in debts})


def random_actions(rng: random.Random, scene: Scene, dollars: dict[int, float]) -> list[Action]:
    newcomers = [borrower(rng.randrange(30)) for _ in range(rng.choice((0, 1, 1, 2)))]
    actions = [random_borrower(rng, who, dollars) for who in newcomers]
    for reserve in (WETH, WBTC):
        if rng.random() < 0.4:
            dollars[reserve] *= rng.choice((0.97, 0.99, 1.01, 0.9))
            actions.append(price(reserve, dollars[reserve]))
    if rng.random() < 0.1:
        actions.append(price(DAI, rng.choice((None, 1.0))))
    rows = scene.world.tip.state.pools[pool_address(0)].rows
    if rows and rng.random() < 0.3:
        who = rng.choice(sorted(rows))
        for reserve, scaled in rows[who].debt_scaled.items():
            if reserve == USDC and scaled > 10**6:
                actions.append(moves(who, Side.DEBT, USDC, -0.5))
    if rng.random() < 0.2:
        actions.append(holds(rng.choice((USDC, DAI, WETH)), 10 ** rng.uniform(0, 6)))
    return actions


def nobody_is_without_a_word(scene: Scene) -> None:
    pool = scene.world.tip.state.pools[pool_address(0)]
    for account, row in pool.rows.items():
        answer = pool.answer("health", {"account": account.hex()}, scene.tip.timestamp_s) if row.debt_scaled else None
        standing = scene.standing(account)
        if not row.debt_scaled:
            assert standing is None
        elif answer is None:
            assert standing is not None and standing.reason == Reason.UNPRICEABLE
        else:
            assert isinstance(answer, list)
            assert (standing is not None) == (answer[0] < WAD)
            assert standing is None or standing.reason in LISTED
            assert standing is None or standing.health_factor_wad == answer[0]


def nobody_waits_twice(scene: Scene) -> None:
    waiting = Counter(submission.order.borrower for submission in scene.loop.open.values())
    assert all(times == 1 for times in waiting.values())
    sent = {submission.order.attempt: submission for submission in scene.submitted}
    assert len(sent) == len(scene.submitted)


def nobody_is_harmed(outcome: Outcome) -> None:
    """What was mined in the first block after its head, with nothing else going on, keeps what was planned."""
    assert outcome.health_planned_wad > outcome.health_before_wad


@pytest.mark.parametrize("seed", range(16))
async def test_everybody_below_one_has_an_order_or_a_reason_at_every_judged_head(seed: int) -> None:
    rng = random.Random(seed)
    scene = Scene(
        rng.choice(("live", "live", "dry", "fork")),
        pools=[pool_with(rules=random_rules(rng))],
        policy=PlanPolicy(most_calls=2),
        wealthy=rng.random() < 0.5,
    )
    scene.world.mine(accrues(USDC, 1e-9), accrues(DAI, 3e-9))
    troubled = rng.random() < 0.5
    scene.faults.fail = lambda count, name: (
        ChainError("lost") if troubled and name not in ("record", "record_standing") and rng.random() < 0.03 else None
    )
    dollars, judged = dict(DOLLARS), 0
    for _ in range(18):
        if rng.random() < 0.1:
            scene.world.reorg(max(2, scene.tip.number - rng.choice((1, 1, 2, 4))))
        scene.world.mine(*random_actions(rng, scene, dollars), include=rng.random() < 0.7)
        try:
            result = await scene.see()
        except ChainError:
            continue
        judged += 1
        nobody_is_without_a_word(scene)
        nobody_waits_twice(scene)
        for outcome in result.settled:
            nobody_is_harmed(outcome)
    assert judged > 5
    assert scene.loop.stopped == {}
    assert scene.events(Kind.SEEN)


@pytest.mark.parametrize("seed", range(8))
async def test_a_quiet_world_keeps_every_promise(seed: int) -> None:
    """Prices fall once, then only time passes: every plan is mined within its window, and holds."""
    rng = random.Random(seed)
    scene = Scene(pools=[pool_with(rules=random_rules(rng))])
    await scene.head(
        accrues(USDC, 1e-9), accrues(DAI, 3e-9), *(random_borrower(rng, borrower(n), DOLLARS) for n in range(12))
    )
    await scene.head(price(WETH, 2_000 * rng.uniform(0.85, 0.92)), price(WBTC, 50_000 * rng.uniform(0.85, 0.92)))
    settled = []
    for _ in range(6):
        settled += (await scene.head()).settled
    assert all(outcome.restored for outcome in settled)
    assert scene.loop.open == {}
    assert settled
    assert LIQUIDATOR not in scene.world.tip.state.pools[pool_address(0)].rows
