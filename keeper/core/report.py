"""What was earned and spent, from the ledger: by attempt, by day, by account. Pure, integers.

Tokens and native coin are what moved on chain, to the wei: an account's balances at one time, and the report of what was mined
since, give its balances now, if nobody else moves them. Values in base currency are those of each block, rounded against us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from keeper.core.ledger import CallValue, Entry, Purpose
from keeper.core.shares import Share, split, weights
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
    shares: tuple[Share, ...] = ()
    """Of one that several attempts had in common."""


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
    """One line per attempt and day, in the order given. What several had in common is told apart by `keeper.core.shares`, every
    figure of it, and counts as the first one's transaction."""
    return _lines([part for each in booked for part in _parts(each)], lambda part: part.attempt)


def by_day(booked: Sequence[Booked]) -> list[Line]:
    """One line per signer and day."""
    return _lines([_whole(each) for each in booked], lambda part: None)


def moved_raw(booked: Iterable[Booked]) -> dict[Address, int]:
    """By how much our tokens changed; those that came back to where they were left out."""
    return _moved_raw(_whole(each) for each in booked)


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


@dataclass(frozen=True, slots=True)
class _Part:
    """What one attempt did by a transaction; or all of it."""

    entry: Entry
    attempt: str
    borrower: Address | None
    transactions: int
    cost_wei: int
    moved_raw: Mapping[Address, int]
    worth: Worth | None


def _whole(booked: Booked) -> _Part:
    entry = booked.entry
    worth = worth_of(entry, booked.value) if booked.value is not None else None
    moved_raw = {movement.token: movement.change_raw for movement in entry.movements}
    return _Part(entry, entry.attempt, entry.borrower, 1, entry.cost_wei, moved_raw, worth)


def _parts(booked: Booked) -> list[_Part]:
    whole = _whole(booked)
    if not booked.shares:
        return [whole]
    by = weights(booked.shares)
    costs_wei = split(whole.cost_wei, by)
    moved = {token: split(change_raw, by) for token, change_raw in whole.moved_raw.items()}
    worths = None
    if whole.worth is not None:
        worths = {each.name: split(getattr(whole.worth, each.name), by) for each in fields(Worth)}
    return [
        _Part(
            entry=whole.entry,
            attempt=share.attempt,
            borrower=share.borrower,
            transactions=1 if place == 0 else 0,
            cost_wei=costs_wei[place],
            moved_raw={token: parts[place] for token, parts in moved.items()},
            worth=None if worths is None else Worth(**{name: parts[place] for name, parts in worths.items()}),
        )
        for place, share in enumerate(booked.shares)
    ]


def _moved_raw(parts: Iterable[_Part]) -> dict[Address, int]:
    changes: dict[Address, int] = {}
    for part in parts:
        for token, change_raw in part.moved_raw.items():
            changes[token] = changes.get(token, 0) + change_raw
    return {token: change_raw for token, change_raw in sorted(changes.items()) if change_raw}


def _day(entry: Entry) -> int:
    return entry.timestamp_s // DAY_S


def _lines(parts: Iterable[_Part], of: Callable[[_Part], str | None]) -> list[Line]:
    lines: dict[tuple[int, Address, int, str | None], list[_Part]] = {}
    for part in parts:
        entry = part.entry
        lines.setdefault((entry.chain_id, entry.signer, _day(entry), of(part)), []).append(part)
    return [_line(day, attempt, those) for (_, _, day, attempt), those in lines.items()]


def _line(day: int, attempt: str | None, parts: Sequence[_Part]) -> Line:
    first = parts[0]
    worths = [part.worth for part in parts if part.worth is not None]
    alone = attempt is not None
    return Line(
        chain_id=first.entry.chain_id,
        signer=first.entry.signer,
        day=day,
        attempt=attempt,
        purpose=first.entry.purpose if alone else None,
        borrower=first.borrower if alone else None,
        transactions=sum(part.transactions for part in parts),
        reverted=sum(part.transactions for part in parts if not part.entry.succeeded),
        cost_wei=sum(part.cost_wei for part in parts),
        moved_raw=_moved_raw(parts),
        worth=_sum(worths) if worths else None,
        unvalued=sum(part.transactions for part in parts if part.worth is None),
    )


def _sum(worths: Sequence[Worth]) -> Worth:
    return Worth(**{each.name: sum(getattr(worth, each.name) for worth in worths) for each in fields(Worth)})
