"""What was spent, and what is on its way, as the store tells it."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.ledger import CallValue, Stake
from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Settled:
    """One mined transaction of ours."""

    ledger_id: int
    """Ascending in the order in which they became known."""
    chain_id: int
    signer: Address
    timestamp_s: int
    """Of its block."""
    succeeded: bool
    cost_wei: int
    value: CallValue | None
    """None where its block was not read (yet), or could not be valued."""
    stake: Stake | None
    """What it could have cost at worst; None where an older keeper sent it."""
    lost_race: bool | None = False
    """Whether it reverted because somebody else was first; None where its reason was not read (yet)."""


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """One transaction that may still be mined. Of those with one nonce at most one is."""

    chain_id: int
    signer: Address
    nonce: int
    attempt: str
    stake: Stake | None


@dataclass(frozen=True, slots=True)
class Lift:
    """A pause that was lifted: what reverted up to `ledger_id` is not held against whom it covered."""

    chain_id: int | None
    signer: Address | None
    ledger_id: int

    def forgives(self, settled: Settled) -> bool:
        return (
            settled.ledger_id <= self.ledger_id
            and self.chain_id in (None, settled.chain_id)
            and self.signer in (None, settled.signer)
        )


@dataclass(frozen=True, slots=True)
class Spending:
    """Everything of the last day, of all signers of the store."""

    settled: tuple[Settled, ...]
    """In the order in which they became known."""
    on_their_way: tuple[OnItsWay, ...]
    lifts: tuple[Lift, ...]
