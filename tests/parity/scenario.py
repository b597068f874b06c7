"""A seeded market at one block, with an operator's wishes: what both runs meet."""

from __future__ import annotations

import random
from typing import Any

from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.actions import random_action
from keeper.devnet.market import Bed

GWEI = 10**9
ACTIONS = ("supply", "borrow", "repay", "withdraw", "toggle_collateral", "liquidate")
_DAY_S = 86_400
_VOLATILE, _STABLE = ("WETH", "WBTC"), ("USDC", "DAI", "GUSD")


async def drawn(bed: Bed, rng: random.Random) -> dict[str, dict[str, Any]]:
    """Move the market, whose newest block is then the head of the scenario. Returns tables for under the chain's."""
    await _moved(bed, rng)
    return _tables(bed, rng)


async def _moved(bed: Bed, rng: random.Random) -> None:
    accounts = [opening.borrower for opening in bed.openings]
    for _ in range(rng.randrange(4)):
        await random_action(rng, bed, accounts, ACTIONS)
    if rng.random() < 0.4:
        await bed.chain.advance(rng.randrange(30 * _DAY_S))
    for symbol in _VOLATILE:
        await _priced(bed, symbol, rng.randint(65, 101))
    if rng.random() < 0.25:
        await _priced(bed, rng.choice(_STABLE), rng.randint(96, 104))
    if rng.random() < 0.2:
        await admin.pause(bed, rng.choice((*_VOLATILE, *_STABLE)))
    base_fee_wei = rng.choice((1, 1, 5, 20, 60, 90, 120)) * GWEI
    await bed.chain.rpc.request("anvil_setNextBlockBaseFeePerGas", [hex(base_fee_wei)])
    await bed.chain.mine()


async def _priced(bed: Bed, symbol: str, percent: int) -> None:
    await admin.set_answer(bed, symbol, await bed.price_base(symbol) * percent // 100)


def _tables(bed: Bed, rng: random.Random) -> dict[str, dict[str, Any]]:
    policy: dict[str, Any] = {"most_calls": rng.randint(1, 3)}
    fees: dict[str, Any] = {"max_fee_gwei": 100, "priority_percentile": rng.choice((10, 50, 90))}
    tables: dict[str, dict[str, Any]] = {"policy": policy, "fees": fees}
    borrowers = [to_hex(opening.borrower) for opening in bed.openings]
    if rng.random() < 0.5:
        policy["target"] = rng.choice(("1.005", "1.02", "1.05", "1.1"))
    if rng.random() < 0.4:
        policy["min_profit"] = str(rng.choice((0, 1, 10, 100, 1_000)))
    if rng.random() < 0.3:
        policy["min_repay"] = str(rng.choice((10, 500, 5_000)))
    if rng.random() < 0.3:
        policy["skip_borrowers"] = rng.sample(borrowers, 10)
    elif rng.random() < 0.2:
        policy["only_borrowers"] = rng.sample(borrowers, 30)
    if rng.random() < 0.2:
        policy["skip_assets"] = [to_hex(bed.asset(rng.choice((*_VOLATILE, *_STABLE))).token)]
    if rng.random() < 0.3:
        fees["priority_profit_share"] = rng.choice(("0.1", "0.5"))
    if rng.random() < 0.2:
        tables["rails.notional"] = {"per_transaction": rng.choice(("2000", "50000"))}
    elif rng.random() < 0.2:
        tables["rails.notional"] = {"per_transaction": "200000", "per_hour": rng.choice(("200000", "400000"))}
    if rng.random() < 0.3:
        tables["rails.loss"] = {"per_transaction": rng.choice(("10", "500"))}
    if rng.random() < 0.15:
        tables["prices"] = {"action": "refuse", "max_age_s": rng.choice((3_600, 90_000, 10**7))}
    return tables
