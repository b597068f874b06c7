"""What is written down before a transaction leaves, so that a restart knows what may be on its way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from keeper.core.ledger import Entry, Purpose, Stake
from keeper.core.shares import Share
from keeper.core.units import Address, Hash32


class IntentStatus(StrEnum):
    """Where a recorded transaction stands. Stable names: the store keeps them as text."""

    INTENDED = "intended"
    """Recorded; its bytes may or may not have left."""
    SENT = "sent"
    """A node took it, or knows it."""
    UNKNOWN = "unknown"
    """The node's answer proves neither."""
    LOST = "lost"
    """The node does not know it and its nonce is unused: another transaction may take that nonce."""
    MINED = "mined"
    REVERTED = "reverted"
    REFUSED = "refused"
    """Proven not accepted."""
    DROPPED = "dropped"
    """Proven gone: its nonce was used by another transaction."""


OPEN_STATUSES = frozenset({IntentStatus.INTENDED, IntentStatus.SENT, IntentStatus.UNKNOWN, IntentStatus.LOST})
"""Not settled: the transaction may still be mined."""
IN_A_BLOCK = frozenset({IntentStatus.MINED, IntentStatus.REVERTED})


@dataclass(frozen=True, slots=True)
class Intent:
    """One signed transaction of one signer. Two intents may share a nonce; at most one of them can be mined."""

    chain_id: int
    signer: Address
    nonce: int
    transaction_hash: Hash32
    raw_transaction: bytes
    """The signed bytes: public the moment they are sent, of use to nobody but us before."""
    attempt: str
    borrower: Address | None
    """None for a transaction that is not about a borrower (an allowance)."""
    call_index: int
    submitted_block: int
    """The head on which it was decided."""
    status: IntentStatus = IntentStatus.INTENDED
    purpose: Purpose = Purpose.LIQUIDATION
    stake: Stake | None = None
    """The most that it can cost; None where an older keeper wrote it."""
    shares: tuple[Share, ...] = ()
    """Of one that several attempts have in common: all of them, the first being the one named above."""

    @property
    def borrowers(self) -> tuple[Address, ...]:
        """Whom it is about."""
        alone = () if self.borrower is None else (self.borrower,)
        return tuple(share.borrower for share in self.shares) or alone

    @property
    def attempts(self) -> tuple[str, ...]:
        """One for each borrower."""
        return tuple(share.attempt for share in self.shares) or (self.attempt,)

    @property
    def parts(self) -> tuple[Intent, ...]:
        """The same transaction as each attempt's own."""
        parts = (replace(self, attempt=share.attempt, borrower=share.borrower) for share in self.shares)
        return tuple(parts) or (self,)


@dataclass(frozen=True, slots=True)
class Mark:
    """A recorded transaction's new status."""

    transaction_hash: Hash32
    status: IntentStatus
    block_number: int | None = None
    """The inclusion block of one that was mined or reverted."""
    entry: Entry | None = None
    """What it did there, for the ledger. It is written by the same commit as the status; a mark without one takes an earlier
    entry of the transaction back."""
