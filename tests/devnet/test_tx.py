"""`keeper tx`: a person looks at what waits, sends it again with a higher fee, or takes it back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
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
    assert waiting[0]["transaction_hash"] in (await listed()).replace("\n", "").replace(" ", "")

    sped_up = await kept.run("tx", "speedup", str(first), "--config", str(kept.config))
    assert sped_up.code == 0, sped_up.err
    assert f"nonce {first}: 0x" in sped_up.out
    cancelled = await kept.run("tx", "cancel", str(first + 1), "--config", str(kept.config))
    assert cancelled.code == 0, cancelled.err
    nothing = await kept.run("tx", "cancel", str(first + 500), "--config", str(kept.config))
    assert nothing.error_line.startswith(f"keeper: nothing of this keeper is open at nonce {first + 500}")
    dry = await kept.run("tx", "cancel", str(first), "--config", str(kept.write(mode="dry")))
    assert (dry.code, 'mode = "live"' in dry.error_line) == (2, True)

    await bed36.chain.mine(1, seconds=1)
    of_first, of_second, *_ = [each for each in await mined_by(bed36, keeper, 0) if each.nonce >= first]
    assert of_first.hash in sped_up.out
    assert (of_second.to, of_second.selector) == (keeper, "0x")
    replaced = kept.events("replaced")
    assert [(row.fields["nonce"], row.fields["remedy"]) for row in replaced] == [
        (first, "speed_up"),
        (first + 1, "cancel"),
    ]
    assert all(row.attempt is not None for row in replaced)
    status = await bed36.chain.rpc.request("txpool_status", [])
    assert int(status["queued"], 16) == 0
