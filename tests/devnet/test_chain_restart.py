"""A chain that is started anew inside one process: what is on its way stays on its way, and is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.pipeline.loop import ChainLoop
from tests.devnet.chain_facts import mined_by, nonce
from tests.devnet.commands import happens
from tests.devnet.daemons import LIQUIDATION_CALL
from tests.devnet.inside import inside
from tests.devnet.keeping import keeping


class Unforeseen(Exception):
    """What no part of the pipeline has a name for: the chain's supervisor starts it anew."""


async def test_what_was_sent_before_is_told_after(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    keeper = kept.account.address
    broken: list[ChainLoop] = []
    on_head = ChainLoop.on_head

    async def breaks_once(loop: ChainLoop, *arguments: Any) -> Any:
        if kept.events("sent") and not broken:
            broken.append(loop)
            raise Unforeseen("it")
        return await on_head(loop, *arguments)

    with patch.object(ChainLoop, "on_head", breaks_once):
        async with inside(kept, live=True):
            await kept.until("caught_up")
            first = await nonce(bed36, keeper)
            await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 98 // 100)
            await bed36.chain.rpc.request("evm_setAutomine", [False])
            await kept.until("sent")
            sent = {row.attempt for row in kept.events("sent")}
            await bed36.chain.rpc.request("evm_setIntervalMining", [1])
            await happens(lambda: len(kept.events("started")) == 2)
            await happens(lambda: sent <= {row.attempt for row in kept.events("restored", "not_restored")})
    [trouble] = [row for row in kept.events("trouble") if row.fields["error"] == "Unforeseen"]
    told = [row for row in kept.events("restored", "not_restored") if row.attempt in sent]
    assert len(told) == len(sent), "each once"
    assert all(row.seq > trouble.seq for row in told)
    assert all(row.fields["model_error_wad"] is None for row in told), "read back by the journal's plan"
    mined = [each for each in await mined_by(bed36, keeper, 0) if each.nonce >= first]
    assert all(each.succeeded for each in mined if each.selector == LIQUIDATION_CALL), "nothing twice"
