"""Pauses: nothing is sent while one stands. They outlast the process; a person lifts them."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.units import Address

BY_PERSON = "operator"
KILL = "kill"
"""A person's, too; and what is on its way is cancelled."""
KILL_FILE = "kill_file"
"""It stands while the file does, and is not written down."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a pause holds: everybody, one chain's signers, or one signer on one chain."""

    chain_id: int | None = None
    signer: Address | None = None

    def covers(self, chain_id: int, signer: Address) -> bool:
        return self.chain_id in (None, chain_id) and self.signer in (None, signer)


EVERYBODY = Scope()


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is sent."""

    scope: Scope
    reason: str
    """A stable word: `operator`, `kill`, the name of a rail."""
    detail: str
    """In words, with the numbers."""
    block_number: int | None = None
    """The head at which a rail tripped."""

    @property
    def kills(self) -> bool:
        return self.reason == KILL


@dataclass(frozen=True, slots=True)
class StandingPause:
    """One that was written down and not lifted."""

    id: int
    pause: Pause
    since: str
    """ISO 8601, UTC."""


def words(pause: Pause) -> str:
    """As people read it."""
    return f"{pause.reason}: {pause.detail}" if pause.detail else pause.reason
