"""The ledger in the store: rows of mined transactions, and what they and those on their way count for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, insert, select, text, update

from keeper.core.intent import OPEN_STATUSES, Intent, IntentStatus, Mark
from keeper.core.ledger import CallValue, Entry, Movement, Purpose, Stake, Valuation
from keeper.core.spending import Lift, OnItsWay, Settled
from keeper.core.units import Hash32, address_from_hex, hash_from_hex, to_hex
from keeper.store.encoding import Row, intent_from_row, optional_address, optional_hex, shares_text, stake_from_text
from keeper.store.tables import intents, ledger, ledger_movements, pauses
from keeper.store.writer import Step

_IN_FORCE = ledger.c.taken_back_at.is_(None)
_TAKE_BACK = (
    update(ledger)
    .where(
        ledger.c.transaction_hash == bindparam("of_hash"),
        _IN_FORCE,
        ledger.c.block_hash.is_not(bindparam("but_in", type_=ledger.c.block_hash.type)),
    )
    .values(taken_back_at=bindparam("at"))
)
_ENTER = insert(ledger).prefix_with("OR IGNORE")
"""Ignored where the very row is there already."""
_MOVE = text(
    "INSERT OR IGNORE INTO ledger_movements (ledger_id, token, change_raw) SELECT id, :token, :change_raw FROM ledger"
    " WHERE transaction_hash = :of_hash AND taken_back_at IS NULL"
)
_VALUE = (
    update(ledger)
    .where(ledger.c.transaction_hash == bindparam("of_hash"), ledger.c.block_hash == bindparam("in_hash"), _IN_FORCE)
    .values(
        received_base=bindparam("received"),
        repaid_base=bindparam("repaid"),
        native_price_base=bindparam("native_price"),
        base_unit=bindparam("unit"),
        premium_base=bindparam("premium"),
        slippage_base=bindparam("slippage"),
        lost_race=bindparam("late"),
    )
)

_SHARE = update(intents).where(intents.c.transaction_hash == bindparam("of_hash")).values(shares=bindparam("repaid"))


def mark_steps(marks: Sequence[Mark], at: str) -> list[Step]:
    """What the ledger learns with these marks: an earlier row is taken back unless it is of the very block; the new one is
    entered."""
    entries = [mark.entry for mark in marks if mark.entry is not None]
    taken_back = [
        {
            "of_hash": to_hex(mark.transaction_hash),
            "but_in": optional_hex(mark.entry.block_hash if mark.entry is not None else None),
            "at": at,
        }
        for mark in marks
    ]
    moved = [
        {
            "of_hash": to_hex(entry.transaction_hash),
            "token": to_hex(movement.token),
            "change_raw": str(movement.change_raw),
        }
        for entry in entries
        for movement in entry.movements
    ]
    steps: list[Step] = [(_TAKE_BACK, taken_back)]
    if entries:
        steps.append((_ENTER, [_entry_row(entry, at) for entry in entries]))
    if moved:
        steps.append((_MOVE, moved))
    return steps


def value_step(valuations: Sequence[Valuation]) -> Step:
    return _VALUE, [
        {
            "of_hash": to_hex(each.transaction_hash),
            "in_hash": to_hex(each.block_hash),
            "late": int(each.lost_race),
            **_value_row(each.value),
        }
        for each in valuations
    ]


def _value_row(value: CallValue | None) -> Row:
    columns = ("received", "repaid", "native_price", "unit", "premium", "slippage")
    if value is None:
        return dict.fromkeys(columns)
    worth = (value.received_base, value.repaid_base, value.native_price_base, value.base_unit)
    return dict(zip(columns, map(str, (*worth, value.premium_base, value.slippage_base)), strict=True))


def share_steps(valuations: Sequence[Valuation]) -> list[Step]:
    """What was repaid for each attempt that had a transaction in common with others."""
    rows = [
        {"of_hash": to_hex(each.transaction_hash), "repaid": shares_text(each.shares)}
        for each in valuations
        if each.shares
    ]
    return [(_SHARE, rows)] if rows else []


def _entry_row(entry: Entry, at: str) -> Row:
    return {
        "recorded_at": at,
        "chain_id": entry.chain_id,
        "signer": to_hex(entry.signer),
        "transaction_hash": to_hex(entry.transaction_hash),
        "nonce": entry.nonce,
        "attempt": entry.attempt,
        "purpose": entry.purpose.value,
        "borrower": optional_hex(entry.borrower),
        "call_index": entry.call_index,
        "block_number": entry.block_number,
        "block_hash": to_hex(entry.block_hash),
        "timestamp_s": entry.timestamp_s,
        "succeeded": int(entry.succeeded),
        "gas_used": entry.gas_used,
        "gas_price_wei": str(entry.gas_price_wei),
        "l1_fee_wei": str(entry.l1_fee_wei),
        "cost_wei": str(entry.cost_wei),
    }


# -- read ----------------------------------------------------------------------------------------------------------
SETTLED_SINCE = (
    select(ledger, intents.c.worst_gas_wei, intents.c.worst_notional_wad, intents.c.worst_loss_wad)
    .join(intents, intents.c.transaction_hash == ledger.c.transaction_hash)
    .where(_IN_FORCE, ledger.c.timestamp_s > bindparam("since_s"))
    .order_by(ledger.c.id)
)
_OF_SIGNER = (ledger.c.chain_id == bindparam("of_chain")) & (ledger.c.signer == bindparam("of_signer")) & _IN_FORCE
_RECENT = (
    _OF_SIGNER,
    ledger.c.block_number
    > select(func.max(ledger.c.block_number)).where(_OF_SIGNER).correlate(None).scalar_subquery() - bindparam("blocks"),
)
RECENT = (
    select(intents, ledger.c.block_number.label("mined_number"), ledger.c.block_hash.label("mined_hash"))
    .join(intents, intents.c.transaction_hash == ledger.c.transaction_hash)
    .where(*_RECENT)
    .order_by(ledger.c.id)
)
RIVALS = (
    select(intents)
    .where(
        intents.c.chain_id == bindparam("of_chain"),
        intents.c.signer == bindparam("of_signer"),
        intents.c.status == IntentStatus.DROPPED.value,
        intents.c.nonce.in_(select(ledger.c.nonce).where(*_RECENT)),
    )
    .order_by(intents.c.id)
)
ON_THEIR_WAY = select(intents).where(intents.c.status.in_(sorted(OPEN_STATUSES))).order_by(intents.c.id)
LIFTS = (
    select(pauses.c.chain_id, pauses.c.signer, func.max(pauses.c.lifted_ledger_id).label("ledger_id"))
    .where(pauses.c.lifted_ledger_id.is_not(None))
    .group_by(pauses.c.chain_id, pauses.c.signer)
)
MOVEMENTS = (
    select(ledger_movements)
    .join(ledger, ledger.c.id == ledger_movements.c.ledger_id)
    .where(_IN_FORCE)
    .order_by(ledger_movements.c.token)
)
ENTRIES = (
    select(ledger, intents.c.shares)
    .outerjoin(intents, intents.c.transaction_hash == ledger.c.transaction_hash)
    .where(_IN_FORCE)
    .order_by(ledger.c.timestamp_s, ledger.c.block_number, ledger.c.nonce)
)


def settled_from_row(row: Any) -> Settled:
    return Settled(
        ledger_id=row.id,
        chain_id=row.chain_id,
        signer=address_from_hex(row.signer),
        timestamp_s=row.timestamp_s,
        succeeded=bool(row.succeeded),
        cost_wei=int(row.cost_wei),
        value=value_from_row(row),
        stake=_stake(row),
        lost_race=_lost_race(row),
    )


def _lost_race(row: Any) -> bool | None:
    """Of a liquidation alone: nobody races for anything else."""
    if row.lost_race is None and not row.succeeded and row.purpose == Purpose.LIQUIDATION:
        return None
    return bool(row.lost_race)


def _stake(row: Any) -> Stake | None:
    return stake_from_text(row.worst_gas_wei, row.worst_notional_wad, row.worst_loss_wad)


def on_its_way_from_row(row: Any) -> OnItsWay:
    return OnItsWay(row.chain_id, address_from_hex(row.signer), row.nonce, row.attempt, _stake(row))


def recent_from_row(row: Any) -> tuple[Intent, int, Hash32]:
    return intent_from_row(row._asdict()), row.mined_number, hash_from_hex(row.mined_hash)


def lift_from_row(row: Any) -> Lift:
    return Lift(row.chain_id, optional_address(row.signer), row.ledger_id)


def value_from_row(row: Any) -> CallValue | None:
    if row.base_unit is None:
        return None
    return CallValue(
        int(row.received_base),
        int(row.repaid_base),
        int(row.native_price_base),
        int(row.base_unit),
        int(row.premium_base or 0),
        int(row.slippage_base or 0),
    )


def entry_from_row(row: Any, movements: Sequence[Movement]) -> Entry:
    return Entry(
        chain_id=row.chain_id,
        signer=address_from_hex(row.signer),
        transaction_hash=hash_from_hex(row.transaction_hash),
        nonce=row.nonce,
        attempt=row.attempt,
        purpose=Purpose(row.purpose),
        borrower=optional_address(row.borrower),
        call_index=row.call_index,
        block_number=row.block_number,
        block_hash=hash_from_hex(row.block_hash),
        timestamp_s=row.timestamp_s,
        succeeded=bool(row.succeeded),
        gas_used=row.gas_used,
        gas_price_wei=int(row.gas_price_wei),
        l1_fee_wei=int(row.l1_fee_wei),
        movements=tuple(movements),
    )


def movement_from_row(row: Any) -> Movement:
    return Movement(address_from_hex(row.token), int(row.change_raw))
