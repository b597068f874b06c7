"""How far a catch-up is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, int], None]
"""First block, block reached, last block."""


def unwatched(first: int, reached: int, last: int) -> None:
    """Progress that nobody watches."""
