"""A word that must never be seen: it stands for the key in a node's URL."""

from __future__ import annotations

from pathlib import Path

from tests.devnet.commands import Ended
from tests.devnet.keeping import Keeping

KEY_IN_URL = "c4n4ry-k3y-0123456789"


def with_key(url: str) -> str:
    """The URL as a public node gives it out: its path is the customer's secret."""
    return f"{url}/v2/{KEY_IN_URL}"


def assert_kept(kept: Keeping, *endings: Ended) -> None:
    """Nowhere: not in what the commands wrote, and in no file of the store."""
    for ended in endings:
        assert KEY_IN_URL not in ended.out
        assert KEY_IN_URL not in ended.err
    for path in _store_files(kept.store):
        assert KEY_IN_URL.encode() not in path.read_bytes(), path


def _store_files(store: Path) -> list[Path]:
    return list(store.parent.glob(store.name + "*"))
