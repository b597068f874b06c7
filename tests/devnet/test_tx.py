"""`keeper tx`: a person looks at what waits, sends it again with a higher fee, or takes it back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from keeper.app.transactions import replace_transaction
from keeper.core.errors import ConfigError, Refused
from keeper.core.order import SentTransaction
from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.execution.nonces import Remedy
from tests.devnet.chain_facts import mined_by, nonce
from tests.devnet.keeping import keeping


async def test_what_waits_is_listed_sped_up_and_cancelled(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    keeper = kept.account.address
    assert (await kept.run_once("--live")).code == 0
    await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 98 // 100)
    await bed36.chain.rpc.request("evm_setAutomine", [False])
    first = await nonce(bed36, keeper)
    async with kept.daemon("--live") as daemon:
        await kept.until("sent", count=2)
        refused = await kept.run("tx", "cancel", str(first), "--config", str(kept.config))
        assert (refused.code, f"another keeper (pid {daemon.pid})" in refused.error_line) == (1, True)
        daemon.send(signal.SIGKILL)
        await daemon.ended()

    async def listed(*flags: str) -> str:
        ended = await kept.run("tx", "list", "--config", str(kept.config), *flags)
        assert ended.code == 0, ended.err
        return ended.out

    waiting = [row for row in json.loads(await listed("--json")) if row["nonce"] >= first]
    assert {row["status"] for row in waiting} <= {"sent", "intended"}
    assert to_hex(keeper) == waiting[0]["signer"].lower()
    table = await listed()
    assert all(f" {row['nonce']} " in f" {table}" for row in waiting)

    settings = kept.settings(mode="live")
    sped_up = (await replace_transaction(settings, None, first, Remedy.SPEED_UP)).sent
    assert isinstance(sped_up, SentTransaction)
    cancelled = await kept.run("tx", "cancel", str(first + 1), "--config", str(kept.config))
    assert cancelled.code == 0, cancelled.err
    assert f"nonce {first + 1}: 0x" in cancelled.out
    with pytest.raises(Refused, match=f"nothing of this keeper is open at nonce {first + 500}"):
        await replace_transaction(settings, "devnet", first + 500, Remedy.CANCEL)
    with pytest.raises(ConfigError, match='needs mode = "live"'):
        await replace_transaction(kept.settings(mode="dry"), None, first, Remedy.CANCEL)
    with pytest.raises(ConfigError, match="--chain elsewhere: the configuration has devnet"):
        await replace_transaction(settings, "elsewhere", first, Remedy.CANCEL)

    await bed36.chain.mine(1, seconds=1)
    of_first, of_second, *_ = [each for each in await mined_by(bed36, keeper, 0) if each.nonce >= first]
    assert of_first.hash == to_hex(sped_up.transaction_hash or b"")
    assert (of_second.to, of_second.selector) == (keeper, "0x")
    assert of_second.hash in cancelled.out
    replaced = kept.events("replaced")
    assert [(row.fields["nonce"], row.fields["remedy"]) for row in replaced] == [
        (first, "speed_up"),
        (first + 1, "cancel"),
    ]
    assert all(row.attempt is not None for row in replaced)
    status = await bed36.chain.rpc.request("txpool_status", [])
    assert int(status["queued"], 16) == 0
