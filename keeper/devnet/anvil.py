"""A native anvil of our own: found or installed, started on a free loopback port, and gone when we are gone.

The process is bound to ours three ways: the context manager ends it, `atexit` ends it, and on Linux the kernel ends
it when our thread dies by any signal. Its home and cache are one temporary folder; a folder whose owner was killed
is removed by the next start (the owner holds a file lock inside it for as long as it lives).
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import fcntl
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import ChainError, ConfigError, RpcUnreachable
from keeper.devnet.cache import Say, quiet
from keeper.devnet.errors import DevnetError
from keeper.devnet.packages import install, modules_path

_PREFIX = "keeper-anvil-"
_OWNER = "owner.lock"
_READY_WITHIN_S = 20.0
_START_TRIES = 3
_PR_SET_PDEATHSIG = 1
_PASSED_ON = {"PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
"""Of our environment, what anvil gets: settings of other tools must not change it, and secrets are not its business."""
_PLATFORMS = {
    ("linux", "x86_64"): "linux-amd64",
    ("linux", "aarch64"): "linux-arm64",
    ("darwin", "x86_64"): "darwin-amd64",
    ("darwin", "arm64"): "darwin-arm64",
}


@dataclass(frozen=True)
class AnvilOptions:
    """How to start anvil. Mining is one block per transaction unless `block_time_s` is given."""

    chain_id: int | None = None
    """None: 31337, or the upstream's when forking."""
    fork_url: str | None = None
    """Fork this node. It is handed over by request, not on the command line, where others could read it."""
    fork_block_number: int | None = None
    block_time_s: int | None = None
    timestamp_s: int | None = None
    """The genesis block's time; later blocks follow the clock from there."""
    gas_limit: int = 30_000_000
    mnemonic: str | None = None
    """Of the funded accounts; never a real one, since the command line is public. None: anvil's well-known one."""
    accounts: int = 10
    load_state: Path | None = None
    hardfork: str | None = None
    states_on_disk: int = 200
    """Beyond some 500 blocks kept in memory, so many older states are kept in the temporary folder."""


@dataclass(frozen=True)
class Anvil:
    """A running anvil."""

    url: str
    pid: int
    home: Path
    """Its temporary folder; deleted with it."""


def find_anvil(configured: str | Path | None = None) -> Path | None:
    """The anvil binary: as configured, else on PATH, else from an earlier install. Never downloads.

    Raises ConfigError when a configured path is no executable file.
    """
    if configured is not None:
        path = Path(configured).expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise ConfigError(f"anvil: {path} is no executable file")
        return path
    on_path = shutil.which("anvil")
    if on_path is not None:
        return Path(on_path)
    cached = modules_path("anvil") / _binary_in_package()
    return cached if cached.is_file() else None


def install_anvil(say: Say = quiet) -> Path:
    """The pinned anvil from npm, installed when it is not in the cache. Raises ConfigError or DevnetError."""
    path = install("anvil", say) / _binary_in_package()
    if not path.is_file():
        raise DevnetError(f"the npm package of anvil holds no binary for {sys.platform} {platform.machine()}")
    return path


@asynccontextmanager
async def running_anvil(binary: Path, options: AnvilOptions | None = None) -> AsyncIterator[Anvil]:
    """Start anvil, wait until it answers, and end it with its folder on the way out."""
    options = options or AnvilOptions()
    _sweep()
    home, lock = _owned_folder()
    process: asyncio.subprocess.Process | None = None
    farewell: Callable[[], None] | None = None
    try:
        process, url = await _start(binary, options, home)
        farewell = _farewell(process.pid, home)
        atexit.register(farewell)
        if options.fork_url is not None:
            await _fork(url, options)
        yield Anvil(url=url, pid=process.pid, home=home)
    finally:
        await _end(process, home, lock)
        if farewell is not None:
            atexit.unregister(farewell)


async def _start(binary: Path, options: AnvilOptions, home: Path) -> tuple[asyncio.subprocess.Process, str]:
    for _ in range(_START_TRIES):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        process = await _spawn(binary, _arguments(options, home, port), home)
        try:
            await _ready(process, url)
        except BaseException as error:
            await _stop(process)
            # Somebody may have taken the port between our look and anvil's start.
            if isinstance(error, DevnetError) and _port_taken(home):
                continue
            raise
        return process, url
    raise DevnetError("anvil found no free port")


