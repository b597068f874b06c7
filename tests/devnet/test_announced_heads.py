"""The live daemon with its heads announced: over a WebSocket, over IPC, and through the faults of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.devnet.market import Bed
from tests.devnet.commands import happens
from tests.devnet.daemons import assert_nothing_twice, fall, live_daemon, nothing_waits, settled, worked_off
from tests.socket_faults import SocketManners, SocketProxy


@pytest.mark.parametrize("way", ["ws_url", pytest.param("ipc_path", marks=pytest.mark.long)])
async def test_whoever_falls_is_restored_on_announced_heads(bed36: Bed, tmp_path: Path, way: str) -> None:
    """Nothing is polled: the daemon would look for a head only every minute."""
    async with SocketProxy(bed36.url) as sockets, live_daemon(bed36, tmp_path) as kept:
        kept.chain[way] = sockets.url + "/v3/0123456789abcdef" if way == "ws_url" else str(sockets.ipc_path)
        kept.tables["rpc"] = {"poll_s": 60, "quiet_blocks": 60, "timeout_s": 2}
        async with kept.daemon("--live") as daemon:
            await kept.until("caught_up", count=2)
            fallen = await fall(bed36)
            await worked_off(bed36, kept, fallen.sick)
            await kept.until("restored")
            await settled(kept)
            ended = await daemon.stopped()
        assert ended.code == 0
        await assert_nothing_twice(bed36, kept, fallen.block)
        assert set(sockets.counts) == {"eth_chainId", "eth_subscribe"}
    assert kept.events("not_restored", "alert", "trouble") == []
    assert "0123456789abcdef" not in ended.err + ended.out + kept.store.read_bytes().decode("latin-1")


async def test_heads_are_polled_while_the_subscription_is_silent_or_gone(bed36: Bed, tmp_path: Path) -> None:
    async with SocketProxy(bed36.url) as sockets, live_daemon(bed36, tmp_path) as kept:
        kept.chain["ws_url"] = sockets.url
        async with kept.daemon("--live") as daemon:
            await kept.until("caught_up", count=2)
            await happens(lambda: sockets.announced > 0)
            first_block = await bed36.chain.block_number()
            for manners in (SocketManners(silent=True), SocketManners(refuses=True)):
                sockets.manners = manners
                await sockets.hang_up() if manners.refuses else None
                fallen = await fall(bed36, 96)
                await worked_off(bed36, kept, fallen.sick)
            sockets.manners = SocketManners()
            connections = sockets.connections
            await happens(lambda: sockets.connections > connections)
            await nothing_waits(bed36, kept)
            assert (await daemon.stopped()).code == 0
        await assert_nothing_twice(bed36, kept, first_block)
    told = [row.fields["key"] for row in kept.events("alert")]
    assert told[0] == "subscription_lost" and set(told) <= {"subscription_lost", "subscription_back"}
    assert {row.severity for row in kept.events("alert")} == {"warning"}
