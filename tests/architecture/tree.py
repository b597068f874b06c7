"""The files that the architecture rules look at."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sources(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    """Our own sources under the given top-level folders; nothing that a tool left there."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and not {"node_modules", "__pycache__"} & set(path.parts):
                yield path


def name_of(path: Path) -> str:
    """As people write it: relative to the checkout, with forward slashes."""
    return path.relative_to(ROOT).as_posix()


def committed_texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file in git's index, and of those new ones that git does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:
            yield name, content.decode("utf-8")
