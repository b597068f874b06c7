"""Plans on the real contracts: every `reaches_target` does, in its inclusion block; the model error is 0."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

from keeper.core.lending import Health
from keeper.core.outcome import Skip, Verdict
from keeper.core.plan import Clip
from keeper.core.units import HEALTH_ONE_WAD
from keeper.devnet.market import Bed
from keeper.devnet.positions import open_positions
from keeper.devnet.script import set_prices
from keeper.devnet.state import fresh_snapshot, revert_to
from tests.protocols.executing import Executor, Restored, random_policy
from tests.protocols.onchain import Watcher, cases

CLIPS = frozenset({Clip.CLOSE_FACTOR, Clip.DUST_JUMP, Clip.COLLATERAL, Clip.DEBT, Clip.BELOW_ONE})
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
    """Until there were enough calls, enough sequences, and enough of every clip that the version knows."""
    rng = random.Random(f"sizing {bed.deployment.version}")
    clips: Counter[Clip | None] = Counter()
    verdicts: Counter[str] = Counter()
    sequences = calls = 0
    kinds = CLIPS if bed.deployment.version == "3.6" else CLIPS - {Clip.DUST_JUMP}
    async for result in restored_borrowers(bed, rng):
        if isinstance(result, Skip):
            verdicts[f"{result.reason} {result.verdict}"] += 1
            continue
        plan, after = result.plan, result.health_after
        holds(plan.verdict, plan.target_wad, plan.health_before, after)
        verdicts[plan.verdict] += 1
        calls += len(plan.calls)
        sequences += len(plan.calls) > 1
        clips.update(call.clip for call in plan.calls)
        fewest = min(clips[kind] for kind in kinds)
        if calls >= cases(300, 1_000) and sequences >= 30 and fewest >= cases(10, 50):
            break
    figures = {str(name): count for name, count in [*clips.items(), *verdicts.items()]}
    print(f"{bed.deployment.version}: {calls} calls, {sequences} sequences, {figures}")  # noqa: T201  # the figures asked for
    assert verdicts[Verdict.REACHES_TARGET] >= 100


def holds(verdict: Verdict, target_wad: int, before: Health, after: Health) -> None:
    """What a verdict promises, read in the inclusion block."""
    if verdict is Verdict.REACHES_TARGET:
        assert after.health_factor_wad >= target_wad
    elif verdict is Verdict.REACHES_SAFETY:
        assert after.health_factor_wad >= HEALTH_ONE_WAD
    else:
        assert verdict is Verdict.IMPROVES
        assert after.health_factor_wad > before.health_factor_wad
