"""Small values that pass between pipeline and store."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.outcome import Verdict


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a borrower below 1 stands where it stands, at one head."""

    reason: str
    """A `Reason`, or `ordered` while an attempt is under way."""
    detail: str
    verdict: Verdict | None
    health_factor_wad: int
    attempt: str | None = None


@dataclass(frozen=True, slots=True)
class Funds:
    """What one asset can pay for, in raw units; None is without bound (a dry run deals itself what it needs)."""

    balance_raw: int | None
    allowance_raw: int | None
