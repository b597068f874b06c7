"""What was earned and spent, from the ledger: by attempt, by day, by account. Pure, integers.

Tokens and native coin are what moved on chain, to the wei: an account's balances at one time, and the report of what was mined
since, give its balances now, if nobody else moves them. Values in base currency are those of each block, rounded against us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from keeper.core.ledger import CallValue, Entry, Purpose
from keeper.core.units import WAD, Address

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Worth:
    """In whole units of the base currency (`_wad`, 18 decimals) and in the native coin at the same prices (`_wei`)."""

    received_wad: int
    repaid_wad: int
    gas_wad: int
    received_wei: int
    repaid_wei: int
    gas_wei: int
    premium_wad: int = 0
    """What was paid for borrowed money."""
    slippage_wad: int = 0
    """What was lost in swaps against the oracle's prices; below 0 where the venues paid more."""
    premium_wei: int = 0
    slippage_wei: int = 0

    @property
    def revenue_wad(self) -> int:
        return self.received_wad - self.repaid_wad

    @property
    def net_wad(self) -> int:
        return self.revenue_wad - self.gas_wad - self.premium_wad - self.slippage_wad

    @property
    def net_wei(self) -> int:
        return self.received_wei - self.repaid_wei - self.gas_wei - self.premium_wei - self.slippage_wei


@dataclass(frozen=True, slots=True)
class Booked:
    """One mined transaction of ours in the ledger."""

    entry: Entry
    value: CallValue | None
    """None where its block could not be read or valued, and for what liquidates nobody."""


@dataclass(frozen=True, slots=True)
class Line:
    """Some transactions of one signer, added up."""

    chain_id: int
    signer: Address
    day: int
    """Of their blocks: days since 1970-01-01, UTC."""
    attempt: str | None
    """None in a sum over several."""
    purpose: Purpose | None
    borrower: Address | None
    transactions: int
    reverted: int
    cost_wei: int
    """Gas and a rollup's own fee, paid in the native coin."""
    moved_raw: Mapping[Address, int]
    """By how much our tokens changed."""
    worth: Worth | None
    """Of those that could be valued; None where none could."""
    unvalued: int
    """How many could not: what liquidates nobody, and where a price was missing."""


def by_attempt(booked: Sequence[Booked]) -> list[Line]:
    """One line per attempt and day, in the order given."""
    return _lines(booked, lambda entry: entry.attempt)


def by_day(booked: Sequence[Booked]) -> list[Line]:
    """One line per signer and day."""
    return _lines(booked, lambda entry: None)


def moved_raw(booked: Iterable[Booked]) -> dict[Address, int]:
    """By how much our tokens changed; those that came back to where they were left out."""
    changes: dict[Address, int] = {}
    for each in booked:
        for movement in each.entry.movements:
            changes[movement.token] = changes.get(movement.token, 0) + movement.change_raw
    return {token: change_raw for token, change_raw in sorted(changes.items()) if change_raw}


def worth_of(entry: Entry, value: CallValue) -> Worth:
    """Received rounded down, all that is spent up."""
    price_base, unit = value.native_price_base, value.base_unit
    return Worth(
        received_wad=value.received_base * WAD // unit,
        repaid_wad=-(-value.repaid_base * WAD // unit),
        gas_wad=-(-value.gas_base(entry.cost_wei) * WAD // unit),
        received_wei=value.received_base * WAD // price_base,
        repaid_wei=-(-value.repaid_base * WAD // price_base),
        gas_wei=entry.cost_wei,
        premium_wad=-(-value.premium_base * WAD // unit),
        slippage_wad=-(-value.slippage_base * WAD // unit),
        premium_wei=-(-value.premium_base * WAD // price_base),
        slippage_wei=-(-value.slippage_base * WAD // price_base),
    )


def _day(entry: Entry) -> int:
    return entry.timestamp_s // DAY_S


def _lines(booked: Iterable[Booked], part: Callable[[Entry], str | None]) -> list[Line]:
    parts: dict[tuple[int, Address, int, str | None], list[Booked]] = {}
    for each in booked:
        entry = each.entry
        parts.setdefault((entry.chain_id, entry.signer, _day(entry), part(entry)), []).append(each)
    return [_line(day, attempt, those) for (_, _, day, attempt), those in parts.items()]


def _line(day: int, attempt: str | None, booked: Sequence[Booked]) -> Line:
    entries = [each.entry for each in booked]
    worths = [worth_of(each.entry, each.value) for each in booked if each.value is not None]
    alone = attempt is not None
    return Line(
        chain_id=entries[0].chain_id,
        signer=entries[0].signer,
        day=day,
        attempt=attempt,
        purpose=entries[0].purpose if alone else None,
        borrower=entries[0].borrower if alone else None,
        transactions=len(entries),
        reverted=sum(not entry.succeeded for entry in entries),
        cost_wei=sum(entry.cost_wei for entry in entries),
        moved_raw=moved_raw(booked),
        worth=_sum(worths) if worths else None,
        unvalued=len(entries) - len(worths),
    )


def _sum(worths: Sequence[Worth]) -> Worth:
    return Worth(**{each.name: sum(getattr(worth, each.name) for worth in worths) for each in fields(Worth)})
