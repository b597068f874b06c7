"""An anvil of ours never outlives us, leaves nothing behind, and keeps to itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import ConfigError
from keeper.devnet.anvil import AnvilOptions, find_anvil, install_anvil, running_anvil
from keeper.devnet.errors import DevnetError

STARTS_ONE = """
import asyncio, sys
from keeper.devnet.anvil import install_anvil, running_anvil
async def main():
    manager = running_anvil(install_anvil())
    anvil = await manager.__aenter__()
    print(anvil.pid, anvil.home, flush=True)
    {then}
    return manager
kept = asyncio.run(main())
"""


@pytest.fixture(scope="module")
def binary() -> Path:
    return install_anvil()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def shown_of(pid: int, what: str) -> bytes:
    return Path(f"/proc/{pid}/{what}").read_bytes()


def soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def start_in_a_process(then: str) -> tuple[subprocess.Popen[str], int, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE.format(then=then)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    pid, home = process.stdout.readline().split()
    return process, int(pid), Path(home)


async def test_it_answers_and_is_gone_with_its_folder(binary: Path) -> None:
    async with running_anvil(binary, AnvilOptions(chain_id=4_242)) as anvil, JsonRpc(anvil.url) as rpc:
        assert await rpc.request("eth_chainId") == hex(4_242)
        assert alive(anvil.pid)
        assert anvil.home.is_dir()
    assert not alive(anvil.pid)
    assert not anvil.home.exists()


async def test_an_error_in_the_block_ends_it_too(binary: Path) -> None:
    seen = []

    async def stumble() -> None:
        async with running_anvil(binary) as anvil:
            seen.append(anvil)
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        await stumble()
    assert not alive(seen[0].pid)
    assert not seen[0].home.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent's death")
async def test_it_dies_with_a_killed_parent_and_its_folder_is_swept(binary: Path) -> None:
    process, pid, home = start_in_a_process("await asyncio.sleep(600)")
    assert alive(pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert soon(lambda: not alive(pid))
    async with running_anvil(binary):
        assert not home.exists()


def test_an_interpreter_that_forgets_it_still_ends_it() -> None:
    process, pid, home = start_in_a_process("pass")
    process.communicate()
    assert soon(lambda: not alive(pid))
    assert not home.exists()


async def test_old_states_go_to_its_own_folder(binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with running_anvil(binary, AnvilOptions(states_on_disk=20)) as anvil, JsonRpc(anvil.url) as rpc:
        await rpc.request("anvil_mine", [hex(700)])
        pages = [path for path in anvil.home.rglob("*") if path.suffix == ".json"]
        assert 0 < len(pages) <= 25
    assert files_in(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_fork_inherits_the_chain_and_hides_the_url(binary: Path) -> None:
    async with running_anvil(binary, AnvilOptions(chain_id=777)) as base, JsonRpc(base.url) as rpc:
        await rpc.request("anvil_mine", [hex(9)])
        options = AnvilOptions(fork_url=base.url + "/?key=secret-key", fork_block_number=4)
        async with running_anvil(binary, options) as fork, JsonRpc(fork.url) as forked:
            assert await forked.request("eth_chainId") == hex(777)
            assert await forked.request("eth_blockNumber") == hex(4)
            for shown in ("cmdline", "environ"):
                assert b"secret-key" not in shown_of(fork.pid, shown)


async def test_an_unreachable_upstream_is_one_line_without_its_url(binary: Path) -> None:
    with pytest.raises(DevnetError, match="could not fork") as caught:
        async with running_anvil(binary, AnvilOptions(fork_url="http://127.0.0.1:9/?key=secret-key")):
            pass
    assert "secret" not in str(caught.value)


async def test_a_binary_that_is_no_anvil_is_refused() -> None:
    with pytest.raises(DevnetError, match="exit code"):
        async with running_anvil(Path("/bin/false")):
            pass


def test_finding_never_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_anvil() is None
    assert not (tmp_path / "cache").exists()
    own = tmp_path / "anvil"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert find_anvil() == own
    with pytest.raises(ConfigError, match="no executable"):
        find_anvil(tmp_path / "elsewhere")


def test_finding_sees_an_earlier_install(binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_anvil() == binary
