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
    """The same reason and verdict: numbers in `detail` and the attempt may differ. For a reverted simulation the
    detail is the decoded error, and another error is another reason."""
    if (first.reason, first.verdict) != (second.reason, second.verdict):
        return False
    return first.reason != Reason.SIMULATION_REVERTED or first.detail == second.detail


@dataclass(frozen=True, slots=True)
class Funds:
    """What one asset can pay for, in raw units; None is without bound (a dry run deals itself what it needs)."""

    balance_raw: int | None
    allowance_raw: int | None
