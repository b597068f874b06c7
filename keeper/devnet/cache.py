"""The cache folder outside the checkout: entries appear whole or not at all, whoever else is building them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root() -> Path:
    """`$KEEPER_CACHE_DIR`, else `$XDG_CACHE_HOME/keeper`, else `~/.cache/keeper`."""
    own = os.environ.get("KEEPER_CACHE_DIR")
    if own:
        return Path(own)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "keeper"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the file lock `path` for as long as the block runs; other processes wait. The lock dies with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_once(entry: Path, build: Callable[[Path], None]) -> Path:
    """Return the folder `entry`, made by `build(temporary_folder)` if it is not there yet.

    Two processes at once build once; a build that fails or is killed leaves no entry.
    """
    if entry.is_dir():
        return entry
    with exclusive(entry.with_name(entry.name + ".lock")):
        if entry.is_dir():
            return entry
        draft = Path(tempfile.mkdtemp(prefix=entry.name + ".draft-", dir=entry.parent))
        try:
            build(draft)
            draft.rename(entry)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return entry
