"""Which nonce the next transaction takes. Pure.

The rule, for one signer on one chain, of which we are the only sender:

* P is the node's *pending* count: every nonce below P is used by a transaction that the node knows.
* A nonce of an open intent is *held* (intended, sent or unknown) or *lost* (the node does not know the transaction and
  the nonce is unused; see `keeper.core.intent`).
* The next nonce is the lowest one, P or above, that is not held. So it is P, or follows our own transactions that this
  node has not counted yet, and a lost nonce is taken again before any higher one: there is never a hole.
* While an intent at P or above is undecided (intended or unknown), nothing is sent: it would wait above a possible hole.
  Within a few blocks the undecided one is seen, used, or lost.
* Several transactions may be sent without awaiting each other's answers, in the order of their nonces. Should one of them be
  refused while later ones were accepted, its nonce is the lowest one not held: the very next transaction takes it.
* Taking a lost nonce is safe: of two transactions with one nonce, at most one is mined. For the same reason, a borrower
  with a lost transaction is only given another one on that very nonce, or once the nonce is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from keeper.core.errors import Refused
from keeper.core.intent import Intent, IntentStatus
from keeper.core.units import Address, to_hex

UNDECIDED = frozenset({IntentStatus.INTENDED, IntentStatus.UNKNOWN})
HELD = UNDECIDED | {IntentStatus.SENT}


def free_nonces(pending_count: int, open_intents: Iterable[Intent]) -> Iterator[int]:
    """The nonces that the next transactions take, ascending. Raises `Refused` while an undecided intent stands at
    `pending_count` or above."""
    held = set()
    for intent in open_intents:
        if intent.nonce < pending_count or intent.status not in HELD:
            continue
        if intent.status in UNDECIDED:
            raise Refused(
                f"nonce {intent.nonce} is undecided since block {intent.submitted_block}: nothing is sent above it"
            )
        held.add(intent.nonce)
    return (nonce for nonce in count(pending_count) if nonce not in held)


def check_borrower(nonce: int, attempt: str, borrower: Address, open_intents: Iterable[Intent]) -> None:
    """Raises `Refused` when another attempt's transaction for this borrower could be mined besides one at `nonce`."""
    for intent in open_intents:
        if intent.borrower != borrower or intent.attempt == attempt or intent.nonce == nonce:
            continue
        if intent.status is not IntentStatus.LOST or intent.nonce < nonce:
            raise Refused(
                f"attempt {intent.attempt} for {to_hex(borrower)} is still open at nonce {intent.nonce}"
                f" ({intent.status.value})"
            )
