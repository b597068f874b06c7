"""Which of several signers takes an order. Pure.

Each signer has its own nonces, its own money and a bound on what it has on its way. Orders are given out by urgency, each to
the signer with the most room among those that have the money for all of it; between equals the configured order decides. A
borrower with an open transaction belongs to the signer of that transaction until it is settled: only there do the nonce rules
make sure that one of two transactions is mined at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.core.units import Address


@dataclass(frozen=True, slots=True)
class Purse:
    """What one signer may still put on its way at a head."""

    signer: Address
    room: int
    """So many transactions."""
    gas_money_wei: int
    funds_raw: Mapping[Address, int]
    """By debt asset: the lesser of balance and allowance, open attempts taken off. One that is not there is not held."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one order takes of its signer, whole."""

    borrower: Address
    calls: int
    gas_wei: int
    pulls_raw: Mapping[Address, int]
    """By debt asset, over all calls."""


def assign(
    needs: Sequence[Need], purses: Sequence[Purse], reserved: Mapping[Address, Address]
) -> Sequence[Address | None]:
    """The signer of each need, which come the most urgent first; None where nobody has room and money, or where the one signer
    that the borrower is `reserved` for has not. One that goes without takes nothing from those after it."""
    left = list(purses)
    chosen: list[Address | None] = []
    for need in needs:
        owner = reserved.get(need.borrower)
        fitting = [place for place, purse in enumerate(left) if owner in (None, purse.signer) and _fits(need, purse)]
        if not fitting:
            chosen.append(None)
            continue
        place = max(fitting, key=lambda each: (left[each].room, -each))
        chosen.append(left[place].signer)
        left[place] = _after(need, left[place])
    return chosen


def _fits(need: Need, purse: Purse) -> bool:
    return (
        purse.room >= need.calls
        and purse.gas_money_wei >= need.gas_wei
        and all(purse.funds_raw.get(asset, 0) >= raw for asset, raw in need.pulls_raw.items())
    )


def _after(need: Need, purse: Purse) -> Purse:
    funds_raw = {asset: held - need.pulls_raw.get(asset, 0) for asset, held in purse.funds_raw.items()}
    return Purse(purse.signer, purse.room - need.calls, purse.gas_money_wei - need.gas_wei, funds_raw)
