"""LP-01: health equals the contract's, all six outputs, over random positions, prices, time and e-modes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

from keeper.core.lending import Health
from keeper.core.outcome import Reason, Skip
from keeper.core.units import HEALTH_ONE_WAD, Address
from keeper.devnet import actions, admin
from keeper.devnet.errors import Reverted
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.script import set_prices
from keeper.devnet.spec import EMODES, ETH_EMODE, USD, asset_spec
from tests.protocols.onchain import Watcher, cases, reported

MOVING = ("WETH", "WBTC", "DAI", "GUSD", "wstETH")
MONTH_S = 30 * 86_400


async def test_discovery_finds_the_deployment_from_the_provider(bed: Bed) -> None:
    market = await Watcher(bed).discover()
    deployed = bed.deployment
    assert market.profile.release == deployed.version
    assert (market.pool, market.oracle, market.configurator) == (
        deployed.pool,
        deployed.oracle,
        deployed.pool_configurator,
    )
    found = {one.symbol: (one.id, one.asset, one.a_token, one.variable_debt_token) for one in market.reserves}
    assert found == {
        symbol: (one.reserve_id, one.token, one.a_token, one.v_token) for symbol, one in deployed.assets.items()
    }
    assert {i: (one.liquidation_threshold_bps, one.liquidation_bonus_bps) for i, one in market.categories.items()} == {
        mode.category_id: (mode.threshold_bps, mode.bonus_bps) for mode in EMODES
    }


async def test_health_equals_the_contracts(bed: Bed) -> None:
    watcher, rng = Watcher(bed), random.Random(f"lp01 {bed.deployment.version}")
    actors = actions.new_accounts(20, seed=1)
    await actions.equip(bed, actors)
    accounts = [*(opening.borrower for opening in bed.openings), *actors]
    wanted, compared, in_emode, sick = cases(120, 500), 0, 0, 0
    while compared < wanted:
        await shake(rng, bed, actors)
        look = await watcher.look(await watcher.discover(), accounts)
        for account, position in look.positions.items():
            ours = watcher.adapter.health(look.state, position, look.state.block.timestamp_s)
            assert isinstance(ours, Health)
            assert reported(ours) == reported(look.healths[account]), position
            compared += bool(position.debt_scaled)
            in_emode += bool(position.category and position.debt_scaled)
            sick += ours.health_factor_wad < HEALTH_ONE_WAD
    assert in_emode > 10
    assert sick > 10


async def test_a_missing_price_blinds_its_holders_and_nobody_else(bed: Bed) -> None:
    watcher = Watcher(bed)
    market = await watcher.discover()
    await admin.set_answer(bed, "WBTC", 0)
    wbtc = bed.asset("WBTC").reserve_id
    look = await watcher.look(market, [opening.borrower for opening in bed.openings])
    assert look.state.reserves[wbtc].price_base is None
    blind = 0
    for account, position in look.positions.items():
        ours = watcher.adapter.health(look.state, position, look.state.block.timestamp_s)
        if wbtc in position.collateral_enabled or wbtc in position.debt_scaled:
            assert isinstance(ours, Skip)
            assert ours.reason is Reason.UNPRICEABLE
            assert account not in look.healths
            blind += 1
        else:
            assert isinstance(ours, Health)
            assert reported(ours) == reported(look.healths[account])
    assert 0 < blind < len(look.positions)


async def test_an_e_mode_without_an_answer_blinds_its_members(bed302: Bed) -> None:
    watcher = Watcher(bed302)
    await admin.set_emode_price(bed302, ETH_EMODE.category_id, 0)
    look = await watcher.look(await watcher.discover(), [opening.borrower for opening in bed302.openings])
    blind = {account for account, position in look.positions.items() if position.category == ETH_EMODE.category_id}
    assert blind
    assert blind == look.positions.keys() - look.healths.keys()
    for account in blind:
        ours = watcher.adapter.health(look.state, look.positions[account], look.state.block.timestamp_s)
        assert isinstance(ours, Skip)
        assert ours.reason is Reason.UNPRICEABLE


async def shake(rng: random.Random, bed: Bed, actors: Sequence[Address]) -> None:
    """Move what can move: positions, prices, risk settings, e-modes, time."""
    for _ in range(cases(8, 20)):
        await actions.random_action(rng, bed, actors)
    await _shake_settings(rng, bed)
    prices = {symbol: await bed.price_base(symbol) for symbol in MOVING}
    # Steps of a third either way, back towards where the prices started.
    moved = {
        symbol: (price + asset_spec(symbol).price_base) // 2 * rng.randint(700, 1300) // 1000 + rng.randrange(1000)
        for symbol, price in prices.items()
    }
    await set_prices(bed, moved)
    await bed.chain.advance(rng.randrange(1, MONTH_S))


async def _shake_settings(rng: random.Random, bed: Bed) -> None:
    mode = rng.choice(EMODES)
    threshold_bps = rng.randrange(8_600, 9_600)
    most_bonus_bps = 10**8 // threshold_bps
    bonus_bps = rng.randrange(10_001, most_bonus_bps + 1)
    await admin.set_emode(bed, mode.category_id, threshold_bps - rng.randrange(200), threshold_bps, bonus_bps)
    spec = asset_spec(rng.choice(("WETH", "WBTC", "DAI")))
    ltv_bps = rng.choice((0, spec.ltv_bps))
    await admin.set_collateral(bed, spec.symbol, ltv_bps, spec.threshold_bps, spec.bonus_bps)
    if bed.deployment.version == "3.0.2":
        if rng.random() < 0.5:
            await admin.set_emode_price(bed, mode.category_id, rng.choice((1, 2_900 * USD, USD)))
        await admin.set_emode_category(bed, "WBTC", rng.choice((0, ETH_EMODE.category_id)))
    else:
        await admin.set_emode_collateral(bed, rng.choice(("WETH", "WBTC")), ETH_EMODE.category_id, rng.random() < 0.5)
        ltvzero = (bed.asset("wstETH").token, ETH_EMODE.category_id, rng.random() < 0.5)
        configurator, contract = bed.deployment.pool_configurator, bed.contracts["PoolConfigurator"]
        with suppress(Reverted):  # it stands so already
            await bed.chain.send(ADMIN, configurator, contract, "setAssetLtvzeroInEMode", *ltvzero)
