"""Plans on the real contracts: every `reaches_target` does, in its inclusion block; the model error is 0."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

from keeper.core.lending import Health
from keeper.core.outcome import Skip, Verdict
from keeper.core.units import HEALTH_ONE_WAD
from keeper.devnet.market import Bed
from keeper.devnet.positions import open_positions
from keeper.devnet.script import set_prices
from keeper.devnet.state import fresh_snapshot, revert_to
from tests.protocols.executing import Executor, Restored, random_policy
from tests.protocols.onchain import Watcher, cases

MOVING = ("WETH", "WBTC", "wstETH", "GUSD", "DAI")


async def restored_borrowers(bed: Bed, rng: random.Random) -> AsyncIterator[Restored | Skip]:
    """Crash after random crash; everybody below 1 is planned and executed on a chain of its own."""
    executor, watcher = await Executor.on(bed), Watcher(bed)
    market = await watcher.discover()
    openings = [*bed.openings, *await open_positions(bed, 140, seed=rng.randint(0, 10**6))]
    accounts = [opening.borrower for opening in openings]
    calm = {symbol: await bed.price_base(symbol) for symbol in MOVING}
    while True:
        before_crash = await fresh_snapshot(bed)
        await set_prices(bed, {symbol: calm[symbol] * rng.randint(780, 1000) // 1000 for symbol in MOVING})
        await bed.chain.mine(1, seconds=rng.randint(1, 30 * 86_400))
        look = await watcher.look(market, accounts)
        planner = executor.planner(look.state, rng.randint(4, 900), random_policy(rng))
        for account in accounts:
            health = look.healths.get(account)
            if health is None or health.health_factor_wad >= HEALTH_ONE_WAD:
                continue
            plans = planner.plan(look.positions[account])
            if isinstance(plans, Skip):
                yield plans
                continue
            snapshot = await fresh_snapshot(bed)
            yield await executor.execute(rng.choice(plans), rng)
            await revert_to(bed, snapshot)
        await revert_to(bed, before_crash)


async def test_plans_do_on_the_chain_what_they_say(bed: Bed) -> None:
    rng = random.Random(f"sizing {bed.deployment.version}")
    clips: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    sequences = calls = 0
    wanted = cases(100, 1_500)
    async for result in restored_borrowers(bed, rng):
        if isinstance(result, Skip):
            verdicts[f"skip {result.reason} {result.verdict}"] += 1
            continue
        plan, after = result.plan, result.health_after
        verdicts[plan.verdict] += 1
        calls += len(plan.calls)
        sequences += len(plan.calls) > 1
        clips.update(str(call.clip) for call in plan.calls)
        if plan.verdict == "reaches_target" and after.health_factor_wad < plan.target_wad: print([(c.pair.collateral_id,c.pair.debt_id,c.debt_to_cover_raw,c.clip,c.at_earliest.repaid_raw,c.at_latest.repaid_raw,c.at_earliest.health_after.health_factor_wad,c.at_latest.health_after.health_factor_wad) for c in plan.calls], plan.window)
        holds(plan.verdict, plan.target_wad, plan.health_before, after)
        if calls >= wanted:
            break
    print(bed.deployment.version, calls, "calls", sequences, "sequences", dict(clips), dict(verdicts))
    assert verdicts[Verdict.REACHES_TARGET] > 20
    assert sequences > 5


def holds(verdict: Verdict, target_wad: int, before: Health, after: Health) -> None:
    """What a verdict promises, read in the inclusion block."""
    if verdict is Verdict.REACHES_TARGET:
        assert after.health_factor_wad >= target_wad
    elif verdict is Verdict.REACHES_SAFETY:
        assert after.health_factor_wad >= HEALTH_ONE_WAD
    else:
        assert verdict is Verdict.IMPROVES
        assert after.health_factor_wad > before.health_factor_wad
