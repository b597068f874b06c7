"""The screen against the contracts: whoever `getUserAccountData` has below 1, or cannot value, is named."""

from __future__ import annotations

import random

import pytest

from keeper.book import page_screen
from keeper.core.lending import Health
from keeper.core.units import HEALTH_ONE_WAD, Address
from keeper.devnet import actions, admin
from keeper.devnet.market import Bed
from keeper.devnet.script import set_prices
from keeper.devnet.spec import asset_spec
from keeper.pipeline.verify import chain_answers
from tests.protocols.following import Following
from tests.protocols.onchain import cases

MOVING = ("WETH", "WBTC", "DAI", "GUSD", "wstETH")


async def truly_sick(following: Following) -> set[Address]:
    """By the chain's own word, at the applied block."""
    follower = following.follower
    assert follower.applied is not None
    rows = list(follower.book.positions())
    answers = await chain_answers(following.client, following.adapter, follower.market, rows, follower.applied)
    healths: dict[Address, Health | None] = {account: health for account, (_, health) in answers.items()}
    return {who for who, health in healths.items() if health is None or health.health_factor_wad < HEALTH_ONE_WAD}


async def test_whoever_the_chain_has_below_one_is_named(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_screen, "FEW", 1)  # few borrowers: spare rows wherever that is sound, worthwhile or not
    rng = random.Random(f"screen {bed.deployment.version}")
    actors = actions.new_accounts(12, seed=6)
    await actions.equip(bed, actors)
    following = Following(bed)
    await following.start()
    follower, seen_sick, spared = following.follower, 0, 0
    for _ in range(cases(16, 120)):
        for _ in range(rng.randint(0, 4)):
            await actions.random_action(rng, bed, actors)
        moved = rng.sample(MOVING, rng.choice((1, len(MOVING))))
        spread = rng.choice((1, 30, 300))
        await set_prices(
            bed,
            {each: asset_spec(each).price_base * rng.randint(1000 - spread, 1000 + spread) // 1000 for each in moved},
        )
        await bed.chain.advance(rng.choice((1, 12, 86_400)))
        await following.advance()
        assert follower.applied is not None
        terms = following.adapter.screen_terms(follower.state, follower.book.columns, follower.applied.timestamp_s)
        named = follower.book.named(terms)
        sick = await truly_sick(following)
        assert sick <= set(named.accounts)
        assert set(named.accounts) <= sick | {who for who in named.accounts if _is_close(following, who)}
        seen_sick += len(sick)
        spared += named.touched_rows < len(follower.book)
        if rng.random() < 0.5:
            while follower.book.reorder(terms):
                pass
    assert seen_sick > 10
    assert spared > 0


def _is_close(following: Following, who: Address) -> bool:
    """Within a thousandth of a billionth above 1, or dust."""
    follower = following.follower
    assert follower.applied is not None
    health = following.adapter.health(follower.state, follower.book.position(who), follower.applied.timestamp_s)
    assert isinstance(health, Health)
    return health.health_factor_wad < HEALTH_ONE_WAD + 10**6 or health.debt_base < 10_000


async def test_a_price_that_is_gone_names_its_holders(bed: Bed) -> None:
    following = Following(bed)
    await following.start()
    await admin.set_answer(bed, "WBTC", 0)
    await following.advance()
    follower = following.follower
    assert follower.applied is not None
    terms = following.adapter.screen_terms(follower.state, follower.book.columns, follower.applied.timestamp_s)
    named = set(follower.book.named(terms).accounts)
    wbtc = bed.asset("WBTC").reserve_id
    holders = {
        row.borrower for row in follower.book.positions() if wbtc in row.collateral_enabled or wbtc in row.debt_scaled
    }
    assert holders
    assert holders <= named
    assert await truly_sick(following) <= named