async def _spawn(binary: Path, arguments: list[str], home: Path) -> asyncio.subprocess.Process:
    environment = {name: setting for name, setting in os.environ.items() if name.upper() in _PASSED_ON}
    environment["HOME"] = str(home)
    with (home / "anvil.err").open("wb") as errors:
        try:
            return await asyncio.create_subprocess_exec(
                str(binary),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                cwd=home,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            raise DevnetError(f"anvil at {binary} does not start: {error.strerror}") from None


def _arguments(options: AnvilOptions, home: Path, port: int) -> list[str]:
    arguments = ["--quiet", "--host", "127.0.0.1", "--port", str(port), "--no-request-size-limit"]
    arguments += ["--cache-path", str(home / "states"), "--gas-limit", str(options.gas_limit)]
    arguments += ["--accounts", str(options.accounts)]
    optional = {
        "--chain-id": options.chain_id,
        "--block-time": options.block_time_s,
        "--timestamp": options.timestamp_s,
        "--mnemonic": options.mnemonic,
        "--load-state": options.load_state,
        "--hardfork": options.hardfork,
        "--max-persisted-states": options.states_on_disk,
    }
    for flag, setting in optional.items():
        if setting is not None:
            arguments += [flag, str(setting)]
    return arguments


async def _ready(process: asyncio.subprocess.Process, url: str) -> None:
    """Return once our own process answers; another program on the port would leave ours dead."""
    deadline = asyncio.get_running_loop().time() + _READY_WITHIN_S
    async with JsonRpc(url, timeout_s=5) as rpc:
        while asyncio.get_running_loop().time() < deadline:
            if process.returncode is not None:
                raise DevnetError(f"anvil ended at start with exit code {process.returncode}")
            try:
                await rpc.request("anvil_nodeInfo")
                return
            except RpcUnreachable:
                await asyncio.sleep(0.01)
            except ChainError:
                await asyncio.sleep(0.05)
    raise DevnetError(f"anvil did not answer within {_READY_WITHIN_S:g} s")


async def _fork(url: str, options: AnvilOptions) -> None:
    forking: dict[str, Any] = {"jsonRpcUrl": options.fork_url}
    if options.fork_block_number is not None:
        forking["blockNumber"] = options.fork_block_number
    async with JsonRpc(url, timeout_s=60) as rpc:
        try:
            await rpc.request("anvil_reset", [{"forking": forking}])
            if options.chain_id is not None:
                await rpc.request("anvil_setChainId", [options.chain_id])
        except ChainError as error:
            # The node's own message may repeat the upstream URL, which can hold a key.
            raise DevnetError(f"anvil could not fork the upstream node ({type(error).__name__})") from None


async def _end(process: asyncio.subprocess.Process | None, home: Path, lock: IO[str]) -> None:
    try:
        if process is not None:
            await _stop(process)
    finally:
        lock.close()
        shutil.rmtree(home, ignore_errors=True)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _farewell(pid: int, home: Path) -> Callable[[], None]:
    """For an interpreter that ends without leaving the context manager."""

    def end() -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        shutil.rmtree(home, ignore_errors=True)

    return end


def _die_with(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def _owned_folder() -> tuple[Path, IO[str]]:
    """A temporary folder whose lock we hold. It gets its telling name only then, so that no sweep can catch it early."""
    draft = Path(tempfile.mkdtemp(prefix="keeper-draft-"))
    lock = (draft / _OWNER).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    home = draft.with_name(draft.name.replace("keeper-draft-", _PREFIX))
    draft.rename(home)
    return home, lock


def _sweep() -> None:
    """Remove folders whose owner was killed before it could."""
    for home in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        try:
            with (home / _OWNER).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Held by a living owner, just being made, or not ours.
            continue
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _port_taken(home: Path) -> bool:
    return "in use" in (home / "anvil.err").read_text(errors="replace").lower()


def _binary_in_package() -> Path:
    key = _PLATFORMS.get((sys.platform, platform.machine()), "unsupported")
    return Path("@foundry-rs") / f"anvil-{key}" / "bin" / "anvil"
