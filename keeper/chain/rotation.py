"""Which of several socket addresses to try next, and after what pause. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.chain.sockets import SocketAddress
from keeper.chain.subscription import NotOffered
from keeper.core.errors import ChainError, WrongChain

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

HOPELESS = (NotOffered, WrongChain)
"""Trying the same address again would not help."""


class Rotation:
    """In order, each after the other; after trouble with all of them a pause that doubles."""

    def __init__(self, addresses: Sequence[SocketAddress], first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._addresses = list(addresses)
        self._first_pause_s = first_pause_s
        self._failures = 0
        """In a row."""

    @property
    def current(self) -> SocketAddress | None:
        """None when no address is left."""
        return self._addresses[0] if self._addresses else None

    def worked(self) -> None:
        """Something was announced: the next failure is the first again."""
        self._failures = 0

    def failed(self, error: ChainError) -> float:
        """The seconds to wait before the next attempt. A hopeless address is left out from now on."""
        failed = self._addresses.pop(0)
        if isinstance(error, HOPELESS):
            return 0.0
        self._addresses.append(failed)
        self._failures += 1
        rounds, untried = divmod(self._failures, len(self._addresses))
        return 0.0 if untried else min(LONGEST_PAUSE_S, self._first_pause_s * 2.0 ** min(rounds - 1, 16))
