"""The cache folder outside the checkout: entries appear whole or not at all, whoever else is building them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from keeper.core.errors import ConfigError
from keeper.devnet.stopping import pause

_POLL_S = 0.05

Say = Callable[[str], None]
"""Told in one line what is being done, before it is done. May be called from another thread."""


def quiet(_line: str) -> None:
    """A `Say` for those who do not want to be told."""


def cache_root() -> Path:
    """`$KEEPER_CACHE_DIR`, else `$XDG_CACHE_HOME/keeper`, else `~/.cache/keeper`."""
    own = os.environ.get("KEEPER_CACHE_DIR")
    if own:
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "keeper"


@contextmanager
def exclusive(path: Path, say: Say = quiet) -> Iterator[None]:
    """Hold the file lock `path` for as long as the block runs; other processes wait. The lock dies with its process.

    Raises ConfigError if the folder cannot be written.
    """
    with _lock_file(path) as handle:
        if not _taken(handle):
            say(f"waiting for another process to prepare {path.parent.name}/{path.stem}")
            while not _taken(handle):
                pause(_POLL_S)
        yield


@asynccontextmanager
async def exclusive_async(path: Path, say: Say = quiet) -> AsyncIterator[None]:
    """The same without blocking the event loop."""
    with _lock_file(path) as handle:
        if not _taken(handle):
            say(f"waiting for another process to prepare {path.parent.name}/{path.stem}")
            while not _taken(handle):  # noqa: ASYNC110 - another process sets no event of ours
                await asyncio.sleep(_POLL_S)
        yield


@contextmanager
def drafted(entry: Path) -> Iterator[Path]:
    """A temporary folder that becomes `entry` if the block ends well, and vanishes otherwise."""
    draft = Path(tempfile.mkdtemp(prefix=entry.name + ".draft-", dir=entry.parent))
    try:
        yield draft
        draft.rename(entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def build_once(entry: Path, build: Callable[[Path], None], say: Say = quiet) -> Path:
    """Return the folder `entry`, made by `build(temporary_folder)` if it is not there yet.

    Two processes at once build once; a build that fails or is killed leaves no entry.
    """
    if _missing(entry):
        with exclusive(entry.with_name(entry.name + ".lock"), say):
            if _missing(entry):
                with drafted(entry) as draft:
                    build(draft)
    return entry


async def build_once_async(entry: Path, build: Callable[[Path], Awaitable[None]], say: Say = quiet) -> Path:
    """`build_once` for a build that is a coroutine."""
    if _missing(entry):
        async with exclusive_async(entry.with_name(entry.name + ".lock"), say):
            if _missing(entry):
                with drafted(entry) as draft:
                    await build(draft)
    return entry


def _taken(handle: IO[str]) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise ConfigError(
            f"the cache folder {path.parent} cannot be written ({error.strerror}); point KEEPER_CACHE_DIR to one that can"
        ) from None


def _missing(entry: Path) -> bool:
    return not entry.is_dir()
