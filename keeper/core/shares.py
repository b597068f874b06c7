"""What several attempts do by one transaction, and how what it cost and moved is told apart. Integers.

The rule: in proportion to the debt that was really repaid for each of them; every part rounded towards 0, what is left over to
the first that has a part. So the parts add up to the whole, and whoever was left out has none. Where nothing was repaid for
anybody, because it reverted or was cancelled, the planned repayments count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Share:
    """One attempt's part in a transaction that several have in common."""

    attempt: str
    borrower: Address
    planned_raw: int
    """Of the one debt asset, to be repaid;"""
    repaid_raw: int | None = None
    """and what was. None while that is not known."""


def weights(shares: Sequence[Share]) -> list[int]:
    """By which a transaction's figures are divided."""
    repaid = [share.repaid_raw or 0 for share in shares]
    return repaid if any(repaid) else [share.planned_raw for share in shares]


def split(total: int, by: Sequence[int]) -> list[int]:
    """`total`, which may be below 0, in parts in proportion to `by`, of which at least one is above 0. They add up to it."""
    whole = sum(by)
    sign = -1 if total < 0 else 1
    parts = [sign * (abs(total) * weight // whole) for weight in by]
    first = next(place for place, weight in enumerate(by) if weight)
    parts[first] += total - sum(parts)
    return parts


def part_of(total: int, shares: Sequence[Share], attempt: str) -> int:
    """One attempt's part of a transaction's figure; all of it where nobody shares it."""
    if not shares:
        return total
    place = next(place for place, share in enumerate(shares) if share.attempt == attempt)
    return split(total, weights(shares))[place]
