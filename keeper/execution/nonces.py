"""Which nonce the next transaction takes, and which nonces must be freed or filled. Pure.

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
* What waits longer than it was planned for is replaced on its own nonce (`overdue`): an order by a cancellation, since its
  prices are gone; what depends on no price (an approval, a cancellation) by itself with a higher fee, when that is what it
  lacks. A hole under what still waits is filled: by the lost bytes while they are young, else by a cancellation. A lost one
  with nothing above it stays free for the next order while it is young, and is cancelled then: its signature never expires.
  A nonce is as old as the first that was sent with it: who offers one order after the other where none is mined must not keep
  another borrower, who lost one there or above, waiting for ever. What is waiting there gets as long again.
  A lost cancellation above which the cap leaves no bid is sent again as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

from keeper.core.errors import Refused
from keeper.core.intent import Intent, IntentStatus
from keeper.core.ledger import Purpose
from keeper.core.units import Address, to_hex

UNDECIDED = frozenset({IntentStatus.INTENDED, IntentStatus.UNKNOWN})
HELD = UNDECIDED | {IntentStatus.SENT}
OF_ANY_PRICE = frozenset({Purpose.ALLOWANCE, Purpose.CANCEL})
"""What is as right later as it was when it was sent."""


class Remedy(StrEnum):
    """What is done about a nonce. Stable names: the journal keeps them."""

    CANCEL = "cancel"
    """Nothing is sent to ourselves instead."""
    SPEED_UP = "speed_up"
    """The same call with a higher fee."""
    RESEND = "resend"
    """The very same bytes."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """One nonce that needs a remedy."""

    nonce: int
    remedy: Remedy
    there: tuple[Intent, ...]
    """Everything open at this nonce, in the order it was recorded; the last one is what the remedy is about. Empty where
    nothing of ours can be mined."""
    why: str


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
        if borrower in intent.borrowers and attempt not in intent.attempts and intent.nonce != nonce:
            raise Refused(
                f"attempt {intent.attempt} for {to_hex(borrower)} is still open at nonce {intent.nonce}"
                f" ({intent.status.value})"
            )


def overdue(
    pending_count: int, open_intents: Iterable[Intent], head_number: int, expiry_blocks: int
) -> Sequence[Overdue]:
    """What must be done at `head_number`, by nonce. Nothing above a nonce that is undecided: it would wait above a possible
    hole."""
    at: dict[int, list[Intent]] = {}
    for intent in open_intents:
        at.setdefault(intent.nonce, []).append(intent)
    highest = max((nonce for nonce, there in at.items() if any(each.status in HELD for each in there)), default=-1)
    found: list[Overdue] = []
    for nonce in sorted({*at, *range(pending_count, highest)}):
        there = tuple(at.get(nonce, ()))
        if any(intent.status in UNDECIDED for intent in there):
            if nonce >= pending_count:
                break
            continue
        remedy = _remedy(there, nonce < highest, head_number, expiry_blocks)
        if remedy is not None and (nonce >= pending_count or remedy[0] is not Remedy.RESEND):
            found.append(Overdue(nonce, remedy[0], there, remedy[1]))
    return found


def _remedy(
    there: Sequence[Intent], below_others: bool, head_number: int, expiry_blocks: int
) -> tuple[Remedy, str] | None:
    """`there`: sent or lost ones of one nonce."""
    if not there:
        return Remedy.CANCEL, "nothing of ours is at this nonce, and others wait above it"
    since_block = min(intent.submitted_block for intent in there)
    waiting = [intent for intent in there if intent.status is IntentStatus.SENT]
    if waiting:
        last = waiting[-1]
        if last.submitted_block > head_number - expiry_blocks and since_block > head_number - 2 * expiry_blocks:
            return None
        remedy = Remedy.SPEED_UP if last.purpose in OF_ANY_PRICE else Remedy.CANCEL
        return remedy, f"not mined since block {since_block}"
    if since_block <= head_number - expiry_blocks:
        return Remedy.CANCEL, f"lost since block {since_block}: its bytes could still be mined"
    return (Remedy.RESEND, "lost, and others wait above it") if below_others else None
