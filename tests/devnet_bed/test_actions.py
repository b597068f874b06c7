"""Random actions stir every part of a market, and most of them go through."""

from __future__ import annotations

import random
from collections import Counter

from eth_utils.crypto import keccak

from keeper.core.units import to_hex
from keeper.devnet.actions import ACTION_NAMES, equip, new_accounts, random_action
from keeper.devnet.market import Bed

LIQUIDATION = keccak(text="LiquidationCall(address,address,address,uint256,uint256,address,bool)")
TRIES = 400


async def test_everything_happens(bed: Bed) -> None:
    accounts = new_accounts(12, 1) + [each.borrower for each in bed.openings[:20]]
    await equip(bed, accounts)
    rng = random.Random(11)
    done, refused = Counter[str](), Counter[str]()
    for _ in range(TRIES):
        action = await random_action(rng, bed, accounts)
        (refused if action.refused else done)[action.name] += 1
    assert set(done) == set(ACTION_NAMES)
    assert refused.total() < TRIES * 4 // 10

    query = {"address": to_hex(bed.deployment.pool), "topics": [to_hex(LIQUIDATION)], "fromBlock": "0x0"}
    logs = await bed.chain.rpc.request("eth_getLogs", [query])
    assert len(logs) == done["liquidate"]
    assert {log["data"][-1] for log in logs} == {"0", "1"}
