"""Two keepers with one key: the first that sees a nonce which its store does not know stops sending, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from tests.devnet.chain_facts import nonce
from tests.devnet.keeping import Keeping, keeping


@pytest.mark.long
async def test_the_other_one_s_nonce_is_noticed_and_nothing_more_is_sent(bed36: Bed, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
    one = await keeping(bed36, tmp_path / "one", funded=True)
    assert one.account is not None
    other = Keeping(tmp_path / "other", bed36.url, one.provider, one.chain_id, one.account)
    assert (await one.run_once("--live")).code == 0
    await fall(bed36)
    assert (await other.run_once("--live")).code == 0, (
        "what was used before its store knew the signer is taken for granted"
    )
    assert other.events("sent") != []

    await fall(bed36)
    used = await nonce(bed36, one.account.address)
    ended = await one.run_once("--live")
    assert await nonce(bed36, one.account.address) == used, "nothing was sent"
    assert ended.code == 3, ended.err
    [paused] = one.events("paused")
    assert paused.fields["cause"] == "foreign_nonce"
    assert f"nonce {used - 1} of {to_hex(one.account.address)} was used by" in paused.fields["detail"]
    assert "keeper resume" in paused.fields["detail"]

    assert (await one.run("resume", "--config", str(one.config))).code == 0
    assert (await one.run_once("--live")).code == 0
    assert await nonce(bed36, one.account.address) > used


async def fall(bed: Bed) -> None:
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 97 // 100)
