"""What one head comes to, and the words for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import chain, count

from keeper.core.block import BlockRef
from keeper.core.errors import Defect
from keeper.core.order import FeeQuote, Outcome, Submission
from keeper.core.outcome import Reason, Skip
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address

Key = tuple[Address, Address]
"""(market, borrower)."""

UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What code raises that is wrong in a way nobody foresaw. Where the world is asked it may be an odd answer: tried again."""
OUR_FAULT = (Defect, *UNFORESEEN)
"""What our own arithmetic raises when it is wrong. It stops the market where it happened, and no other."""

TRANSIENT = frozenset(
    {
        Reason.NO_INVENTORY,
        Reason.NO_ALLOWANCE,
        Reason.NO_ROUTE,
        Reason.FEE_CAP,
        Reason.RESERVED,
        Reason.STALE_HEAD,
        Reason.MARKET_UNVERIFIED,
        Reason.CANNOT_SIMULATE,
        Reason.SIMULATION_REVERTED,
        Reason.NODES_DISAGREE,
        Reason.PAUSED,
        Reason.UNPRICEABLE,
    }
)
"""Reasons that leave work behind: something outside the rules of the market stood in the way."""


@dataclass(slots=True)
class Round:
    """What one head came to."""

    head: BlockRef
    standings: dict[Key, Standing] = field(default_factory=dict)
    """Of everybody below 1."""
    submitted: list[Submission] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)
    """Both since the last round that was returned: those of a round that raised are in the next one."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What every decision of one round shares."""

    head: BlockRef
    now_s: float
    """When the round began, before anything of the head was read."""
    fees: FeeQuote
    busy: frozenset[Address]
    """Borrowers with a transaction that may still be mined on top of the head."""
    reserved: Mapping[Address, Address]
    """Borrowers whom only one signer may give another order."""


def unused_name(name: str, used: Container[str]) -> str:
    """The name, or with a number where it is used already: the first bytes of two borrowers may be the same."""
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if each not in used)


def standing(skip: Skip, health_factor_wad: int | None) -> Standing:
    return Standing(skip.reason.value, skip.detail, skip.verdict, health_factor_wad)


def leaves_work(stands: Standing) -> bool:
    """Whether a borrower's standing means that something is left to do."""
    return stands.reason == ORDERED or stands.reason in TRANSIENT
