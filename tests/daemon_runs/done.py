"""Which seeds have ended well with the code as it is, so that a long series goes on where it was stopped."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from keeper.devnet.cache import cache_root

_ROOT = Path(__file__).parents[2]


@cache
def _file() -> Path:
    """Another one with each change of the keeper or of these runs."""
    digest = hashlib.sha256()
    for path in sorted([*(_ROOT / "keeper").rglob("*.py"), *Path(__file__).parent.glob("*.py")]):
        digest.update(path.read_bytes())
    return cache_root() / "daemon_runs" / f"{digest.hexdigest()[:16]}.txt"


def done() -> set[int]:
    """The seeds written down for this very code."""
    return {int(line) for line in _file().read_text().split()} if _file().exists() else set()


def write_down(seed: int) -> None:
    """One line a seed; several processes may write."""
    _file().parent.mkdir(parents=True, exist_ok=True)
    with _file().open("a") as lines:
        lines.write(f"{seed}\n")
