"""`keeper run --fork`: orders really execute, on a fork. The base does not notice, and a live run would have done the same."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet import admin
from keeper.devnet.anvil import AnvilOptions, install_anvil, running_anvil
from keeper.devnet.chain import DevChain
from keeper.devnet.market import Bed
from keeper.devnet.state import dump_state
from tests.devnet.chain_facts import emptied, fingerprint, health_wad
from tests.devnet.commands import comes_true, happens, started
from tests.devnet.keeping import Keeping, keeping

REALISED = (
    *("health_before_wad", "health_planned_wad", "health_after_wad", "target_wad", "overshoot_wad"),
    *("model_error_wad", "amounts_match", "disturbed", "received_base", "repaid_base"),
)


async def fall(bed: Bed, percent: int = 88) -> None:
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * percent // 100)


@asynccontextmanager
async def copy_of(bed: Bed, folder: Path) -> AsyncIterator[Bed]:
    """The same chain once more, on a node of its own."""
    await dump_state(bed.chain, folder / "state.json")
    options = AnvilOptions(chain_id=bed.deployment.chain_id, load_state=folder / "state.json")
    async with running_anvil(install_anvil(), options) as node:
        chain = DevChain(node.url)
        try:
            await chain.rpc.request("anvil_autoImpersonateAccount", [True])
            yield replace(bed, chain=chain)
        finally:
            await chain.close()


def realised(kept: Keeping) -> dict[str, Mapping[str, Any]]:
    """By borrower, what its first liquidation came to, without the names of transactions and of who did it."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in kept.events("restored", "not_restored"):
        figures = {name: row.fields[name] for name in REALISED}
        figures["liquidations"] = [
            {name: each for name, each in event.items() if name not in ("liquidator", "log_index")}
            for event in row.fields["liquidations"]
        ]
        found.setdefault(str(row.borrower), {"kind": row.kind, **figures})
    return found


async def test_the_base_does_not_notice_and_a_live_run_on_a_copy_comes_to_the_same(bed: Bed, tmp_path: Path) -> None:
    """Equal to the wei, once both mine at the same second.

    The plan's window begins at the head and ends a while after the later of head and clock: a head an hour ahead of the
    clock makes it the same for both runs. The fork mines in the middle of the window, so the copy is told to do so too.
    """
    kept = await keeping(bed, tmp_path, funded=True)
    assert (await kept.run_once("--live")).code == 0, "nobody is below 1: it only sets the allowances"
    await bed.chain.rpc.request("evm_setNextBlockTimestamp", [int(time.time()) + 3_600])
    await fall(bed)
    await emptied(bed)
    before = await fingerprint(bed)

    kept.folder = made(tmp_path / "fork")
    assert (await kept.run_once("--fork")).code == 0

    assert await fingerprint(bed) == before
    on_fork = realised(kept)
    assert len(on_fork) >= 5
    calls = kept.events("mined")
    [mined_at_s] = {row.fields["block_timestamp_s"] for row in calls}

    async with copy_of(bed, tmp_path) as copy:
        assert (await fingerprint(copy))[0]["hash"] == before[0]["hash"]
        kept.folder, kept.rpc_url = made(tmp_path / "live"), copy.url
        await copy.chain.rpc.request("evm_setAutomine", [False])
        config = str(kept.write(mode="live"))
        async with started(["run", "--once", "--live", "--config", config], tmp_path) as running:
            await pending(copy, len(calls))
            await copy.chain.rpc.request("evm_setNextBlockTimestamp", [mined_at_s])
            await copy.chain.rpc.request("evm_mine", [])
            await copy.chain.rpc.request("evm_setAutomine", [True])
            assert (await running.ended()).code == 0
        assert realised(kept) == on_fork
        for borrower, figures in on_fork.items():
            after_wad = await health_wad(copy, address_from_hex(borrower), calls[0].block_number)
            assert after_wad == int(figures["health_after_wad"])


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def pending(bed: Bed, count: int) -> None:
    """Returns once so many transactions wait."""

    async def so_many() -> bool:
        return int((await bed.chain.rpc.request("txpool_status", []))["pending"], 16) >= count

    await comes_true(so_many)


async def test_what_the_fork_restored_is_not_counted_again_until_upstream_changes(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    await fall(bed36)
    async with kept.daemon("--fork") as daemon:
        await kept.until("restored")
        await judged(kept, await bed36.chain.block_number())
        first = {row.borrower for row in kept.events("restored")}
        assert len(first) >= 5

        await bed36.chain.mine(3, seconds=12)
        await judged(kept, await bed36.chain.block_number())
        assert len(kept.events("decided")) == len(first), "time alone is no change"

        # Somebody repays a little for one of them: only that one stands differently now.
        touched = address_from_hex(str(sorted(map(str, first))[0]))
        await repay_a_little(bed36, touched)
        await kept.until("restored", count=len(first) + 1)
        assert [row.borrower for row in kept.events("decided")[len(first) :]] == [to_hex(touched)]

        # Another price is another matter for everybody.
        await fall(bed36, percent=99)
        await kept.until("restored", count=2 * len(first) + 1)
        assert first <= {row.borrower for row in kept.events("decided")[len(first) + 1 :]}
        assert (await daemon.stopped()).code == 0
    assert kept.events("alert", "trouble", "not_restored") == []


async def judged(kept: Keeping, block_number: int) -> None:
    """Returns once the keeper has judged this block."""
    await happens(lambda: kept.judged_block() >= block_number)


async def repay_a_little(bed: Bed, who: Address) -> None:
    opening = next(each for each in bed.openings if each.borrower == who)
    asset = bed.asset(opening.debt[0].symbol)
    await bed.chain.fund([who])
    await bed.chain.send(who, asset.token, bed.contracts["Token"], "mint", who, 10**asset.decimals)
    await bed.chain.send(who, asset.token, bed.contracts["Token"], "approve", bed.deployment.pool, 10**asset.decimals)
    await bed.chain.transact(bed.pool_tx(who, "repay", asset.token, 10**asset.decimals, 2, who))


async def test_the_fork_dies_with_its_keeper(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    await fall(bed36)
    async with kept.daemon("--fork") as daemon:
        await kept.until("restored")
        [fork] = children(daemon.pid)
        daemon.send(signal.SIGKILL)
        await daemon.ended()
        await happens(lambda: not lives(fork), within_s=5)
        assert not lives(fork)


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def children(pid: int) -> list[int]:
    """Processes that this one started, by the kernel's word."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_without_an_anvil_fork_says_what_it_needs(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    kept.top["anvil"] = str(tmp_path / "no-anvil")
    ended = await kept.run_once("--fork")
    assert ended.code == 2
    assert "no-anvil is no executable file" in ended.error_line
