"""What the store knows of attempts whose outcome was never told."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Text, bindparam, exists, func, literal, select

from keeper.core.decision import Decision
from keeper.core.events import Kind
from keeper.core.intent import IN_A_BLOCK, IntentStatus
from keeper.core.outcome import Verdict
from keeper.core.units import address_from_hex
from keeper.store.tables import events, intents

MOST_LOOKED_AT = 1_000
"""The latest transactions: older ones were told of, or there is nobody left who waits to hear."""

_TOLD = (Kind.RESTORED.value, Kind.NOT_RESTORED.value)
_LATEST = (
    select(intents)
    .where(intents.c.chain_id == bindparam("chain_id"), intents.c.signer == bindparam("signer"))
    .order_by(intents.c.id.desc())
    .limit(MOST_LOOKED_AT)
    .subquery()
)
_TOLD_OF = (events.c.chain == bindparam("chain")) & events.c.kind.in_(_TOLD)
UNTOLD = (
    select(_LATEST)
    .where(
        _LATEST.c.borrower.is_not(None),
        _LATEST.c.status != IntentStatus.REFUSED.value,
        _LATEST.c.shares.is_not(None) | ~exists().where(events.c.attempt == _LATEST.c.attempt, _TOLD_OF),
    )
    .order_by(_LATEST.c.id)
)
"""Transactions about a borrower, not refused, of attempts without an outcome; and those of several attempts, of which some may
have one."""

TOLD = select(events.c.attempt).where(events.c.attempt.in_(bindparam("attempts", expanding=True)), _TOLD_OF)
"""Which of some attempts have an outcome."""


def about(attempt: BindParameter[str]) -> ColumnElement[bool]:
    """Whether a transaction is one of this attempt's, alone or with others."""
    quoted = literal('"') + attempt + literal('"')
    return (intents.c.attempt == attempt) | (
        intents.c.shares.is_not(None) & (func.instr(intents.c.shares, quoted) > literal(0))
    )


OF_ATTEMPT = (
    select(intents)
    .where(
        intents.c.chain_id == bindparam("chain_id"),
        intents.c.signer == bindparam("signer"),
        about(bindparam("attempt", type_=Text)),
    )
    .order_by(intents.c.id)
)
LAST_MINED = select(func.max(intents.c.nonce).label("nonce")).where(
    intents.c.chain_id == bindparam("chain_id"),
    intents.c.signer == bindparam("signer"),
    intents.c.status.in_(sorted(IN_A_BLOCK)),
)
DECIDED = (
    select(events)
    .where(
        events.c.chain == bindparam("chain"),
        events.c.attempt == bindparam("attempt"),
        events.c.kind == Kind.DECIDED.value,
    )
    .order_by(events.c.seq.desc())
    .limit(1)
)


def decision_from_row(row: Any) -> Decision:
    """From a `decided` event; its fields are a contract (docs/JOURNAL.md)."""
    fields = json.loads(row.fields)
    debts_raw: dict[Any, int] = {}
    for call in fields["calls"]:
        asset = address_from_hex(call["debt_asset"])
        debts_raw[asset] = debts_raw.get(asset, 0) + int(call["debt_to_cover_raw"])
    return Decision(
        attempt=row.attempt,
        market=address_from_hex(row.market),
        borrower=address_from_hex(row.borrower),
        verdict=Verdict(fields["verdict"]),
        target_wad=int(fields["target_wad"]),
        health_before_wad=int(fields["health_before_wad"]),
        health_planned_wad=int(fields["health_planned_wad"]),
        debts_raw=debts_raw,
    )
