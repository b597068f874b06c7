"""The keeper as its operator runs it: a process, watched from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

_ROOT = Path(__file__).resolve().parents[2]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MB = 1_000_000


@dataclass(frozen=True)
class Vital:
    """The process at one moment."""

    at_s: float
    """Since it was started."""
    rss_mb: float
    open_files: int
    threads: int
    health: int | None
    """HTTP status of its health page; None when it did not answer."""


@dataclass
class Daemon:
    """One run of the process."""

    process: asyncio.subprocess.Process
    started_s: float
    health_url: str
    vitals: list[Vital] = field(default_factory=list)

    async def stop(self, within_s: float) -> tuple[int, float]:
        """SIGTERM; exit code and how long it took. Raises TimeoutError when it does not end."""
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), within_s)
        return code, time.monotonic() - began_s

    async def watch(self, every_s: float) -> None:
        """For ever: its vitals."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session:
            while self.process.returncode is None:
                await asyncio.sleep(every_s)
                health = await self._health(session)
                folder = Path(f"/proc/{self.process.pid}")
                try:
                    pages = int((folder / "statm").read_text().split()[1])
                    files, threads = (len(list((folder / kind).iterdir())) for kind in ("fd", "task"))
                except OSError:
                    continue  # it has just ended
                self.vitals.append(
                    Vital(time.monotonic() - self.started_s, pages * _PAGE_BYTES / _MB, files, threads, health)
                )

    async def _health(self, session: aiohttp.ClientSession) -> int | None:
        try:
            async with session.get(self.health_url) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None


@asynccontextmanager
async def running_daemon(config: Path, health_port: int, log: Path) -> AsyncIterator[Daemon]:
    """`keeper run --live`; killed on the way out if it still runs."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "keeper",
            "run",
            "--live",
            "--config",
            str(config),
            cwd=_ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        daemon = Daemon(process, time.monotonic(), f"http://127.0.0.1:{health_port}/health")
        try:
            yield daemon
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
