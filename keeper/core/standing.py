"""Small values that pass between pipeline and store."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.outcome import Reason, Verdict

ORDERED = "ordered"
"""The standing of a borrower whose attempt is under way."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a borrower below 1 stands where it stands, at one head."""

    reason: str
    """A `Reason`, or `ordered` while an attempt is under way."""
    detail: str
    verdict: Verdict | None
    health_factor_wad: int | None
    """None when a price that it needs is missing."""
    attempt: str | None = None


def stands_alike(first: Standing, second: Standing) -> bool:
    """The same reason and verdict: `detail` and the attempt may differ. For a reverted simulation the detail is the decoded
    error, and another error is another reason; its numbers change with every block and are not."""
    if (first.reason, first.verdict) != (second.reason, second.verdict):
        return False
    if first.reason != Reason.SIMULATION_REVERTED or first.detail == second.detail:
        return True
    return _without_numbers(first.detail) == _without_numbers(second.detail)


def _without_numbers(text: str) -> list[str]:
    """Its words, but for those that begin with a digit."""
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return [word for word in words if not word[0].isdigit()]


@dataclass(frozen=True, slots=True)
class Funds:
    """What one asset can pay for, in raw units; None is without bound (a dry run deals itself what it needs)."""

    balance_raw: int | None
    allowance_raw: int | None
