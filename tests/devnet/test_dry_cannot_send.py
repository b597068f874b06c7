"""Every command that is not live, through a proxy that knows only reading: nothing else reaches the node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keeper.app.keys import KeyRing
from keeper.app.plan import RunPlan
from keeper.app.run import run_keeper
from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from tests.devnet.chain_facts import emptied, fingerprint
from tests.devnet.keeping import Keeping, keeping
from tests.faults import FaultProxy

READS = {
    "anvil_nodeInfo",  # asks what kind of node it is
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getAccountInfo",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getCode",
    "eth_getLogs",
    "eth_getStorageAt",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_simulateV1",
    "eth_syncing",
    "net_version",
    "web3_clientVersion",
}
"""Whatever is not among these might change something."""


@asynccontextmanager
async def reading_only(bed: Bed) -> AsyncIterator[FaultProxy]:
    """In front of the bed; at the end nothing but reads has come through, and the chain is as it was."""
    await emptied(bed)
    before = await fingerprint(bed)
    async with FaultProxy(bed.url) as proxy:
        yield proxy
    assert set(proxy.counts) <= READS
    assert sum(proxy.counts.values()) > 0
    assert await fingerprint(bed) == before


async def crashed_with_a_key_out_of_reach(bed: Bed, folder: Path, url: str) -> Keeping:
    """Ether has lost a fifth. A keystore is configured, but there is none: whoever touched it would fail."""
    kept = await keeping(bed, folder, url)
    kept.tables["signer"] = {"keystore": str(folder / "no-keystore"), "password_file": str(folder / "no-password")}
    return kept


async def fall(bed: Bed) -> None:
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 80 // 100)


async def test_a_dry_run_only_reads(bed: Bed, tmp_path: Path) -> None:
    await fall(bed)
    async with reading_only(bed) as proxy:
        kept = await crashed_with_a_key_out_of_reach(bed, tmp_path, proxy.url)
        assert (await kept.run_once()).code == 3
    assert len(kept.events("sent")) >= 5
    assert {call["answer"] for row in kept.events("sent") for call in row.fields["calls"]} == {"not_sent"}
    assert kept.events("mined", "restored", "not_restored") == []


async def test_a_dry_daemon_only_reads_block_after_block(bed36: Bed, tmp_path: Path) -> None:
    async with FaultProxy(bed36.url) as proxy:
        kept = await crashed_with_a_key_out_of_reach(bed36, tmp_path, proxy.url)
        async with kept.daemon() as daemon:
            await kept.until("caught_up")
            for percent in (95, 85, 99):
                await admin.set_answer(bed36, "WETH", 3_200 * 10**8 * percent // 100)
                await bed36.chain.mine(2, seconds=12)
            await fall(bed36)
            await kept.until("sent")
            assert (await daemon.stopped()).code == 0
        assert set(proxy.counts) <= READS


async def test_a_fork_run_only_reads_upstream(bed: Bed, tmp_path: Path) -> None:
    await fall(bed)
    async with reading_only(bed) as proxy:
        kept = await crashed_with_a_key_out_of_reach(bed, tmp_path, proxy.url)
        assert (await kept.run_once("--fork")).code == 0
    assert len(kept.events("restored")) >= 5


async def test_the_other_commands_only_read(bed36: Bed, tmp_path: Path) -> None:
    await fall(bed36)
    async with reading_only(bed36) as proxy:
        kept = await crashed_with_a_key_out_of_reach(bed36, tmp_path, proxy.url)
        config = ["--config", str(kept.write())]
        assert (await kept.run_once()).code == 3
        seen = sum(proxy.counts.values())
        borrower = str(kept.events("decided")[0].borrower)
        checked = await kept.run("config", "check", *config)
        assert (checked.code, "no-keystore does not exist" in checked.error_line) == (2, True)
        for command in (["journal"], ["journal", "--json"], ["explain"], ["explain", borrower]):
            ended = await kept.run(*command, *config)
            assert ended.code == 0, ended.err
            assert ended.out
        assert sum(proxy.counts.values()) == seen, "these need no node"
        assert (await kept.run("positions", "--json", *config)).code == 0
        market = to_hex(kept.provider)
        assert (await kept.run("positions", "--rpc", proxy.url, "--addresses-provider", market)).code == 0


async def test_without_live_no_key_is_asked_for(bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a keystore that would open is configured."""
    await fall(bed36)
    kept = await keeping(bed36, tmp_path, funded=True)
    asked: list[object] = []
    monkeypatch.setattr(KeyRing, "open", lambda *arguments: asked.append(arguments))
    for fork in (False, True):
        await run_keeper(kept.settings(), RunPlan(once=True, live=False, fork=fork))
    assert asked == []
    assert len(kept.events("sent")) >= 10


@pytest.mark.parametrize(
    "flags, mode, complaint",
    [
        (["--live"], "dry", 'also needs mode = "live"'),
        ([], "live", "also needs --live"),
        (["--live", "--fork"], "live", "exclude each other"),
    ],
)
@pytest.mark.parametrize("once", [["--once"], []])
async def test_live_is_asked_for_twice_or_refused(
    bed36: Bed, tmp_path: Path, flags: list[str], mode: str, complaint: str, once: list[str]
) -> None:
    async with FaultProxy(bed36.url) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url)
        ended = await kept.run("run", *once, *flags, "--config", str(kept.write(mode=mode)))
        assert ended.code == 2
        assert complaint in ended.error_line
        assert not proxy.counts
    assert not kept.store.exists()
